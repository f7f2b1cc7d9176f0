"""Bodies are bounded before they are parsed; what is counted is worked by hand, then compared with a parser."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.serving.bodies import (
    MAX_CONTAINERS,
    MAX_NAMES,
    MAX_VALUES,
    BodyRoom,
    Held,
    Structure,
    has_lone_surrogate,
    is_json,
    measure_structure,
    parse,
)
from rewardsmith.serving.limits import Refusal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def refused(body):
    with pytest.raises(Refusal) as caught:
        parse(body)
    assert len(str(caught.value)) < 300
    return caught.value.status


def test_commas_and_brackets_in_texts_are_not_counted():
    body = rb'{"a,[{": "x\",[\\", "b": [1, 2, {"c": []}]}'
    assert measure_structure(body) == Structure(values=4 + 3, containers=4, names=3, depth=4)


def containers(value):
    if isinstance(value, list):
        return 1 + sum(map(containers, value))
    return 1 + sum(map(containers, value.values())) if isinstance(value, dict) else 0


@given(JSON, st.booleans())
def test_the_count_of_containers_is_that_of_the_parsed_value(value, ascii_only):
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert measure_structure(body).containers == containers(value)


@given(JSON)
def test_what_is_parsed_is_what_was_sent(value):
    assert parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" + b"1," * MAX_VALUES + b"1]", 413),
        (b"[" + b"[]," * MAX_CONTAINERS + b"1]", 413),
        (b"{" + b",".join(b'"%d":1' % n for n in range(MAX_NAMES + 1)) + b"}", 413),
        (b"[" * 200_000, 400),
        (b'{"a":' * 200_000, 400),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b"[" + b"9" * 5000 + b"]", 400),
        (b"[" + b"9" * 200 + b"]", 400),
        (b"[0." + b"9" * 200 + b"]", 400),
        ('{"a": "b"}'.encode("utf-16"), 400),
        ('{"a": "b"}'.encode("utf-16-le"), 400),
        ('{"a": "b"}'.encode("utf-32"), 400),
        (b'{"a": "\xff"}', 400),
        (b'{"a": "\xed\xa0\x80"}', 400),
        (rb'{"a": "\ud800"}', 422),
        (rb'{"a": "\udc00"}', 422),
        (rb'{"\uD83D": 1}', 422),
        (rb'["\ud83d\\\ude00"]', 422),
        (rb'["\ud83d\ud83d\ude00"]', 422),
        (b"", 400),
        (b"{", 400),
        (b"\x00" * 100, 400),
    ],
)
def test_a_body_that_is_too_much_or_unreadable_is_refused(body, status):
    assert refused(body) == status


def test_a_name_that_stands_twice_is_refused_and_not_the_last_taken():
    with pytest.raises(Refusal, match="'prompt' stands twice") as refused:
        parse(b'{"inputs": [{"prompt": "a", "completions": ["b"], "prompt": "c"}]}')
    assert refused.value.status == 400


def test_a_name_that_stands_twice_is_found_in_one_pass():
    body = "{" + ", ".join(f'"{n}": 1' for n in (*range(100_000), 99_999)) + "}"
    with pytest.raises(Refusal, match="'99999' stands twice"):
        parse(body.encode())


def test_texts_full_of_commas_and_long_digits_are_read():
    text = "[{,:" * 300_000 + "9" * 500
    assert parse(json.dumps({"input": text}).encode()) == {"input": text}


def test_pairs_of_surrogates_and_escaped_backslashes_are_whole():
    assert not has_lone_surrogate(rb'["\ud83d\ude00 \\ud800 \u0064"]')
    assert parse(rb'["\ud83d\ude00", "\\ud800"]') == ["\U0001f600", "\\ud800"]


def test_the_room_for_bodies_is_given_back_whole():
    room = BodyRoom(100)
    first, second = Held(room), Held(room)
    first.grow(60)
    second.grow(40)
    with pytest.raises(Refusal) as caught:
        second.grow(1)
    assert caught.value.status == 429
    assert caught.value.headers["Retry-After"]
    first.release()
    first.release()
    assert room.taken == 40
    second.grow(60)
    second.release()
    assert room.taken == 0


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/x+json"])
def test_json_is_known_by_its_content_type(kind):
    assert is_json(kind)
    assert not is_json("text/plain")
