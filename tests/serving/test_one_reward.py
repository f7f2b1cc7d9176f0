"""One text, one reward: in process and over every protocol, in any company and any order."""

import asyncio
import base64
import json
import random
import struct
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import tiny_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_server import load as load_tiny

from rewardsmith.cli.main import main
from rewardsmith.models.checkpoint import save_reward_model
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.models.tokenizer import prepare_tokenizer
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.serving.app import build_app

TEXTS = st.lists(
    st.tuples(st.sampled_from(["", "is maybe", "good answer to the question " * 3]), st.text(max_size=60)).filter(
        lambda pair: "".join(pair)
    ),
    min_size=1,
    max_size=4,
)


def decoded(value):
    return struct.unpack("<f", base64.b64decode(value))[0]


def calls(model, prompt, completion):
    """Every way to ask for the same text, with how to read its answer."""
    text = prompt + completion
    ids = model.renderer.encode_text(text)
    pair = {"prompt": prompt, "completions": [completion]}
    asked = {
        "native pair": ("/v1/reward", pair, native),
        "native text": ("/v1/reward", {"text": text}, native),
        "native ids": ("/v1/reward", {"token_ids": ids}, native),
        "native ids as a completion": ("/v1/reward", {"prompt": prompt, "completions": [ids]}, native),
        "native among others": (
            "/v1/reward",
            {"inputs": [{"text": "awful"}, {"prompt": prompt, "completions": ["nice", completion]}]},
            lambda a: a["results"][1]["rewards"][1],
        ),
        "openrlhf": ("/get_reward", {"query": [text]}, lambda a: a["rewards"][0]),
        "openrlhf among others": ("/get_reward", {"query": ["bad", text, "bad"]}, lambda a: a["rewards"][1]),
        "sglang": ("/classify", {"text": [text]}, lambda a: a[0]["embedding"][0]),
        "sglang ids": ("/classify", {"input_ids": ids}, lambda a: a["embedding"][0]),
        "embeddings": ("/v1/embeddings", {"input": ["bad", text]}, lambda a: a["data"][1]["embedding"][0]),
        "embeddings ids": ("/v1/embeddings", {"input": [ids]}, lambda a: a["data"][0]["embedding"][0]),
        "base64": (
            "/v1/embeddings",
            {"input": text, "encoding_format": "base64"},
            lambda a: decoded(a["data"][0]["embedding"]),
        ),
        "llamafactory": ("/v1/score/evaluation", {"model": "m", "messages": [text]}, lambda a: a["scores"][0]),
        "tei": ("/predict", {"inputs": text}, lambda a: a[0]["score"]),
        "tei pair": ("/predict", {"inputs": [prompt, completion]}, lambda a: a[0]["score"]),
        "tei batch": ("/predict", {"inputs": [["bad"], [text]]}, lambda a: a[1][0]["score"]),
        "tei rerank": ("/rerank", {"query": prompt, "texts": [completion]}, lambda a: a[0]["score"]),
    }
    if getattr(model.contract, "reward_std", None):
        asked["normalised"] = ("/v1/reward", {**pair, "normalized": True}, lambda a: raw(model, native(a)))
    return asked | vllm_calls(prompt, completion, ids)


def vllm_calls(prompt, completion, ids):
    """The routes of vLLM, Cohere and Jina under all their names."""
    text = prompt + completion
    asked = {}
    for path in ("/classify", "/v1/classify"):
        asked[path] = (path, {"input": text}, lambda a: a["data"][0]["probs"][0])
        asked[f"{path} ids"] = (path, {"input": [[5, 6], ids]}, lambda a: a["data"][1]["probs"][0])
    asked["/pooling"] = ("/pooling", {"input": text}, lambda a: a["data"][0]["data"][0])
    asked["/pooling ids"] = ("/pooling", {"input": ids, "task": "classify"}, lambda a: a["data"][0]["data"][0])
    for path in ("/score", "/v1/score"):
        body = {"queries": prompt, "documents": ["nice", completion]}
        asked[path] = (path, body, lambda a: a["data"][1]["score"])
        asked[f"{path} pairs"] = (path, {"text_1": [prompt], "text_2": [completion]}, lambda a: a["data"][0]["score"])
    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        body = {"query": prompt, "documents": ["nice", {"text": completion}]}
        asked[path] = (path, body, lambda a: next(r["relevance_score"] for r in a["results"] if r["index"] == 1))
    return asked


def raw(model, normalised):
    return normalised * model.contract.reward_std + model.contract.reward_mean


def native(answer):
    return answer["results"][0]["rewards"][0]


async def ask_all(url, asked):
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        answers = await asyncio.gather(*(client.post(path, json=body) for path, body, _ in asked))
    for answer, (path, _, _) in zip(answers, asked, strict=True):
        assert answer.status_code == 200, (path, answer.text)
    return [read(answer.json()) for answer, (_, _, read) in zip(answers, asked, strict=True)]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS, order=st.randoms(use_true_random=False))
def test_one_text_has_one_reward_over_every_protocol_in_any_company(url, reward_model, texts, order):
    asked = []
    for prompt, completion in texts:
        alone = reward_model.score(prompt, completion)
        asked += [(name, call, alone) for name, call in calls(reward_model, prompt, completion).items()]
    order.shuffle(asked)
    rewards = asyncio.run(ask_all(url, [call for _, call, _ in asked]))
    for (name, _, alone), reward in zip(asked, rewards, strict=True):
        assert reward == pytest.approx(alone, abs=1e-5), name


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(min_size=1, max_size=60), order=st.randoms(use_true_random=False))
def test_one_conversation_has_one_reward_as_messages_rendered_text_and_ids(url, reward_model, content, order):
    asked = conversation_calls(reward_model, content)
    chat = [{"role": "user", "content": "is maybe"}, {"role": "assistant", "content": content}]
    alone = reward_model.score(chat[:1], [chat[1:]])[0]
    order.shuffle(asked)
    assert asyncio.run(ask_all(url, asked)) == pytest.approx([alone] * len(asked), abs=1e-5)


def conversation_calls(model, content):
    """Every way to ask for the same conversation."""
    chat = [{"role": "user", "content": "is maybe"}, {"role": "assistant", "content": content}]
    text = model.render(chat[:1], chat[1]["content"])
    ids = model.renderer.encode_text(text)
    return [
        ("/v1/reward", {"messages": chat}, native),
        ("/v1/reward", {"prompt": chat[:1], "completions": [content]}, native),
        ("/v1/reward", {"prompt": chat[:1], "completions": [chat[1:]]}, native),
        ("/v1/reward", {"prompt": "is maybe", "completions": [chat[1:]]}, native),
        ("/v1/reward", {"text": text}, native),
        ("/v1/reward", {"token_ids": ids}, native),
        ("/classify", {"messages": chat}, lambda a: a["data"][0]["probs"][0]),
        ("/classify", {"input": text}, lambda a: a["data"][0]["probs"][0]),
        ("/classify", {"text": text}, lambda a: a["embedding"][0]),
        ("/pooling", {"messages": chat}, lambda a: a["data"][0]["data"][0]),
        ("/get_reward", {"query": [text]}, lambda a: a["rewards"][0]),
        ("/v1/embeddings", {"input": text}, lambda a: a["data"][0]["embedding"][0]),
        ("/v1/score/evaluation", {"model": "m", "messages": [text]}, lambda a: a["scores"][0]),
        ("/predict", {"inputs": text}, lambda a: a[0]["score"]),
    ]


@pytest.mark.parametrize("family", ["qwen2", "llama", "bert"])
def test_models_with_a_contract_and_other_tokenizers_too(family, tmp_path, start_server):
    model, tokenizer = getattr(tiny_models, family)()
    prepare_tokenizer(tokenizer, model)
    save_reward_model(model, tokenizer, tmp_path, prepare_model(model), verify=False, reward_mean=0.5, reward_std=3.0)
    model = RewardModel.from_pretrained(str(tmp_path), device="cpu", dtype="float32")
    assert model.contract is not None
    with start_server(model) as address:
        for prompt, completion in [("is maybe ", "fine"), ("", "good answer")]:
            asked = calls(model, prompt, completion)
            assert "normalised" in asked
            rewards = asyncio.run(ask_all(address, list(asked.values())))
            assert rewards == pytest.approx([model.score(prompt, completion)] * len(asked), abs=1e-5)
        if tokenizer.chat_template:
            asked = conversation_calls(model, "good")
            alone = model.score([{"role": "user", "content": "is maybe"}], ["good"])[0]
            assert asyncio.run(ask_all(address, asked)) == pytest.approx([alone] * len(asked), abs=1e-5)


def test_the_bulk_command_gives_the_rewards_of_the_server(url, reward_model, tmp_path, capsys):
    words = [" fine", " awful", " nice great", " poor answer to the question", " good"]
    rows = [{"prompt": f"is maybe {n % 7}", "completion": words[n % 5] * (1 + n % 3)} for n in range(60)]
    random.Random(0).shuffle(rows)
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["score", reward_model.name, str(source), str(out), "--device", "cpu", "--dtype", "float32"]) == 0
    bulk = [json.loads(line)["reward"] for line in out.read_text().splitlines()]
    asked = [("/get_reward", {"query": [row["prompt"] + row["completion"]]}, lambda a: a["rewards"][0]) for row in rows]
    alone = [reward_model.score(row["prompt"], row["completion"]) for row in rows]
    assert bulk == pytest.approx(alone, abs=1e-5)
    assert asyncio.run(ask_all(url, asked)) == pytest.approx(bulk, abs=1e-5)


def test_every_route_that_gives_rewards_is_asked(reward_model):
    asked = {path for path, _, _ in calls(reward_model, "a", "b").values()}
    routes = build_app(reward_model).app.openapi()["paths"]
    assert asked == {path for path, methods in routes.items() if "post" in methods}


def test_one_prompt_in_many_requests_is_kept_and_counted(tmp_path, start_server):
    model = load_tiny("qwen2", tmp_path / "rm")
    prompt = "what is the best way to learn to play the piano when there is little time " * 2
    answers = [f"practice {'a little ' * n}every day" for n in range(1, 9)]
    expected = [model.score(prompt, [answer])[0] for answer in answers]
    model.keep_prefixes(4096)
    with start_server(model) as url, ThreadPoolExecutor(4) as pool:

        def ask(answer: str) -> float:
            body = {"prompt": prompt, "completions": [answer]}
            return native(httpx.post(f"{url}/v1/reward", json=body).json())

        ask("a first answer")
        found = list(pool.map(ask, answers))
        metrics = httpx.get(f"{url}/metrics").text
    assert found == pytest.approx(expected, abs=1e-5)
    lines = [line.split() for line in metrics.splitlines() if line.startswith("rewardsmith_prefix")]
    values = {name: float(value) for name, value in lines}
    assert values["rewardsmith_prefix_hits_total"] == len(answers)
    assert values["rewardsmith_prefix_saved_tokens_total"] > 32
    assert 0 < values["rewardsmith_prefix_kept_tokens"] <= 4096
