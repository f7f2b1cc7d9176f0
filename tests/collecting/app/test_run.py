"""Where a project is served, and what is refused."""

import pytest

from rewardsmith.collecting.app.run import Address, check_address, check_public_url, is_loopback, serve
from rewardsmith.collecting.collection import SECRET_VARIABLE
from rewardsmith.errors import ConfigError


@pytest.mark.parametrize(
    ("address", "base"),
    [
        (Address(), "http://127.0.0.1:8001"),
        (Address(host="0.0.0.0", port=80), "http://127.0.0.1:80"),
        (Address(host="::"), "http://[::1]:8001"),
        (Address(host="fe80::1"), "http://[fe80::1]:8001"),
        (Address(host="10.0.0.5", certificate="c.pem"), "https://10.0.0.5:8001"),
        (Address(host="0.0.0.0", public_url="https://label.example.org"), "https://label.example.org"),
    ],
)
def test_the_address_that_is_printed_opens_in_a_browser(address, base):
    assert address.base == base


def test_what_others_open_is_asked_for_where_it_cannot_be_known():
    assert "--public-url" in Address(host="0.0.0.0").advice
    assert "--public-url" in Address(behind_proxy=True).advice
    assert Address().advice is None
    assert Address(host="0.0.0.0", public_url="https://x.example").advice is None


@pytest.mark.parametrize(
    ("address", "secret", "message"),
    [
        (Address(port=-1), None, "--port is -1"),
        (Address(host="0.0.0.0"), None, SECRET_VARIABLE),
        (Address(host="label.example.org", plain_http=True), None, SECRET_VARIABLE),
        (Address(host="0.0.0.0"), "s" * 32, "--plain-http"),
        (Address(public_url="https://x.example"), None, "--behind-proxy"),
        (Address(public_url="http://x.example", behind_proxy=True), None, "neither"),
    ],
)
def test_serving_others_asks_for_a_secret_and_for_https(make, monkeypatch, address, secret, message):
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    if secret is not None:
        monkeypatch.setenv(SECRET_VARIABLE, secret)
    with pytest.raises(ConfigError, match=message.replace("$", "")):
        check_address(address)
    with pytest.raises(ConfigError):
        serve(make(), address)


def test_what_is_said_plainly_is_served(monkeypatch):
    monkeypatch.setenv(SECRET_VARIABLE, "s" * 32)
    for address in (
        Address(host="0.0.0.0", plain_http=True),
        Address(host="0.0.0.0", behind_proxy=True, public_url="https://x.example"),
        Address(host="127.0.0.1"),
    ):
        check_address(address)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://label.example.org/", "https://label.example.org"),
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("label.example.org", None),
        ("ftp://x.example", None),
        ("https://x.example/collect", None),
        ("https://x.example?a=1", None),
        ("javascript:alert(1)", None),
    ],
)
def test_a_public_address_is_scheme_and_host(text, url):
    if url is None:
        with pytest.raises(ConfigError, match="--public-url takes"):
            check_public_url(text)
    else:
        assert check_public_url(text) == url


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)],
)
def test_only_this_machine_reaches_a_loopback_address(host, expected):
    assert is_loopback(host) == expected
