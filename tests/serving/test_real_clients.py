"""Other people's clients, unmodified, against a live server.

openai, cohere and OpenRLHF live in an environment of their own, so that they cannot change ours:
`make clients` builds it, $REWARDSMITH_CLIENTS_PYTHON names another. Without it their tests skip.
huggingface_hub is here already.
"""

import json
import os
import subprocess

import pytest

from rewardsmith.serving.auth import digest
from rewardsmith.serving.limits import ServerSettings

TEXTS = ["good answer<|im_end|>", "awful<|im_end|>"]

OPENAI = """
import json, openai, sys
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="client-key")
numbers = client.embeddings.create(model="tiny-rm", input=json.loads(sys.argv[2]))
floats = client.embeddings.create(model="tiny-rm", input=json.loads(sys.argv[2]), encoding_format="float")
names = [model.id for model in client.models.list()]
try:
    client.embeddings.create(model="other", input="a")
except openai.NotFoundError as error:
    refusal = error.body["message"]
try:
    openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="bad").models.list()
except openai.AuthenticationError as error:
    denial = error.status_code
print(json.dumps({
    "base64": [d.embedding[0] for d in numbers.data], "float": [d.embedding[0] for d in floats.data],
    "names": names, "refusal": refusal, "denial": denial, "tokens": numbers.usage.total_tokens,
}))
"""

COHERE = """
import cohere, json, sys
documents = json.loads(sys.argv[2])
def read(answer):
    return [[result.index, result.relevance_score] for result in answer.results]
second = cohere.ClientV2(api_key="client-key", base_url=sys.argv[1])
print(json.dumps({"v2": read(second.rerank(model="tiny-rm", query="is maybe", documents=documents, top_n=2)),
    "all": read(second.rerank(model="tiny-rm", query="is maybe", documents=documents))}))
"""

OPENRLHF = """
import asyncio, importlib.metadata, json, os, sys, types
root = str(importlib.metadata.distribution("openrlhf").locate_file(""))
for name in ("openrlhf", "openrlhf.utils"):  # their __init__ files import torch; the client code does not need it
    package = types.ModuleType(name)
    package.__path__ = [os.path.join(root, *name.split("."))]
    sys.modules[name] = package
from openrlhf.utils.agent import SingleTurnAgentExecutor

url = sys.argv[1].replace("http://", "http://any:client-key@") + "/get_reward"
executor = SingleTurnAgentExecutor([url, url])

async def rollouts():
    one = [executor._fetch_rewards_via_http([text], ["p"], [None]) for text in json.loads(sys.argv[2])]
    together = executor._fetch_rewards_via_http(json.loads(sys.argv[2]), ["p", "p"], [None, None])
    return await asyncio.gather(*one), await together

one, together = asyncio.run(rollouts())
print(json.dumps({"single": [answers[0]["rewards"][0] for answers in one],
    "sharded": [answer["rewards"][0] for answer in together], "keys": sorted(one[0][0])}))
"""


@pytest.fixture(scope="module")
def guarded(reward_model, start_server):
    settings = ServerSettings(key_digests=(digest("client-key"),), served_names=("tiny-rm",))
    with start_server(reward_model, settings) as address:
        yield address


@pytest.fixture
def run(clients_python):
    """Run code in the clients' own environment and read the JSON it prints."""

    def of(code, *arguments):
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
        command = [clients_python, "-c", code, *arguments]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        assert result.returncode == 0, result.stderr[-3000:]
        return json.loads(result.stdout.splitlines()[-1])

    return of


def near(value):
    return pytest.approx(value, abs=1e-5)


@pytest.mark.slow
def test_the_openai_client_reads_rewards_as_embeddings(guarded, reward_model, run):
    answer = run(OPENAI, guarded, json.dumps(TEXTS))
    expected = reward_model.score_texts(TEXTS)
    assert answer["base64"] == near(expected)
    assert answer["float"] == near(expected)
    assert answer["names"] == ["tiny-rm"]
    assert answer["denial"] == 401
    assert "tiny-rm" in answer["refusal"]
    assert answer["tokens"] > 0


@pytest.mark.slow
def test_the_cohere_client_reranks_answers(guarded, reward_model, run):
    documents = [" fine", " awful", " nice great"]
    rewards = reward_model.score("is maybe", documents)
    order = sorted(range(3), key=lambda index: -rewards[index])
    answer = run(COHERE, guarded, json.dumps(documents))
    assert [index for index, _ in answer["all"]] == order
    assert [score for _, score in answer["v2"]] == near([rewards[index] for index in order[:2]])


@pytest.mark.slow
def test_openrlhfs_own_request_code_gets_rewards(guarded, reward_model, run):
    answer = run(OPENRLHF, guarded, json.dumps(TEXTS))
    expected = reward_model.score_texts(TEXTS)
    assert answer["single"] == near(expected)
    assert answer["sharded"] == near(expected)
    assert answer["keys"] == ["extra_logs", "rewards", "scores"]


def test_the_inference_client_of_huggingface_hub_classifies(guarded, reward_model, monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    client = huggingface_hub.InferenceClient(model=f"{guarded}/predict", token="client-key")
    answer = client.text_classification(TEXTS[0])
    assert [element.label for element in answer] == ["LABEL_0"]
    assert answer[0].score == near(reward_model.score_texts(TEXTS[:1])[0])
