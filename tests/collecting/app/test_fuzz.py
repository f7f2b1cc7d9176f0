"""Whatever is sent to whatever route: never a 5xx."""

import json
import string
import subprocess
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from collecting_site import Visit, come, hidden, site
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_server import clients_python

from rewardsmith.collecting.app.application import build_app
from rewardsmith.collecting.panels import enter

__all__ = ["clients_python"]
TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=40)
VALUES = st.one_of(
    TEXT, st.sampled_from(["0", "1", "-1", "tie", "save", "skip", "view-raw", "99999999999999999999", "\x00"])
)
NAMES = ["action", "key", "token", "q0", "q0.0", "q0.1", "active_ms", "flag", "reason", "rationale", "comment", "name"]
NAMES += ["role", "more", "panel", "participant", "to", "votes", "prompt", "choice", "password", "again", "discard"]
PIECES = st.text(alphabet=string.ascii_letters + string.digits + "-_.~%", min_size=1, max_size=12)


def routes(app):
    found = app.openapi()["paths"]
    return [(method.upper(), path) for path, methods in found.items() for method in methods]


@pytest.mark.parametrize("role", ["owner", "annotator"])
@pytest.mark.parametrize("task", ["pair", "ranking"])
def test_no_route_answers_5xx(make, role, task):
    collection = make(4, answers=2, task=task)
    app = build_app(collection, endpoints={"a": "http://127.0.0.1:1/v1", "b": "http://127.0.0.1:1/v1"})
    visit = come(collection, app, "somebody", role)
    csrf = hidden(visit.client.get("/guidelines").text, "csrf")
    known = [route for route in routes(app) if route[1] != "/logout"]
    assert len(known) > 20

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(known),
        st.lists(PIECES, min_size=3, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6),
    )
    def send(route, pieces, form):
        method, path = route
        for piece in [*pieces[:1], "1", *pieces[1:]]:
            start = path.find("{")
            if start >= 0:
                path = path[:start] + piece + path[path.index("}") + 1 :]
        data = {**form, "csrf": csrf} if method == "POST" else None
        params = {"view": form.get("q0", "text"), "saved": form.get("q0.0", "1"), "page": form.get("q0.1", "0")}
        answer = visit.client.request(method, path, data=data, params=params if method == "GET" else None)
        assert answer.status_code < 500, (method, path, form, answer.text[:300])

    send()


def test_bodies_that_are_no_forms_are_refused_not_crashed_on(make):
    collection = make(1)
    client = come(collection, site(collection), "ann").client
    for kind in (
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/x-www-form-urlencoded",
    ):
        for body in (b"", b"{", b"\xff" * 50, b"--x\r\n", b"a=%ff%00&b"):
            answer = client.post("/work/1", content=body, headers={"content-type": kind})
            assert answer.status_code in (400, 403), (kind, body, answer.status_code)


CHOICES = {
    "action": ["save", "skip", "view-raw", "view-diff", "draft", "invite", "reset", "pause", "resume", "dance"],
    "q0": ["0", "1", "tie", "bad", "none", "7"],
    "q0.0": ["1", "2", "3", "-1"],
    "q0.1": ["1", "2", "3", "x"],
    "more": ["1", "3", "99"],
    "role": ["annotator", "owner", "panel"],
    "to": ["jsonl", "trl", "parquet"],
    "votes": ["all", "soft"],
    "choice": ["0", "1", "tie", "bad"],
    "discard": ["yes", "no"],
}


def with_forms(description, csrf):
    """Say of every POST which fields its form may have; without the session's token nothing would get further."""
    text = {"type": "string", "maxLength": 300}
    fields = {name: {"anyOf": [{"enum": CHOICES.get(name, ["a"])}, text]} for name in NAMES}
    schema = {"type": "object", "properties": {**fields, "csrf": {"enum": [csrf]}}, "required": ["csrf"]}
    form = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}
    for operations in description["paths"].values():
        if "post" in operations:
            operations["post"]["requestBody"] = form
    return description


@pytest.mark.slow
@pytest.mark.parametrize("role", ["owner", "annotator", "panel"])
def test_what_schemathesis_makes_of_the_description_is_never_a_server_error(make, tmp_path, clients_python, role):
    collection = make(4, task="ranking", panels=[{"name": "pilot", "code": "DONE"}])
    app = build_app(collection, endpoints={"a": "http://127.0.0.1:1/v1", "b": "http://127.0.0.1:1/v1"})
    if role == "panel":
        visit = Visit(app)
        token = enter(collection.store, collection.project.panels[0], {"PROLIFIC_PID": "p"})
        visit.client.cookies.set("collect", app.state.context.cookies.sign(token))
    else:
        visit = come(collection, app, "somebody", role)
    csrf = hidden(visit.client.get("/work").text, "csrf")
    description = tmp_path / "openapi.json"
    description.write_text(json.dumps(with_forms(app.openapi(), csrf)))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    command = [Path(clients_python).with_name("st"), "run", description, "--url", f"http://127.0.0.1:{port}"]
    command += ["--checks=not_a_server_error", "--max-examples=20", "--seed=1", "--phases=examples,coverage,fuzzing"]
    command += ["--header", f"Cookie: collect={visit.client.cookies['collect']}", "--exclude-path=/logout"]
    fuzz = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    known = visit.client.get("/work").url.path != "/login"
    server.should_exit = True
    thread.join()
    assert fuzz.returncode == 0, fuzz.stdout[-4000:]
    assert known, "the session did not last, so that most requests tried nothing"
