"""The outer layer of a live server: keys on every route, limits on every body, nothing that kills it."""

import json
import logging
import socket
import time
from urllib.parse import urlparse

import httpx
import pytest

from rewardsmith.serving.app import build_app
from rewardsmith.serving.auth import digest
from rewardsmith.serving.limits import ServerSettings

SETTINGS = ServerSettings(
    key_digests=(digest("good-key"),), max_body_bytes=2000, body_timeout_seconds=0.3, max_sequences=5
)
KEY = {"Authorization": "Bearer good-key"}


@pytest.fixture(scope="module")
def guarded(reward_model, start_server):
    with start_server(reward_model, SETTINGS) as address:
        yield address


def every_route(model):
    paths = build_app(model).app.openapi()["paths"]
    routes = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    return [*routes, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/redoc"), ("GET", "/nowhere")]


def test_every_route_but_liveness_asks_for_a_key(guarded, reward_model):
    routes = every_route(reward_model)
    assert len(routes) >= 20
    with httpx.Client(base_url=guarded) as client:
        for method, path in routes:
            for headers in ({}, {"Authorization": "Bearer bad-key"}):
                status = client.request(method, path, headers=headers).status_code
                assert status == (200 if path in ("/health", "/livez") else 401), (method, path)
            assert client.request(method, path, headers=KEY).status_code != 401, (method, path)


def test_tricks_with_the_path_do_not_open_a_route(guarded):
    with httpx.Client(base_url=guarded) as client:
        for path in ("/health/", "/health/../classify", "//classify", "/classify/", "/HEALTH", "/health%2f..%2fready"):
            assert client.post(path, json={"input": "a"}).status_code in (401, 307, 404, 405), path
            assert "probs" not in client.post(path, json={"input": "a"}).text


def test_the_key_in_a_url_reaches_clients_that_only_take_a_url(guarded):
    place = urlparse(guarded)
    address = f"http://any:good-key@{place.netloc}/get_reward"
    assert len(httpx.post(address, json={"query": ["a"]}).json()["rewards"]) == 1


def test_a_large_body_is_413_declared_or_not(guarded):
    body = json.dumps({"input": "a" * 3000}).encode()
    with httpx.Client(base_url=guarded, headers=KEY) as client:
        assert client.post("/classify", content=body).status_code == 413
        chunks = (body[i : i + 500] for i in range(0, len(body), 500))
        assert client.post("/classify", content=chunks).status_code == 413


def test_a_client_that_sends_all_before_it_reads_gets_its_413(guarded):
    place = urlparse(guarded)
    size = 12 * 2**20
    for framing in (f"Content-Length: {size}", "Transfer-Encoding: chunked"):
        with socket.create_connection((place.hostname, place.port), timeout=20) as raw:
            head = f"POST /classify HTTP/1.1\r\nHost: x\r\nX-API-Key: good-key\r\n{framing}\r\n\r\n"
            raw.sendall(head.encode())
            piece = b"a" * 2**16
            for _ in range(size // len(piece)):
                raw.sendall(piece if "Length" in framing else b"10000\r\n" + piece + b"\r\n")
            if "Length" not in framing:
                raw.sendall(b"0\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_too_many_sequences_are_413(guarded):
    answer = httpx.post(f"{guarded}/classify", json={"input": ["a"] * 6}, headers=KEY)
    assert answer.status_code == 413
    assert "6 completions" in answer.json()["error"]["message"]


def test_a_slow_body_is_408_and_holds_nobody_up(guarded):
    place = urlparse(guarded)
    with socket.create_connection((place.hostname, place.port), timeout=10) as slow:
        head = "POST /classify HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good-key\r\nContent-Length: 900\r\n\r\n{"
        slow.sendall(head.encode())
        started = time.monotonic()
        assert httpx.post(f"{guarded}/classify", json={"input": "a"}, headers=KEY).status_code == 200
        assert time.monotonic() - started < 5
        assert b" 408 " in slow.recv(200)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b'{"input": NaN}', 422),
        (b"\xff\xfe", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"input": "\\ud800"}', 422),
        (b'{"input": []}', 422),
        (b'{"input": ""}', 200),
        (b'{"input": [419]}', 200),
        (b'{"input": [420]}', 422),
        (b'{"input": [-1]}', 422),
        (b'{"input": [99999999999999999999]}', 422),
        (b'{"input": [[]]}', 422),
        (b'{"input": [1.5]}', 422),
        (b'{"input": {"a": 1}}', 422),
        (b'{"messages": []}', 422),
        (b'{"messages": [{"role": "user"}]}', 200),
        (b'{"messages": [{"content": "a"}]}', 422),
        (b'{"input": "a", "model": 3}', 422),
        (b'{"input": "a", "truncate_prompt_tokens": 0}', 422),
        (b"[" * 900, 400),
    ],
)
def test_a_malformed_body_is_a_clean_refusal(guarded, body, status):
    headers = {**KEY, "Content-Type": "application/json"}
    answer = httpx.post(f"{guarded}/classify", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.json()["error"]["message"]


def test_nothing_that_was_sent_is_logged(reward_model, start_server, caplog):
    secret = "xyzzy-plugh"
    with (
        caplog.at_level(logging.DEBUG),
        start_server(reward_model) as address,
        httpx.Client(base_url=address) as client,
    ):
        client.post("/classify", json={"input": secret})
        client.post("/classify", json={"input": {secret: 1}})
        client.post("/classify", content=secret.encode())
        client.post("/classify", json={"input": secret * 2000})
        client.post("/classify", json={"messages": [{"role": secret, "content": [secret]}]})
    ours = [r for r in caplog.records if r.name.startswith(("rewardsmith", "uvicorn", "fastapi"))]
    assert not any(secret in record.getMessage() for record in ours)


@pytest.mark.parametrize(
    "options",
    [
        {"chat_template": "{{ 1 }}"},
        {"tokenize": True},
        {"add_generation_prompt": True},
        {"tools": []},
        {"eos_token": ""},
    ],
)
def test_a_caller_cannot_change_the_template(url, options):
    body = {"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": options}
    for path in ("/classify", "/v1/reward"):
        answer = httpx.post(url + path, json=body)
        assert answer.status_code == 422
        assert next(iter(options)) in answer.json()["error"]["message"]


def test_deeply_nested_json_is_refused(url):
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        content = opening * 200_000 + "1" + closing * 200_000
        assert httpx.post(f"{url}/classify", content=content).status_code in (400, 422)


def test_a_message_holds_no_control_characters(url):
    answer = httpx.post(f"{url}/v1/reward", json={"\x1b[31mred\x07": 1})
    assert "\x1b" not in answer.json()["error"]["message"]
    assert "x1b" not in answer.headers.get("x-request-id", "")


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_rendered_text_scores_as_its_messages_do(url, reward_model, end):
    chat = [{"role": "user", "content": "is maybe"}, {"role": "assistant", "content": "fine"}]
    expected = pytest.approx(reward_model.score(chat[:1], [chat[1:]])[0], abs=1e-5)
    text = "<|im_start|>user\nis maybe<|im_end|>\n<|im_start|>assistant\nfine<|im_end|>" + end
    with httpx.Client(base_url=url) as client:
        assert client.post("/classify", json={"input": text}).json()["data"][0]["probs"] == [expected]
        assert client.post("/get_reward", json={"query": [text]}).json()["rewards"] == [expected]
        body = {"model": "m", "messages": [text]}
        assert client.post("/v1/score/evaluation", json=body).json()["scores"] == [expected]
