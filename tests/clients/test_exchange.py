"""What a client sends and how it reads what comes, without a server."""

import httpx
import pytest

from rewardsmith.clients.exchange import (
    ClientOptions,
    check_answer,
    cut_calls,
    pause_seconds,
    read_addresses,
    read_card,
    read_rewards,
    reward_body,
    should_retry,
    shown_name,
)
from rewardsmith.errors import ConfigError, ScoringError, UnreachableError
from rewardsmith.records import ScoreRequest


def test_keys_in_addresses_are_kept_apart_and_never_shown():
    addresses = read_addresses("http://any:s%40cret@host:1/, https://other")
    assert shown_name(addresses) == "http://host:1,https://other"
    assert addresses[0].auth == ("any", "s@cret")
    with pytest.raises(ConfigError) as caught:
        read_addresses("ftp://any:secret@host")
    assert "secret" not in str(caught.value)


def test_work_is_cut_between_prompts_and_never_inside_one():
    sizes = [3, 2, 5, 1]
    requests = [ScoreRequest("q", tuple("a" * n)) for n in sizes]
    calls = list(cut_calls(requests, 4))
    assert [[len(request.completions) for request in call] for call in calls] == [[3], [2], [5], [1]]


def test_the_body_holds_what_was_asked():
    body = reward_body([ScoreRequest("q", ("a", "b"))], ClientOptions(normalized=True), with_parts=True)
    assert body["inputs"] == [{"completions": ["a", "b"], "prompt": "q"}]
    assert (body["normalized"], body["truncate"], body["return_parts"]) == (True, None, True)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"results": [{"rewards": [1.0]}], "normalized": False}, "another number of rewards"),
        ({"results": [{"rewards": [1.0, 2.0]}], "normalized": True}, "answered normalized=True"),
        ({"results": [{"rewards": [1.0, None]}], "normalized": False}, "not a finite number"),
    ],
)
def test_an_answer_to_another_question_is_refused(answer, message):
    with pytest.raises(ScoringError, match=message):
        read_rewards(answer, [ScoreRequest("q", ("a", "b"))], ClientOptions(), with_parts=False)


@pytest.mark.parametrize("answer", [{}, [], None, {"data": []}, {"data": [3]}])
def test_an_answer_that_names_no_model_is_refused(answer):
    with pytest.raises(ScoringError, match="names no model"):
        read_card(answer)


def test_a_busy_server_is_asked_again_after_the_pause_it_names():
    busy = httpx.Response(503, headers={"retry-after": "2"}, json={"error": {"message": "full\x1b[2J"}})
    assert should_retry(busy)
    assert 2.0 <= pause_seconds(busy, 1) <= 2.5
    assert pause_seconds(busy, 1, num_addresses=2) == 0.0
    odd = httpx.Response(503, headers=[(b"retry-after", "²".encode())])
    assert 0.25 <= pause_seconds(odd, 1) <= 0.5
    with pytest.raises(UnreachableError, match=r"answered 503 after 4 attempts: full \[2J"):
        check_answer(busy, "http://host", 4)
    with pytest.raises(UnreachableError, match="answered 502 after 3 attempts, without JSON"):
        check_answer(httpx.Response(502, text="<html>Bad Gateway"), "http://host", 3)
    with pytest.raises(ScoringError, match="without JSON; is it a reward server"):
        check_answer(httpx.Response(200, text="<html>"), "http://host", 1)
