"""Where the server listens: ports, spellings of this machine, TLS; keys that change while it runs."""

import shutil
import signal
import ssl
import subprocess
import time

import httpx
import pytest

from rewardsmith.errors import ConfigError
from rewardsmith.serving.auth import add_key, digest, read_keys
from rewardsmith.serving.run import Address, Tls
from rewardsmith.serving.settings import ServerSettings


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
