"""Keys are stored as digests, compared whole, and asked for wherever others can reach the server."""

import base64

import pytest

from rewardsmith.errors import ConfigError
from rewardsmith.serving.auth import KeyRing, add_key, digest, is_loopback, read_keys, require_keys_off_loopback


def basic(user, password):
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_a_key_file_holds_digests_and_never_the_key(tmp_path):
    path = tmp_path / "keys"
    first, second = add_key(path), add_key(path)
    assert first != second
    assert first not in path.read_text()
    assert [key.digest for key in read_keys(path)] == [digest(first), digest(second)]
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Bearer k2"}, {"authorization": "bearer  k2"}, {"x-api-key": "k2"}, basic("any", "k2")],
)
def test_every_form_of_a_known_key_is_accepted(headers):
    assert KeyRing([digest("k1"), digest("k2")]).find(headers).digest == digest("k2")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer k"},
        {"authorization": "Bearer "},
        {"authorization": "Basic %%%"},
        {"authorization": "k2"},
        {"x-api-key": digest("k2")},
        basic("k2", ""),
    ],
)
def test_anything_else_is_refused(headers):
    assert KeyRing([digest("k1"), digest("k2")]).find(headers) is None


def test_a_plain_key_in_the_file_is_an_error_that_names_the_line(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# mine\nrs-plain\n")
    with pytest.raises(ConfigError, match=r"keys:2"):
        read_keys(path)


def test_an_empty_or_missing_file_is_an_error(tmp_path):
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "missing"):
        with pytest.raises(ConfigError, match=name):
            read_keys(tmp_path / name)


def test_a_limit_of_any_length_is_read_or_named(tmp_path):
    path = tmp_path / "keys"
    path.write_bytes(b"\xef\xbb\xbf" + f"sha256:{digest('a')} lab concurrent=999999999\r\n".encode())
    assert [key.concurrent for key in read_keys(path)] == [999_999_999]
    path.write_text(f"sha256:{digest('a')} lab requests_per_minute={'9' * 5000}\n")
    with pytest.raises(ConfigError, match=r":1: limits are .* at most 9 digits") as refused:
        read_keys(path)
    assert len(str(refused.value)) < 300


def test_an_open_address_needs_keys():
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.invalid", "", "::ffff:10.0.0.1", "0", "[::]"):
        with pytest.raises(ConfigError, match="--key-file"):
            require_keys_off_loopback(host, False)
        require_keys_off_loopback(host, True)
    for host in (
        "127.0.0.1",
        "::1",
        "[::1]",
        "localhost",
        "LOCALHOST",
        "127.1.2.3",
        "127.1",
        "2130706433",
        "::ffff:127.0.0.1",
    ):
        assert is_loopback(host)
        require_keys_off_loopback(host, False)
