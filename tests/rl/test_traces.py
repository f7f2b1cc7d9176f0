"""Multi-turn traces: each turn's reward is that of a separate call."""

import pytest

from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.rl.rewards import reward_function
from rewardsmith.rl.traces import score_trace, score_traces
from rewardsmith.scoring.answers import make_request

CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}
TOOLS = [{"type": "function", "function": {"name": "add", "description": "adds", "parameters": {}}}]
TALK = [
    {"role": "system", "content": "the question is good"},
    {"role": "user", "content": "is it good"},
    {"role": "assistant", "content": "maybe", "tool_calls": [CALL]},
    {"role": "tool", "name": "add", "content": "4"},
    {"role": "assistant", "content": "fine answer"},
    {"role": "user", "content": "the question"},
    {"role": "assistant", "content": "great"},
    {"role": "user", "content": "nobody answers this"},
]
SHORT = [{"role": "user", "content": "is it bad"}, {"role": "assistant", "content": "awful"}]
TURNS = (2, 4, 6)


class Keeper:
    """A scorer that keeps what it was asked, and refuses one word."""

    name = "keeper"

    def __init__(self):
        self.calls = []

    def score_requests(self, requests):
        self.calls.append(requests)
        texts = [[completion[0].content for completion in request.completions] for request in requests]
        if any("refused" in text for row in texts for text in row):
            raise ScoringError("refused")
        return [[float(len(text)) for text in row] for row in texts]


@pytest.fixture(params=["loaded", "folder", "server"])
def source(request, reward_model, url):
    return {"loaded": reward_model, "folder": reward_model.name, "server": url}[request.param]


def test_each_turn_has_the_reward_of_a_separate_call(source, reward_model):
    wanted = [reward_model.score(TALK[:turn], [[TALK[turn]]])[0] for turn in TURNS]
    last = reward_model.score(SHORT[:1], [SHORT[1:]])[0]
    assert len(set(wanted)) == 3
    assert score_trace(source, TALK, "each") == pytest.approx(wanted, abs=1e-5)
    assert score_traces(source, [TALK, SHORT]) == pytest.approx([wanted[-1], last], abs=1e-5)


def test_a_trace_is_computed_once_and_kept_no_longer(reward_model):
    long = [
        {"role": role, "content": f"the {word} question is good and the answer is {word} fine"}
        for word in ("good", "bad", "nice", "great", "poor")
        for role in ("user", "assistant")
    ]
    other = [*long[:5], {"role": "assistant", "content": "an awful answer"}]
    turns = [(long, place) for place in range(1, 10, 2)] + [(other, place) for place in (1, 3, 5)]
    wanted = [reward_model.score(trace[:place], [[trace[place]]])[0] for trace, place in turns]
    sizes = [len(reward_model.encode(make_request(trace[:place], [[trace[place]]]))[0]) for trace, place in turns]
    seen = []
    hook = reward_model.model.get_input_embeddings().register_forward_hook(
        lambda m, ids, o: seen.append(ids[0].numel())
    )
    try:
        found = score_traces(reward_model, [long, other], "each")
    finally:
        hook.remove()
    assert [reward for row in found for reward in row] == pytest.approx(wanted, abs=1e-5)
    assert sum(seen) < sizes[4] + sizes[7] + 30 < sum(sizes) / 2
    assert len(seen) == 2
    assert not reward_model.keeps_prefixes


def test_a_model_that_keeps_prefixes_already_keeps_them_on(reward_model):
    reward_model.keep_prefixes(4096)
    try:
        found = score_trace(reward_model, TALK, "each")
        assert reward_model.keeps_prefixes
    finally:
        reward_model.keep_prefixes(0)
    assert found == pytest.approx([reward_model.score(TALK[:turn], [[TALK[turn]]])[0] for turn in TURNS], abs=1e-5)


def test_tool_calls_and_tools_reach_the_scorer_in_one_call():
    keeper = Keeper()
    assert score_traces(keeper, [TALK, SHORT], "each", tools=[TOOLS, None]) == [[5.0, 11.0, 5.0], [5.0]]
    [requests] = keeper.calls
    assert [len(request.prompt) for request in requests] == [2, 4, 6, 1]
    assert requests[0].completions[0][0].extra["tool_calls"] == [CALL]
    assert requests[1].prompt[2].extra["tool_calls"] == [CALL]
    assert [request.tools for request in requests] == [TOOLS, TOOLS, TOOLS, None]


def test_turns_with_one_prompt_are_one_request():
    keeper = Keeper()
    other = [*TALK[:2], {"role": "assistant", "content": "no"}]
    assert score_traces(reward_function(keeper), [TALK, other], "each") == [[5.0, 11.0, 5.0], [2.0]]
    assert [len(request.completions) for request in keeper.calls[0]] == [2, 1, 1]


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        ([], "trace 1 is empty"),
        (TALK[:2], "trace 1 has no assistant turn among its 2 messages"),
        ("text", "trace 1 must be a list of messages"),
        ([{"content": "x"}], "trace 1, message 0 must be an object with a 'role'"),
    ],
)
def test_a_trace_that_cannot_be_scored_is_one_line(trace, said):
    with pytest.raises(DataError, match=said) as caught:
        score_traces(Keeper(), [SHORT, trace])
    assert "\n" not in str(caught.value)


def test_a_turn_without_reward_is_named_and_odd_settings_are_refused():
    refused = [SHORT[0], {"role": "assistant", "content": "refused"}]
    with pytest.raises(ScoringError, match="trace 1, message 1: keeper gave no reward"):
        score_traces(Keeper(), [SHORT, refused])
    with pytest.raises(ConfigError, match="'last' or 'each', not 'all'"):
        score_trace(Keeper(), SHORT, "all")
    with pytest.raises(DataError, match="2 traces, but tools for 1"):
        score_traces(Keeper(), [SHORT, SHORT], tools=[None])
