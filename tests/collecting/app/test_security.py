"""Origins, limits and cookies by themselves."""

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from rewardsmith.collecting.app.security import HEADERS, MOST_BYTES, Cookies, Guard, RateLimit, is_same_origin


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://x.example"}, False),
        ({"origin": "https://x.example"}, True),
        ({"origin": "https://x.example:444"}, False),
        ({"origin": "https://x.example.evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
    ],
)
def test_a_request_of_another_site_is_told_by_what_browsers_say(headers, is_ours):
    assert is_same_origin(Headers({"host": "x.example", **headers})) == is_ours


def guarded(is_https=False):
    async def echo(request):
        return PlainTextResponse(str(len(await request.body())))

    app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"])])
    app.add_middleware(Guard, is_https=is_https)
    return TestClient(app)


def test_every_answer_has_the_headers_and_https_is_pinned_where_it_is_spoken():
    plain, secure = guarded().get("/"), guarded(True).get("/")
    assert all(plain.headers[name] == value for name, value in HEADERS.items())
    assert "strict-transport-security" not in plain.headers
    assert "max-age" in secure.headers["strict-transport-security"]
    assert guarded().post("/", headers={"origin": "https://evil.example"}).headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("length", ["x", "-1", str(MOST_BYTES + 1), "9" * 30])
def test_a_length_that_is_too_large_or_none_is_refused_before_the_body(length):
    answer = guarded().post("/", content=b"", headers={"content-length": length})
    assert answer.status_code in (200, 413)
    assert (answer.status_code == 200) == (length == "-1")


def test_a_body_that_lies_about_its_length_is_cut_off():
    client = guarded()

    def pieces():
        for _ in range(40):
            yield b"x" * 10_000

    with pytest.raises(ClientDisconnect):
        client.post("/", content=pieces())
    assert client.post("/", content=b"x" * MOST_BYTES).text == str(MOST_BYTES)


def test_the_memory_of_a_limit_is_bounded_and_names_are_counted_apart():
    limit = RateLimit(1, 60, keys=3)
    assert [limit.allows(name, 0) for name in "abab"] == [True, True, False, False]
    for number in range(100):
        limit.allows(str(number), 1)
    assert len(limit._seen) == 3


def test_a_cookie_is_read_only_under_its_own_secret():
    cookies = Cookies("a" * 32, is_https=True)
    signed = cookies.sign("token")
    assert cookies.read(signed) == "token"
    assert Cookies("b" * 32, True).read(signed) is None
    for forged in (None, "", "token", signed + "x", "\ud800", signed.replace("token", "other")):
        assert cookies.read(forged) is None
    assert cookies.name.startswith("__Host-")
    assert not Cookies("a" * 32, False).name.startswith("__Host-")


def test_a_forms_token_belongs_to_its_cookie():
    cookies = Cookies("a" * 32, False)
    assert cookies.form_token("one") == cookies.form_token("one") != cookies.form_token("two")
    assert Cookies("b" * 32, False).form_token("one") != cookies.form_token("one")
