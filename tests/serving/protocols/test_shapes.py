"""The answers have the shape that each tool reads, and hold the raw reward."""

import base64
import math
import struct

import httpx
import pytest

TEXT = "good answer to the question<|im_end|>"
OTHER = "awful<|im_end|>"
CHAT = [{"role": "user", "content": "is maybe"}, {"role": "assistant", "content": "fine"}]


@pytest.fixture(scope="module")
def ask(url):
    with httpx.Client(base_url=url, timeout=30) as client:

        def post(path, body, status=200):
            answer = client.post(path, json=body)
            assert answer.status_code == status, answer.text
            return answer.json()

        yield post


@pytest.fixture(scope="module")
def expected(reward_model):
    return reward_model.score_texts([TEXT, OTHER])


def near(value):
    return pytest.approx(value, abs=1e-5)


def test_native_rewards_of_a_prompt_with_completions(ask, reward_model):
    body = {"prompt": "is maybe", "completions": [" fine", " awful"]}
    answer = ask("/v1/reward", body)
    assert answer["results"][0]["rewards"] == near(reward_model.score("is maybe", [" fine", " awful"]))
    assert answer["results"][0]["truncated"] == [False, False]
    assert answer["usage"]["total_tokens"] == sum(answer["results"][0]["tokens"])
    assert answer["normalized"] is False
    assert answer["scoring"]["reward_std"] == 2.0


def test_native_normalised_rewards_use_mean_and_deviation_of_the_contract(ask, expected):
    answer = ask("/v1/reward", {"inputs": [{"text": TEXT}, {"text": OTHER}], "normalized": True})
    rewards = [result["rewards"][0] for result in answer["results"]]
    assert rewards == near([(value - 0.25) / 2.0 for value in expected])


def test_native_takes_conversations_and_ids(ask, reward_model):
    reward = reward_model.score(CHAT[:1], [CHAT[1:]])[0]
    ids = reward_model.renderer.encode_text(reward_model.render(CHAT[:1], CHAT[1]["content"]))
    forms = [{"messages": CHAT}, {"token_ids": ids}, {"prompt": CHAT[:1], "completions": [CHAT[1:]]}]
    answer = ask("/v1/reward", {"inputs": forms})
    assert [result["rewards"] for result in answer["results"]] == [near([reward])] * 3


def test_native_refuses_unknown_fields_and_ambiguous_inputs(ask):
    assert "normalised" in ask("/v1/reward", {"text": "a", "normalised": True}, 422)["error"]["message"]
    assert "text and token_ids" in ask("/v1/reward", {"text": "a", "token_ids": [1]}, 422)["error"]["message"]
    assert "input 1" in ask("/v1/reward", {"inputs": [{"text": "a"}, {}]}, 422)["error"]["message"]


def test_an_empty_list_of_inputs_gives_an_empty_list(ask):
    assert ask("/v1/reward", {"inputs": []})["results"] == []
    assert ask("/v1/reward", {"prompt": "a", "completions": []})["results"][0]["rewards"] == []


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
def test_vllm_classify(ask, expected, path):
    answer = ask(path, {"model": "m", "input": [TEXT, OTHER], "use_activation": False})
    assert answer["object"] == "list"
    assert answer["id"].startswith("classify-")
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert answer["data"][0]["label"] == "LABEL_0"
    assert answer["data"][0]["num_classes"] == 1
    assert [item["probs"] for item in answer["data"]] == [near([value]) for value in expected]
    assert answer["usage"]["prompt_tokens"] > 0


def test_vllm_classify_of_messages_and_ids_and_its_activation(ask, reward_model):
    reward = reward_model.score(CHAT[:1], [CHAT[1:]])[0]
    assert ask("/classify", {"messages": CHAT})["data"][0]["probs"] == near([reward])
    activated = ask("/classify", {"messages": CHAT, "use_activation": True})["data"][0]["probs"]
    assert activated == near([1 / (1 + math.exp(-reward))])
    ids = reward_model.renderer.encode_text(TEXT)
    raw = reward_model.score_texts([TEXT])[0]
    assert ask("/classify", {"input": ids})["data"][0]["probs"] == near([raw])
    assert [d["probs"] for d in ask("/classify", {"input": [ids, ids]})["data"]] == [near([raw])] * 2


def test_sglang_classify_is_told_apart_by_its_body(ask, expected):
    answer = ask("/classify", {"model": "m", "text": [TEXT, OTHER]})
    assert [item["embedding"] for item in answer] == [near([value]) for value in expected]
    assert ask("/classify", {"text": TEXT})["embedding"] == near([expected[0]])
    assert "exactly one" in ask("/classify", {"text": TEXT, "input": TEXT}, 422)["error"]["message"]
    assert "exactly one" in ask("/classify", {}, 422)["error"]["message"]


def test_vllm_pooling(ask, expected):
    answer = ask("/pooling", {"model": "m", "input": TEXT, "task": "classify"})
    assert answer["data"] == [{"index": 0, "object": "pooling", "data": near([expected[0]])}]
    ask("/pooling", {"input": TEXT, "task": "token_classify"}, 422)


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    "names", [("queries", "documents"), ("text_1", "text_2"), ("data_1", "data_2"), ("queries", "items")]
)
def test_vllm_score_takes_a_document_as_the_answer_to_a_query(ask, reward_model, path, names):
    answer = ask(path, {"model": "m", names[0]: "is maybe", names[1]: [" fine", " awful"]})
    assert [item["object"] for item in answer["data"]] == ["score", "score"]
    assert [item["score"] for item in answer["data"]] == near(reward_model.score("is maybe", [" fine", " awful"]))


def test_vllm_score_pairs_lists_of_equal_length_only(ask, reward_model):
    answer = ask("/score", {"text_1": ["good", "bad"], "text_2": [" a", " b"]})
    pairs = [reward_model.score("good", " a"), reward_model.score("bad", " b")]
    assert [item["score"] for item in answer["data"]] == near(pairs)
    message = ask("/score", {"text_1": ["a", "b", "c"], "text_2": ["a", "b"]}, 422)["error"]["message"]
    assert "3 queries and 2 documents" in message


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_rerank_sorts_by_falling_raw_reward(ask, reward_model, path):
    documents = [" fine", " awful", " nice great"]
    rewards = reward_model.score("is maybe", documents)
    answer = ask(path, {"model": "m", "query": "is maybe", "documents": documents, "top_n": 2})
    best = sorted(range(3), key=lambda i: -rewards[i])[:2]
    assert [result["index"] for result in answer["results"]] == best
    assert [result["relevance_score"] for result in answer["results"]] == near([rewards[i] for i in best])
    assert answer["results"][0]["document"] == {"text": documents[best[0]]}


def test_rerank_of_tei_has_texts_and_a_bare_list(ask, reward_model):
    answer = ask("/rerank", {"query": "is maybe", "texts": [" fine", " awful"], "return_text": True})
    rewards = reward_model.score("is maybe", [" fine", " awful"])
    assert {rank["text"]: rank["score"] for rank in answer} == near({" fine": rewards[0], " awful": rewards[1]})


def test_openrlhf(ask, expected):
    answer = ask("/get_reward", {"query": [TEXT, OTHER], "prompts": ["p", "p"], "labels": [None, None]})
    assert answer["rewards"] == near(expected)
    assert answer["scores"] == near([1 / (1 + math.exp(0.25 - value)) for value in expected])
    assert answer["extra_logs"]["raw_reward"] == near(expected)


def test_an_empty_shard_of_openrlhf_is_answered_with_empty_lists(ask):
    answer = ask("/get_reward", {"query": [], "prompts": [], "labels": []})
    assert answer == {"rewards": [], "scores": [], "extra_logs": {"raw_reward": []}}


def test_sglang_embeddings_as_numbers_and_as_base64(ask, expected):
    answer = ask("/v1/embeddings", {"model": "m", "input": [TEXT, OTHER]})
    assert [item["embedding"] for item in answer["data"]] == [near([value]) for value in expected]
    coded = ask("/v1/embeddings", {"model": "m", "input": TEXT, "encoding_format": "base64"})["data"][0]["embedding"]
    assert struct.unpack("<f", base64.b64decode(coded)) == near((expected[0],))


def test_llamafactory(ask, expected):
    answer = ask("/v1/score/evaluation", {"model": "model", "messages": [TEXT, OTHER], "max_length": None})
    assert answer["object"] == "score.evaluation"
    assert answer["id"].startswith("scoreval-")
    assert answer["model"] == "model"
    assert answer["scores"] == near(expected)


def test_tei_predict_of_a_text_a_pair_and_a_batch(ask, expected, reward_model):
    assert ask("/predict", {"inputs": TEXT}) == [{"label": "LABEL_0", "score": near(expected[0])}]
    pair = reward_model.score("is maybe", " fine")
    assert ask("/predict", {"inputs": ["is maybe", " fine"]})[0]["score"] == near(pair)
    batch = ask("/predict", {"inputs": [[TEXT], ["is maybe", " fine"]]})
    assert [item[0]["score"] for item in batch] == near([expected[0], pair])
    assert ask("/predict", {"inputs": TEXT, "raw_scores": False})[0]["score"] == near(1 / (1 + math.exp(-expected[0])))


def test_tei_errors_have_its_shape(ask):
    assert ask("/predict", {"inputs": "a " * 3000}, 422)["error_type"] == "validation"


def test_another_models_name_is_not_found(ask):
    for path, body in {
        "/classify": {"input": "a"},
        "/v1/embeddings": {"input": "a"},
        "/rerank": {"query": "a", "documents": ["b"]},
        "/v1/reward": {"text": "a"},
    }.items():
        error = ask(path, {**body, "model": "gpt-4"}, 404)["error"]
        assert error["type"] == "model_not_found"
        assert "tiny-rm" in error["message"]


def test_status_routes(url):
    with httpx.Client(base_url=url) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"status": "ready"}
        assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["tiny-rm", "m"]
        assert client.get("/docs").status_code == 200
        assert "/get_reward" in client.get("/openapi.json").json()["paths"]
        client.get("/some/secret/path")
        exposition = client.get("/metrics").text
    assert 'rewardsmith_requests_total{code="200",route="/health"}' in exposition
    assert "secret" not in exposition


LONG = "good " * 600
OVER_LENGTH = {
    "/v1/reward": {"inputs": [{"text": "a"}, {"prompt": "", "completions": ["b", LONG]}]},
    "/classify": {"input": ["a", LONG]},
    "/pooling": {"input": ["a", LONG]},
    "/score": {"text_1": "a", "text_2": ["b", LONG]},
    "/rerank": {"query": "a", "documents": ["b", LONG]},
    "/get_reward": {"query": ["a", LONG]},
    "/v1/embeddings": {"input": ["a", LONG]},
    "/v1/score/evaluation": {"model": "m", "messages": ["a", LONG]},
}


@pytest.mark.parametrize("path", OVER_LENGTH)
def test_a_text_that_is_too_long_is_named_with_its_length_and_the_remedy(ask, path):
    message = ask(path, OVER_LENGTH[path], 422)["error"]["message"]
    assert "completion 1" in message or "input 1" in message
    assert "the model reads 512" in message
    assert "truncation" in message


def test_truncation_that_was_asked_for_is_done_and_said(url, reward_model):
    ids = reward_model.renderer.encode_text(LONG)
    asked = {
        "/classify": {"input": ["a", LONG], "truncate_prompt_tokens": -1},
        "/predict": {"inputs": [["a"], [LONG]], "truncate": True, "truncation_direction": "Left"},
        "/v1/score/evaluation": {"model": "m", "messages": ["a", LONG], "max_length": 16},
    }
    with httpx.Client(base_url=url) as client:
        for path, body in asked.items():
            answer = client.post(path, json=body)
            assert answer.status_code == 200, path
            assert answer.headers["x-rewardsmith-truncated"] == "1", path
        native = client.post("/v1/reward", json={"inputs": [{"text": LONG}], "truncate": "left"}).json()["results"][0]
    assert native["truncated"] == [True]
    assert native["tokens"] == [512]
    assert native["rewards"] == near(reward_model.score_encoded([[ids[-512:]]])[0])
