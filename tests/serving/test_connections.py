"""Connections that send nothing, or their headers slowly, make room; no key opens a body that nobody reads."""

import json
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlparse

import httpx
import pytest

from rewardsmith.serving.auth import digest
from rewardsmith.serving.settings import ServerSettings


def connect(address):
    place = urlparse(address)
    return socket.create_connection((place.hostname, place.port), timeout=10)


def ends(link):
    """What comes until the server closes."""
    parts = []
    try:
        while part := link.recv(4096):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def drip(link, text):
    for letter in text:
        link.sendall(letter.encode())
        time.sleep(0.02)


def test_slow_headers_end_the_connection_however_they_drip(reward_model, start_server):
    with start_server(reward_model, ServerSettings(header_timeout_seconds=0.3)) as address:
        with connect(address) as silent:
            assert b"408" in ends(silent)
        with connect(address) as link:
            started = time.monotonic()
            with pytest.raises(OSError):
                drip(link, "GET /health HTTP/1.1\r\nX: " + "a" * 10_000)
            assert time.monotonic() - started < 5
        with httpx.Client(base_url=address) as client:
            assert client.get("/health").status_code == 200
            time.sleep(0.5)
            assert client.get("/health").status_code == 200


def test_slow_headers_of_a_second_request_end_it_too(reward_model, start_server):
    with start_server(reward_model, ServerSettings(header_timeout_seconds=0.3)) as address, connect(address) as link:
        link.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            answer += link.recv(4096)
        link.sendall(b"GET /hea")
        assert ends(link) == b""


def test_a_full_server_drops_who_waits_longest_without_a_request(reward_model, start_server):
    settings = ServerSettings(max_connections=5)
    with start_server(reward_model, settings) as address, ExitStack() as stack:
        idle = [stack.enter_context(connect(address)) for _ in range(12)]
        for _ in range(5):
            assert httpx.get(f"{address}/health").status_code == 200
        assert b"503" in ends(idle[0])
        answer = httpx.post(f"{address}/classify", json={"input": "good"})
        assert answer.status_code == 200


BIG = 4 * 2**20


@pytest.mark.parametrize("path", ["/health", "/livez", "/ready", "/metrics", "/v1/models", "/docs", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_body_that_nobody_reads_is_not_waited_for(reward_model, keyed, path, method):
    """Half a body: the answer comes without the rest, and the connection ends."""
    with connect(keyed) as link:
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {BIG}\r\nX-API-Key: k\r\n\r\n"
        link.sendall(head.encode() + b"x" * 1000)
        answer = ends(link)
    status = int(answer.split()[1])
    right = path != "/nowhere" and method == "GET"
    assert status == (200 if right else 404 if path == "/nowhere" else 405)
    assert b"connection: close" in answer.lower()


@pytest.fixture(scope="module")
def keyed(reward_model, start_server):
    settings = ServerSettings(key_digests=(digest("k"),), max_total_body_bytes=3000, max_body_bytes=2000)
    with start_server(reward_model, settings) as address:
        yield address


def test_without_a_key_no_body_is_waited_for(keyed):
    for path in ("/classify", "/v1/reward", "/nowhere"):
        with connect(keyed) as link:
            link.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {BIG}\r\n\r\n".encode())
            assert b" 401 " in ends(link)


def test_bodies_in_work_share_one_room(keyed):
    body = json.dumps({"input": "a" * 1900}).encode()
    head = f"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head += "X-API-Key: k\r\n\r\n"
    with connect(keyed) as first:
        first.sendall(head.encode() + body[:-1])
        time.sleep(0.2)
        late = httpx.post(
            f"{keyed}/classify", content=body, headers={"X-API-Key": "k", "Content-Type": "application/json"}
        )
        assert late.status_code == 429
        assert late.headers["retry-after"]
        first.sendall(body[-1:])
        assert b" 422 " in first.recv(4096)
    answer = httpx.post(f"{keyed}/classify", json={"input": "a"}, headers={"X-API-Key": "k"})
    assert answer.status_code == 200


def test_a_wrong_method_says_which_is_right(keyed):
    answer = httpx.get(f"{keyed}/classify", headers={"X-API-Key": "k"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
