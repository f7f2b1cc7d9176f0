"""One text, one reward: in process and over every protocol, in any company and any order."""

import asyncio
import base64
import struct

import httpx
import pytest
import tiny_models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewardsmith.scoring.reward_model import RewardModel

TEXTS = st.lists(
    st.tuples(st.sampled_from(["", "is maybe", "good answer to the question " * 3]), st.text(max_size=60)).filter(
        lambda pair: "".join(pair)
    ),
    min_size=1,
    max_size=6,
)


def decoded(value):
    return struct.unpack("<f", base64.b64decode(value))[0]


def calls(model, prompt, completion):
    """Every way to ask for the same text, with how to read its answer."""
    text = prompt + completion
    ids = model.renderer.encode_text(text)
    return {
        "native pair": ("/v1/reward", {"prompt": prompt, "completions": [completion]}, native),
        "native text": ("/v1/reward", {"text": text}, native),
        "native ids": ("/v1/reward", {"token_ids": ids}, native),
        "vllm": ("/classify", {"input": text}, lambda a: a["data"][0]["probs"][0]),
        "vllm ids": ("/classify", {"input": ids}, lambda a: a["data"][0]["probs"][0]),
        "vllm pooling": ("/pooling", {"input": text}, lambda a: a["data"][0]["data"][0]),
        "vllm score": ("/score", {"queries": prompt, "documents": completion}, lambda a: a["data"][0]["score"]),
        "rerank": (
            "/rerank",
            {"query": prompt, "documents": [completion]},
            lambda a: a["results"][0]["relevance_score"],
        ),
        "tei rerank": ("/rerank", {"query": prompt, "texts": [completion]}, lambda a: a[0]["score"]),
        "openrlhf": ("/get_reward", {"query": [text]}, lambda a: a["rewards"][0]),
        "sglang": ("/classify", {"text": [text]}, lambda a: a[0]["embedding"][0]),
        "sglang ids": ("/classify", {"input_ids": ids}, lambda a: a["embedding"][0]),
        "embeddings": ("/v1/embeddings", {"input": text}, lambda a: a["data"][0]["embedding"][0]),
        "base64": (
            "/v1/embeddings",
            {"input": text, "encoding_format": "base64"},
            lambda a: decoded(a["data"][0]["embedding"]),
        ),
        "llamafactory": ("/v1/score/evaluation", {"model": "m", "messages": [text]}, lambda a: a["scores"][0]),
        "tei": ("/predict", {"inputs": text}, lambda a: a[0]["score"]),
        "tei pair": ("/predict", {"inputs": [prompt, completion]}, lambda a: a[0]["score"]),
    }


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
@given(content=st.text(min_size=1, max_size=60))
def test_one_conversation_has_one_reward_as_messages_rendered_text_and_ids(url, reward_model, content):
    chat = [{"role": "user", "content": "is maybe"}, {"role": "assistant", "content": content}]
    text = reward_model.render(chat[:1], chat[1]["content"])
    alone = reward_model.score(chat[:1], [chat[1:]])[0]
    asked = [
        ("/v1/reward", {"messages": chat}, native),
        ("/v1/reward", {"prompt": chat[:1], "completions": [content]}, native),
        ("/v1/reward", {"text": text}, native),
        ("/classify", {"messages": chat}, lambda a: a["data"][0]["probs"][0]),
        ("/classify", {"input": text}, lambda a: a["data"][0]["probs"][0]),
        ("/get_reward", {"query": [text]}, lambda a: a["rewards"][0]),
        ("/v1/embeddings", {"input": text}, lambda a: a["data"][0]["embedding"][0]),
    ]
    assert asyncio.run(ask_all(url, asked)) == pytest.approx([alone] * len(asked), abs=1e-5)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_other_tokenizers_too(family, tmp_path, start_server):
    model, tokenizer = getattr(tiny_models, family)()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = RewardModel.from_pretrained(str(tmp_path), device="cpu", dtype="float32")
    with start_server(model) as address:
        for prompt, completion in [("is maybe ", "fine"), ("", "good answer")]:
            asked = list(calls(model, prompt, completion).values())
            rewards = asyncio.run(ask_all(address, asked))
            assert rewards == pytest.approx([model.score(prompt, completion)] * len(asked), abs=1e-5)
