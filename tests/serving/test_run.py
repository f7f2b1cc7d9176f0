"""Where the server listens: ports, spellings of this machine, TLS; keys that change while it runs."""

import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
from contextlib import ExitStack
from urllib.parse import urlparse

import httpx
import pytest

from rewardsmith.errors import ConfigError
from rewardsmith.serving.auth import add_key, digest, read_keys
from rewardsmith.serving.limits import ServerSettings
from rewardsmith.serving.run import Address, Tls


@pytest.mark.parametrize("port", [-1, 65536, 70000])
def test_a_port_that_does_not_exist_is_one_line(port):
    with pytest.raises(ConfigError, match=f"no port {port}"):
        Address("127.0.0.1", port)


def test_an_address_is_written_as_a_client_takes_it():
    assert Address("::1", 80).url == Address("[::1]", 80).url == "http://[::1]:80"
    assert Address("localhost", 80).url == "http://localhost:80"


def test_brackets_around_an_address_are_taken(reward_model, running):
    with running(reward_model, host="[::1]") as address:
        assert httpx.get(f"{address}/health").status_code == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*command.split(), "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True
    )
    return Tls(folder / "cert.pem", folder / "key.pem")


def test_tls_is_spoken_where_a_certificate_is_given(reward_model, running, certificate):
    certificate.check()
    with running(reward_model, tls=certificate) as address:
        trust = ssl.create_default_context(cafile=str(certificate.certificate))
        address = address.replace("http://", "https://")
        assert httpx.get(f"{address}/health", verify=trust).status_code == 200
        assert httpx.post(f"{address}/classify", json={"input": "a" * 200_000}, verify=trust).status_code == 422
        with pytest.raises(httpx.TransportError):
            httpx.get(address.replace("https://", "http://"))


def test_files_that_are_no_certificate_are_one_line(tmp_path, certificate):
    with pytest.raises(ConfigError, match="there is no file"):
        Tls(tmp_path / "none.pem").check()
    with pytest.raises(ConfigError, match="cannot be used for TLS"):
        Tls(certificate.key, certificate.certificate).check()


def test_keys_change_while_the_server_runs(reward_model, start_server, tmp_path, monkeypatch):
    monkeypatch.setattr("rewardsmith.serving.auth.LOOK_SECONDS", 0.0)
    path = tmp_path / "keys"
    first = add_key(path)
    with start_server(reward_model, ServerSettings(key_file=path)) as address:

        def status(key):
            return httpx.get(f"{address}/v1/models", headers={"X-API-Key": key}).status_code

        second = add_key(path)
        assert [status(first), status(second)] == [200, 200]
        path.write_text(f"sha256:{digest(second)} second\n")
        assert [status(first), status(second)] == [401, 200]
        for broken in ("rs-plain\n", ""):
            path.write_text(broken)
            assert [status(first), status(second), status("")] == [401, 200, 401]
        path.unlink()
        assert [status(second), status("")] == [200, 401]


def test_limits_of_a_key_are_its_own(reward_model, start_server, tmp_path):
    path = tmp_path / "keys"
    few, free = add_key(path), add_key(path)
    lines = path.read_text().splitlines()
    path.write_text(f"{lines[0]} slow requests_per_minute=3 concurrent=2\n{lines[1]}\n")
    with start_server(reward_model, ServerSettings(key_file=path)) as address:
        answers = [httpx.get(f"{address}/v1/models", headers={"X-API-Key": few}) for _ in range(5)]
        others = [httpx.get(f"{address}/v1/models", headers={"X-API-Key": free}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert 10 <= int(answers[-1].headers["retry-after"]) <= 21
    assert {answer.status_code for answer in others} == {200}


@pytest.mark.parametrize("limits", ["requests_per_minute=0", "requests_per_minute=-1", "rpm=3", "concurrent=x"])
def test_a_limit_that_is_none_is_named_with_its_line(tmp_path, limits):
    path = tmp_path / "keys"
    path.write_text(f"sha256:{digest('k')} name {limits}\n")
    with pytest.raises(ConfigError, match=r"keys:1"):
        read_keys(path)


@pytest.mark.slow
def test_sighup_reads_the_keys_and_the_server_goes_on(process):
    child, address = process
    child.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert child.poll() is None
    assert httpx.get(f"{address}/health").status_code == 200


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


def ask_without_reading(address, requests):
    """A connection with a small window that has asked for the description again and again."""
    place = urlparse(address)
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.settimeout(20)
    link.connect((place.hostname, place.port))
    link.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * requests)
    return link


def test_who_does_not_read_its_answer_loses_the_connection(reward_model, start_server, caplog):
    with start_server(reward_model, ServerSettings(write_timeout_seconds=0.3)) as address:
        size = len(httpx.get(f"{address}/openapi.json").content)
        asked = 20_000_000 // size
        with ask_without_reading(address, asked) as link:
            time.sleep(1.5)
            assert len(ends(link)) < asked * size / 2
        assert httpx.get(f"{address}/health").status_code == 200
    assert "did not read its answer within 0.3 s" in caplog.text


def test_who_reads_slowly_within_the_time_gets_all_of_it(reward_model, start_server):
    with start_server(reward_model, ServerSettings(write_timeout_seconds=20)) as address:
        size = len(httpx.get(f"{address}/openapi.json").content)
        with ask_without_reading(address, 100) as link:
            time.sleep(0.5)
            received = 0
            while received < 100 * size:
                received += len(link.recv(65536))


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
