"""verifiers' reward functions give the last assistant turn the reward of the model."""

import asyncio
from types import SimpleNamespace

import pytest
from trainer_calls import assistant, user

from rewardsmith.clients.verifiers import verifiers_reward, verifiers_trace_reward
from rewardsmith.errors import DataError

CALL = {"id": "c", "name": "add", "arguments": '{"a": 2}'}
TOOL = {"name": "add", "description": "adds", "parameters": {"type": "object"}}
ACTED = [
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": "4"},
    {"role": "assistant", "content": " fine"},
]


class Keeper:
    name = "keeper"

    def score_requests(self, requests):
        [self.request] = requests
        return [[1.5]]


def trace_of(messages, tools=()):
    return SimpleNamespace(branches=[None, SimpleNamespace(messages=messages, tools=list(tools))])


def test_a_rubrics_function_gives_the_reward_of_text_and_of_messages(source, reward_model):
    function = verifiers_reward(source, name="helpfulness")
    assert function.__name__ == "helpfulness"
    text = asyncio.run(function(prompt="is maybe", completion=" fine", answer="4", state={}, parser=None))
    assert text == pytest.approx(reward_model.score("is maybe", " fine"), abs=1e-5)
    chat = asyncio.run(function(prompt=user("is maybe"), completion=assistant(" fine"), answer="", state={}))
    assert chat == pytest.approx(reward_model.score(user("is maybe"), [assistant(" fine")])[0], abs=1e-5)


def test_a_traces_function_gives_the_reward_of_its_final_branch(source, reward_model):
    wanted = reward_model.score(user("is maybe"), [assistant(" fine")])[0]
    found = asyncio.run(verifiers_trace_reward(source)(trace_of(user("is maybe") + assistant(" fine"))))
    assert found == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("form", ["rubric", "trace"])
def test_earlier_calls_are_the_prompt_and_tools_reach_the_scorer(form):
    keeper = Keeper()
    if form == "rubric":
        state = {"tool_defs": [TOOL]}
        asyncio.run(verifiers_reward(keeper)(prompt=user("q"), completion=ACTED, answer="", state=state))
    else:
        asyncio.run(verifiers_trace_reward(keeper)(trace_of(user("q") + ACTED, [TOOL])))
    assert [message.role for message in keeper.request.prompt] == ["user", "assistant", "tool"]
    assert keeper.request.prompt[1].extra["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 2}}
    assert keeper.request.completions[0][0].content == " fine"
    assert list(keeper.request.tools) == [{"type": "function", "function": TOOL}]


def test_what_the_assistant_did_not_say_is_refused():
    with pytest.raises(DataError, match="completion has neither"):
        asyncio.run(verifiers_reward(Keeper())(prompt=user("q"), completion=[], answer="", state={}))
    with pytest.raises(DataError, match="the trace has no messages"):
        asyncio.run(verifiers_trace_reward(Keeper())(SimpleNamespace(branches=[])))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_rubric_of_verifiers_0_1_calls_the_function():
    rubrics = pytest.importorskip("verifiers.rubrics.rubric")
    types = pytest.importorskip("verifiers.types")
    keeper = Keeper()
    rubric = rubrics.Rubric(funcs=[verifiers_reward(keeper, name="helpfulness")], weights=[2.0])
    said = [
        types.AssistantMessage(tool_calls=[types.ToolCall(**CALL)]),
        types.ToolMessage(tool_call_id="c", content="4"),
        types.AssistantMessage(content=" fine"),
    ]
    state = types.State()
    state.update(prompt=[types.UserMessage(content="q")], completion=said, answer="", task="", info={}, trajectory=[])
    state.update(example_id=0, tool_defs=[types.Tool(**TOOL)], timing=types.RolloutTiming())
    asyncio.run(rubric.score_rollout(state))
    assert (state["reward"], state["metrics"]) == (3.0, {"helpfulness": 1.5})
    assert [message.role for message in keeper.request.prompt] == ["user", "assistant", "tool"]
    assert keeper.request.tools[0]["function"] == TOOL


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_task_of_verifiers_v1_records_the_reward():
    graph = pytest.importorskip("verifiers.v1.graph")
    vf = pytest.importorskip("verifiers.v1")
    keeper = Keeper()
    ask = verifiers_trace_reward(keeper)

    class Task(vf.Task[vf.TaskData]):
        @vf.reward(weight=2.0)
        async def helpfulness(self, trace):
            return await ask(trace)

    said = [
        vf.UserMessage(content="q"),
        vf.AssistantMessage(tool_calls=[vf.ToolCall(**CALL)]),
        vf.ToolMessage(tool_call_id="c", content="4"),
        vf.AssistantMessage(content=" fine"),
    ]
    tools = [[vf.Tool(**TOOL)], [], [], []]
    nodes = [
        graph.MessageNode(parent=number - 1 if number else None, message=message, tools=tools[number])
        for number, message in enumerate(said)
    ]
    empty = {"calls": [], "rewards": {}, "metrics": {}, "errors": [], "mm_token_type_id_map": {}}
    trace = vf.Trace.model_construct(nodes=nodes, **empty)
    asyncio.run(Task(vf.TaskData(prompt="q")).score(trace))
    assert trace.reward == 3.0
    assert [message.role for message in keeper.request.prompt] == ["user", "assistant", "tool"]
    assert keeper.request.tools[0]["function"] == TOOL
