"""A hub on this machine: an HTTP server with the endpoints that huggingface_hub calls, and what was uploaded to it."""

import base64
import hashlib
import json
import os
import threading
from collections import defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

TOKEN = "hf_of_this_test"
# What git LFS keeps on the hub; the rest is committed as text.
LARGE = (".safetensors", ".bin", ".npz", ".pt", ".pth", ".png", ".parquet")


class Hub:
    """Repositories by kind and id, each a list of commits on its branches.

    Args:
        refuses: gets method and path of a request and returns the status to answer with, or None.
    """

    def __init__(self, refuses=lambda method, path: None):
        self.refuses = refuses
        self.branches = defaultdict(dict)
        self.commits, self.blobs, self.requests, self.messages = {}, {}, [], []
        self.lock = threading.Lock()

    def files(self, repo, revision="main", kind="models"):
        """Return the files of a repository as bytes, by path."""
        branches = self.branches[kind, repo]
        return self.commits.get(branches.get(revision, revision), {})

    def create(self, repo, kind="models", branch="main"):
        self.commit(repo, {}, kind=kind, branch=branch)

    def commit(self, repo, files, kind="models", branch="main", message=""):
        """Make `files` the whole content of a branch."""
        text = json.dumps([repo, kind, len(self.commits), sorted(files)])
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.branches[kind, repo][branch] = sha
        self.messages.append(message)
        return sha

    def upload(self, repo, folder, **how):
        """Put the files of a folder into a repository."""
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        return self.commit(repo, files, **how)


def blob_of(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, value=None, status=200, headers=()):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(body)), **dict(headers)}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def dispatch(self):
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        body = self.read_body()
        with hub.lock:
            hub.requests.append((self.command, path))
        if (status := hub.refuses(self.command, path)) is not None:
            self.answer({"error": "this hub refuses"}, status)
            return
        is_open = self.command in ("GET", "HEAD") or path.startswith(("/lfs/", "/api/validate-yaml"))
        if not is_open and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid username or password."}, 401)
            return
        parts = path.strip("/").split("/")
        with hub.lock:
            self.route(hub, parts, body)

    do_GET = do_HEAD = do_POST = do_PUT = dispatch

    def route(self, hub, parts, body):
        here = f"http://{self.headers['Host']}"
        if parts[:2] == ["api", "whoami-v2"]:
            self.answer({"name": "tester", "type": "user", "orgs": []})
        elif parts == ["api", "validate-yaml"]:
            self.answer({"errors": [], "warnings": []})
        elif parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            repo, kind = f"{asked.get('organization') or 'tester'}/{asked['name']}", asked.get("type", "model") + "s"
            exists = bool(hub.branches[kind, repo])
            if not exists:
                hub.create(repo, kind)
            self.answer({"url": f"{here}/{repo}", "name": repo}, 409 if exists else 200)
        elif parts[0] == "api" and parts[1] in ("models", "datasets"):
            self.route_api(hub, parts[1], "/".join(parts[2:4]), parts[4:], body)
        elif parts[0] == "lfs":
            hub.blobs[parts[1]] = body
            self.answer({})
        elif parts[-1] == "batch":
            objects = [
                {**one, "actions": {"upload": {"href": f"{here}/lfs/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        elif "resolve" in parts:
            kind = "datasets" if parts[0] == "datasets" else "models"
            owner, name, _, revision, *rest = parts[1:] if kind == "datasets" else parts
            self.route_file(hub, kind, f"{owner}/{name}", revision, "/".join(rest))
        else:
            self.answer({"error": f"no {self.path}"}, 404)

    def route_api(self, hub, kind, repo, rest, body):
        branches = hub.branches[kind, repo]
        if not branches:
            self.answer({"error": "Repository not found"}, 404, [("X-Error-Code", "RepoNotFound")])
            return
        action, revision = (rest[0], rest[1]) if len(rest) > 1 else ("revision", "main")
        if action == "branch":
            status = 409 if revision in branches else 200
            branches.setdefault(revision, branches["main"])
            self.answer({}, status)
            return
        sha = branches.get(revision, revision)
        if sha not in hub.commits:
            self.answer({"error": "Invalid rev id"}, 404, [("X-Error-Code", "RevisionNotFound")])
            return
        files = hub.commits[sha]
        if action == "revision":
            siblings = [{"rfilename": path} for path in files]
            self.answer({"id": repo, "modelId": repo, "sha": sha, "siblings": siblings, "tags": [], "private": False})
        elif action == "tree":
            inside = "/".join(rest[2:])
            shown = [
                {"type": "file", "path": path, "size": len(data), "oid": blob_of(data)}
                for path, data in files.items()
                if path.startswith(f"{inside}/" if inside else "")
            ]
            self.answer(shown)
        elif action == "paths-info":
            wanted = json.loads(body)["paths"]
            shown = [
                {"type": "file", "path": path, "size": len(files[path]), "oid": blob_of(files[path])}
                for path in wanted
                if path in files
            ]
            self.answer(shown)
        elif action == "preupload":
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": blob_of(files[one["path"]]) if one["path"] in files else None,
                }
                for one in json.loads(body)["files"]
            ]
            self.answer({"files": modes})
        elif action == "commit":
            self.answer(self.take_commit(hub, kind, repo, revision, body))
        else:
            self.answer({"error": f"no {action}"}, 404)

    def take_commit(self, hub, kind, repo, revision, body):
        files, message = dict(hub.files(repo, revision, kind)), ""
        for line in body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
            elif item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = hub.blobs[value["oid"]]
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        sha = hub.commit(repo, files, kind, revision, message)
        url = f"http://{self.headers['Host']}/{repo}/commit/{sha}"
        return {"commitOid": sha, "commitUrl": url, "success": True}

    def route_file(self, hub, kind, repo, revision, path):
        branches = hub.branches[kind, repo]
        sha = branches.get(revision, revision)
        if not branches or sha not in hub.commits:
            code = "RevisionNotFound" if branches else "RepoNotFound"
            self.answer({"error": code}, 404, [("X-Error-Code", code)])
            return
        data = hub.commits[sha].get(path)
        if data is None:
            self.answer({"error": "Entry not found"}, 404, [("X-Error-Code", "EntryNotFound"), ("X-Repo-Commit", sha)])
            return
        start, status = 0, 200
        if (asked := self.headers.get("Range", "")).startswith("bytes="):
            first, _, last = asked[6:].partition("-")
            start, status = int(first), 206
            data = data[start : int(last) + 1 if last else None]
        self.answer(data, status, [("ETag", f'"{blob_of(data)}"'), ("X-Repo-Commit", sha), ("Accept-Ranges", "bytes")])


@contextmanager
def running(hub):
    """Serve a hub and yield the environment in which a process finds it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub, server.daemon_threads = hub, True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def environment(url, home, token=TOKEN):
    """Return the environment of a process that finds this hub and no other, with a cache of its own."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS"))
    }
    own = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    own |= {"HF_TOKEN": token} if token else {}
    return {**kept, **own, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_ETAG_TIMEOUT": "5"}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that this process takes for the only one, and is logged in to."""
    found = Hub()
    with running(found) as url:
        own = {"ENDPOINT": url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}
        own |= {"HUGGINGFACE_CO_URL_TEMPLATE": f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"}
        own |= {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_PROGRESS_BARS": True}
        for name, value in own.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found
