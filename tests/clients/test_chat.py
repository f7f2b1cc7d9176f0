import httpx
import pytest

from rewardsmith.clients import chat
from rewardsmith.clients.chat import ChatModel, ChatOptions, fill
from rewardsmith.errors import ConfigError, ScoringError, UnreachableError


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/chat/completions"])
def test_the_path_is_added_where_it_is_missing(url):
    assert ChatModel(url, "m").endpoint == "http://h:1/v1/chat/completions"


def test_no_question_needs_no_server_and_no_server_is_one_clear_line():
    model = ChatModel("http://127.0.0.1:9", "m", options=ChatOptions(max_attempts=1))
    assert model.ask_all([]) == []
    with pytest.raises(UnreachableError, match=r"127.0.0.1:9/v1/chat/completions cannot be reached"):
        model.ask_all([[{"role": "user", "content": "?"}]])
    with pytest.raises(ConfigError, match="starts with http"):
        ChatModel("h:1", "m")


@pytest.mark.parametrize("name", ["max_tokens", "timeout_seconds", "max_attempts", "max_concurrent_calls"])
def test_options_by_which_nothing_could_be_asked_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name} must be above 0, not 0"):
        ChatOptions(**{name: 0})
    with pytest.raises(ConfigError, match="temperature"):
        ChatOptions(temperature=-1.0)


def test_a_server_error_is_asked_again_and_what_stays_one_is_that_questions_own(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    good = {"choices": [{"message": {"content": "fine"}}]}
    answers = {"first": [httpx.Response(500, text="oops"), httpx.Response(200, json=good)]}
    answers["second"] = [httpx.Response(500, text="oops")] * 2
    answers["third"] = [httpx.DecodingError("bad gzip")]

    def post(http, endpoint, body):
        return answers[body["messages"][0]["content"]].pop(0)

    monkeypatch.setattr(chat, "_send", post)
    asked = [[{"role": "user", "content": name}] for name in answers]
    model = ChatModel("http://h:1", "m", options=ChatOptions(max_attempts=2, max_concurrent_calls=1))
    found = model.ask_each(asked)
    assert found[0] == "fine"
    assert "answered 500" in str(found[1])
    assert "cannot be decoded" in str(found[2])
    assert all(type(error) is ScoringError for error in found[1:])


def test_braces_inside_words_stay():
    assert fill("{a} {b} {c}", {"a": "{b}", "b": "x"}) == "{b} x {c}"


def test_a_server_that_takes_the_newer_name_of_the_limit_is_asked_by_it(monkeypatch):
    told = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    asked = []

    def post(http, endpoint, body):
        asked.append(sorted(set(body) & {"max_tokens", "max_completion_tokens"}))
        if "max_tokens" in body:
            return httpx.Response(400, json={"error": {"message": told}})
        return httpx.Response(200, json={"choices": [{"message": {"content": "fine"}}]})

    monkeypatch.setattr(chat, "_send", post)
    model = ChatModel("http://h:1", "m", options=ChatOptions(max_attempts=1, max_concurrent_calls=1))
    assert model.ask_all([[{"role": "user", "content": "?"}]] * 2) == ["fine", "fine"]
    assert asked == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


@pytest.mark.parametrize(
    ("content", "text"), [([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"), ([], None), (5, None)]
)
def test_a_text_may_come_in_parts(monkeypatch, content, text):
    answer = httpx.Response(200, json={"choices": [{"message": {"content": content}}]})
    monkeypatch.setattr(chat, "_send", lambda *_: answer)
    [found] = ChatModel("http://h:1", "m").ask_each([[{"role": "user", "content": "?"}]])
    assert found == text if text else isinstance(found, ScoringError)
