"""NeMo-Gym's bodies are read as the conversation they are, and come back with the model's reward."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from trainer_calls import assistant, user

from rewardsmith.clients.nemo_gym import read_body, verify, verify_router
from rewardsmith.errors import DataError, ScoringError, UnreachableError

SAID = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": " fi", "annotations": []}, {"type": "output_text", "text": "ne"}],
}
CALL = {"type": "function_call", "name": "add", "call_id": "c1", "arguments": '{"a": 2}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "4"}
TOOL = {"type": "function", "name": "add", "description": "adds", "parameters": {"type": "object"}, "strict": True}


def body(asked="is maybe", output=(SAID,), **columns):
    return {"responses_create_params": {"input": asked, **columns}, "response": {"id": "r", "output": list(output)}}


def ask(app, sent):
    async def post():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gym") as http:
            return await http.post("/verify", json=sent)

    return asyncio.run(post())


def app_of(source):
    app = FastAPI()
    app.include_router(verify_router(source))
    return app


def test_verify_returns_the_body_with_the_models_reward(source, reward_model):
    sent = body(expected_answer="4")
    answer = ask(app_of(source), sent)
    assert answer.status_code == 200
    given = answer.json()
    wanted = reward_model.score(user("is maybe"), [assistant(" fine")])[0]
    assert given.pop("reward") == pytest.approx(wanted, abs=1e-5)
    assert given == sent


def test_verify_asks_the_server_of_the_environment(url, monkeypatch, reward_model):
    monkeypatch.setenv("REWARDSMITH_URL", url)
    wanted = reward_model.score(user("is maybe"), [assistant(" fine")])[0]
    assert asyncio.run(verify(body()))["reward"] == pytest.approx(wanted, abs=1e-5)


def test_a_trajectory_with_calls_is_one_conversation():
    thought = {"type": "reasoning", "summary": []}
    asked = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "input_text", "text": "q"}]},
    ]
    output = [
        thought,
        {**SAID, "content": "I add"},
        CALL,
        {**CALL, "call_id": "c2", "arguments": "no JSON"},
        RESULT,
        SAID,
    ]
    prompt, completion, tools = read_body(body(asked, output, instructions="be short", tools=[TOOL]))
    assert [message["role"] for message in prompt] == ["system", "system", "user", "assistant", "tool"]
    assert [message["content"] for message in prompt] == ["be short", "be kind", "q", "I add", "4"]
    assert [call["function"]["arguments"] for call in prompt[3]["tool_calls"]] == [{"a": 2}, "no JSON"]
    assert prompt[4]["tool_call_id"] == prompt[3]["tool_calls"][0]["id"] == "c1"
    assert completion == [{"role": "assistant", "content": " fine"}]
    assert tools == [{"type": "function", "function": {k: TOOL[k] for k in ("name", "description", "parameters")}}]


def test_tools_and_a_last_call_reach_the_scorer():
    class Keeper:
        name = "keeper"

        def score_requests(self, requests):
            [self.request] = requests
            return [[1.5]]

    keeper = Keeper()
    assert asyncio.run(verify(body(output=[CALL, RESULT], tools=[TOOL]), keeper))["reward"] == 1.5
    assert keeper.request.tools[0]["function"]["name"] == "add"
    assert keeper.request.completions[0][0].extra["tool_calls"][0]["function"]["name"] == "add"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"response": {}}, "needs an object 'responses_create_params'"),
        ({"responses_create_params": {"input": "q"}}, "needs an object 'response'"),
        (body(output=[RESULT]), "response.output has neither a message nor a call"),
        (body(asked=7), "responses_create_params.input must be a text or a list"),
        (body(output=[{"type": "web_search_call"}]), r"response.output\[0\] is of type 'web_search_call'"),
        (body(asked=[{"role": "user", "content": [{"type": "input_image"}]}]), "a part of type 'input_image'"),
        (body(asked=["q"]), r"responses_create_params.input\[0\] must be an object"),
        (body(output=[{**SAID, "content": None}]), r"response.output\[0\] must hold a text"),
        (body(tools=[{"type": "web_search"}]), "has one of type 'web_search'"),
    ],
)
def test_a_body_that_cannot_be_read_is_one_line(sent, said):
    with pytest.raises(DataError, match=said) as caught:
        read_body(sent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("error", "status"), [(UnreachableError, 503), (ScoringError, 502)])
def test_a_reward_that_is_missing_has_a_status(error, status):
    class Broken:
        name = "broken"

        def score_requests(self, requests):
            raise error("away")

    answer = ask(app_of(Broken()), body())
    assert (answer.status_code, answer.json()) == (status, {"detail": "away"})
    assert ask(app_of(Broken()), body(output=[])).status_code == 422
