"""Send every protocol bodies of 16 MiB that are made to cost work, and time /health meanwhile.

    python benchmarks/serve_stalls.py

For each shape of body the table says how it was answered, the longest time that /health took while it was in work
and by how much the server's memory rose above its state before the first body. Everything stays on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import httpx
from serving_common import build_model, free_port, our_command, resident_mib, server_process

MIB = 2**20
KEY = "stall-key"


@dataclass
class Watch:
    """The longest answer of /health in seconds, and the largest memory in MiB."""

    seconds: float = 0.0
    mib: float = 0.0
    failures: list[str] = field(default_factory=list)


def repeated(head: bytes, unit: bytes, tail: bytes, size: int = 16 * MIB - 64) -> bytes:
    """Return a body of `size` bytes at most with `unit` as often as it fits."""
    return head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def shapes() -> Iterator[tuple[str, str, bytes]]:
    """Yield (name, path, body) of every shape."""
    units = {
        "integers": b"1,",
        "floats": b"1.5,",
        "long integers": b"9" * 4000 + b",",
        "long floats": b"0." + b"9" * 4000 + b",",
        "texts": b'"a",',
        "empty texts": b'"",',
        "empty lists": b"[],",
        "lists of a number": b"[1],",
        "empty objects": b"{},",
        "messages": b'{"role":"user","content":"a"},',
        "nulls": b"null,",
    }
    lists = [
        ("/v1/reward", "token_ids"),
        ("/v1/reward", "completions"),
        ("/v1/reward", "messages"),
        ("/v1/reward", "inputs"),
        ("/classify", "input"),
        ("/classify", "input_ids"),
        ("/classify", "messages"),
        ("/pooling", "input"),
        ("/get_reward", "query"),
        ("/v1/embeddings", "input"),
        ("/predict", "inputs"),
        ("/v1/score/evaluation", "messages"),
        ("/score", "queries"),
        ("/rerank", "documents"),
        ("/rerank", "texts"),
    ]
    rest = {"/v1/score/evaluation": b'"model":"m",', "/score": b'"documents":"a",', "/rerank": b'"query":"a",'}
    for path, name in lists:
        for kind, unit in units.items():
            last = unit[:-1]
            head = b"{" + rest.get(path, b"") + b'"' + name.encode() + b'":['
            yield f"{name} of {kind}", path, repeated(head, unit, last + b"]}")
    yield from _texts()
    yield from _others()


def _texts() -> Iterator[tuple[str, str, bytes]]:
    characters = {
        "letters": b"a",
        "spaces": b" ",
        "words": b"w1 w2 ",
        "newlines": rb"\n",
        "escaped letters": rb"\u0061",
        "escaped emoji": rb"\ud83d\ude00",
        "emoji": "😀".encode(),
        "accents": "e\u0301".encode(),
        "control tokens": b"<|im_end|>",
        "commas": b",",
        "brackets": b"[{",
    }
    places = {
        "/v1/reward": (b'{"text":"', b'"}'),
        "/classify": (b'{"input":"', b'"}'),
        "/get_reward": (b'{"query":["', b'"]}'),
        "/v1/embeddings": (b'{"input":"', b'"}'),
        "/predict": (b'{"inputs":"', b'"}'),
        "/v1/score/evaluation": (b'{"model":"m","messages":["', b'"]}'),
        "/score": (b'{"queries":"q","documents":"', b'"}'),
        "/rerank": (b'{"query":"q","documents":["', b'"]}'),
        "/pooling": (b'{"messages":[{"role":"user","content":"', b'"}]}'),
    }
    for path, (head, tail) in places.items():
        for name, unit in characters.items():
            yield f"text of {name}", path, repeated(head, unit, tail)
            if path in ("/v1/reward", "/predict"):
                cut = b', "truncate": "left"}' if path == "/v1/reward" else b', "truncate": true}'
                yield f"text of {name}, to cut", path, repeated(head, unit, tail[:-1] + cut)


def _others() -> Iterator[tuple[str, str, bytes]]:
    names = b"".join(b'"k%d":1,' % number for number in range(16 * MIB // 14))[: 15 * MIB].rsplit(b",", 1)[0]
    yield "unknown fields", "/v1/reward", b"{" + names + b"}"
    yield "keys of a message", "/classify", b'{"messages":[{"role":"user",' + names + b"}]}"
    yield "template arguments", "/v1/reward", b'{"messages":[],"chat_template_kwargs":{' + names + b"}}"
    yield "tools", "/classify", repeated(b'{"messages":[{"role":"user","content":"a"}],"tools":[', b"{},", b"{}]}")
    yield "content in parts", "/v1/reward", repeated(b'{"messages":[{"role":"user","content":[', b"1,", b"1]}]}")
    yield "a long role", "/classify", repeated(b'{"messages":[{"role":"', b"a", b'","content":"a"}]}')
    yield "a long model name", "/v1/score/evaluation", repeated(b'{"messages":["a"],"model":"', b"a", b'"}')
    yield "a long request id", "/score", repeated(b'{"queries":"a","documents":"b","request_id":"', b"a", b'"}')
    yield "brackets", "/classify", b"[" * (16 * MIB - 64)
    yield "nested lists", "/predict", repeated(b'{"inputs":', b"[", b"")
    yield "nested objects", "/v1/reward", repeated(b"", b'{"a":', b"")
    yield "quotes", "/classify", b'"' * (16 * MIB - 64)
    yield "backslashes", "/classify", repeated(b'{"input":"', b"\\", b"")
    yield "zeros", "/classify", b"\x00" * (16 * MIB - 64)
    yield "blanks", "/get_reward", b" " * (16 * MIB - 64)
    yield "UTF-16", "/classify", ('{"input":"' + "a" * (7 * MIB) + '"}').encode("utf-16")
    yield "lone surrogates", "/v1/score/evaluation", repeated(b'{"messages":["a"],"model":"', rb"\ud800", b'"}')
    yield "no JSON", "/v1/embeddings", os.urandom(16 * MIB - 64)
    yield "a body for /health", "/health", b"a" * (16 * MIB - 64)
    yield "a body for no route", "/nowhere", b"a" * (16 * MIB - 64)
    # About what one conversation and one long answer list may legally hold.
    few = json.dumps({"input": ["w1 w2 " * 250] * 4000}).encode()
    yield "4,000 texts of 1,500 letters", "/classify", few
    many = json.dumps({"messages": [{"role": "user", "content": "w1"}] * 100_000}).encode()
    yield "100,000 messages", "/v1/reward", many
    ids = json.dumps({"input": [[5] * 240] * 4000}).encode()
    yield "4,000 lists of 240 ids", "/v1/embeddings", ids


@contextmanager
def watching(address: str, pid: int) -> Iterator[Watch]:
    """Ask /health and read memory until the block ends."""
    watch, ended = Watch(), threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=address, timeout=60) as client:
            while not ended.is_set():
                started = time.perf_counter()
                try:
                    client.get("/health").raise_for_status()
                except httpx.HTTPError as error:
                    watch.failures.append(type(error).__name__)
                watch.seconds = max(watch.seconds, time.perf_counter() - started)
                watch.mib = max(watch.mib, resident_mib(pid))
                ended.wait(0.01)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def send(address: str, path: str, body: bytes, key: str | None) -> str:
    """Send a body; give the status, or how the connection ended."""
    headers = {"Content-Type": "application/json"} | ({"X-API-Key": key} if key else {})
    method = "GET" if path == "/health" else "POST"
    try:
        answer = httpx.request(method, address + path, content=body, headers=headers, timeout=150)
    except httpx.HTTPError as error:
        return type(error).__name__
    return str(answer.status_code)


def main() -> int:
    """Measure, print a table, and give 0 when no body stalled the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="the longest /health may take")
    parser.add_argument("--mib", type=float, default=300, help="the most that memory may rise")
    parser.add_argument("--every", type=int, default=1, help="send each of so many shapes only")
    parser.add_argument("--only", default="", help="shapes and paths that hold this text")
    parser.add_argument("--all", action="store_true", help="print every shape, not only the ten slowest")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        texts = [" ".join(f"w{number}" for number in range(3000))]
        model, port = build_model(Path(folder), "tiny", texts), free_port()
        os.environ["REWARDSMITH_API_KEY"] = KEY
        with server_process(our_command(model, port), port) as (address, process):
            send(address, "/classify", b'{"input": "w1"}', KEY)
            before, rows, seen = resident_mib(process.pid), [], set()
            for name, path, body in islice(shapes(), 0, None, args.every):
                if args.only not in f"{name} {path}":
                    continue
                # Without a key nothing depends on what the body holds.
                for key in (KEY,) if path in seen else (None, KEY):
                    seen.add(path)
                    with watching(address, process.pid) as watch:
                        answer = send(address, path, body, key)
                        watch.mib = max(watch.mib, resident_mib(process.pid))
                    rise = watch.mib - before
                    print(f"{path} {name}: {answer}", flush=True)
                    rows.append((watch.seconds, rise, f"{path} {name}", "yes" if key else "no", answer, watch.failures))
    return report(rows, args)


def report(rows: list[tuple[float, float, str, str, str, list[str]]], args: argparse.Namespace) -> int:
    """Print the table; give 1 when a limit was broken or a body was answered 500."""
    print("| body | key | answer | longest /health, s | memory, MiB more |\n|---|---|---|---|---|")
    for seconds, rise, name, key, answer, _ in sorted(rows, reverse=True)[: None if args.all else 10]:
        print(f"| {name} | {key} | {answer} | {seconds:.3f} | {rise:.0f} |")
    bad = [row for row in rows if row[0] > args.seconds or row[1] > args.mib or row[4].startswith("5") or row[5]]
    slowest, largest = max(row[0] for row in rows), max(row[1] for row in rows)
    print(
        f"\n{len(rows)} bodies; longest /health {slowest:.3f} s; memory at most {largest:.0f} MiB more; {len(bad)} bad"
    )
    for row in bad:
        print(f"  bad: {row[2]} (key: {row[3]}): {row[4]}, {row[0]:.3f} s, {row[1]:.0f} MiB, {row[5][:3]}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
