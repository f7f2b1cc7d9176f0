"""vLLM's and SGLang's answers have the shape that each reads, and hold the raw reward."""

import base64
import math
import struct

import pytest
from protocol_texts import CHAT, OTHER, TEXT, near


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


def test_sglang_embeddings_as_numbers_and_as_base64(ask, expected):
    answer = ask("/v1/embeddings", {"model": "m", "input": [TEXT, OTHER]})
    assert [item["embedding"] for item in answer["data"]] == [near([value]) for value in expected]
    coded = ask("/v1/embeddings", {"model": "m", "input": TEXT, "encoding_format": "base64"})["data"][0]["embedding"]
    assert struct.unpack("<f", base64.b64decode(coded)) == near((expected[0],))


def test_a_null_document_has_a_null_score_and_costs_no_other(ask):
    found = ask("/score", {"queries": "is maybe", "documents": [" fine", None, " awful"]})["data"]
    whole = ask("/score", {"queries": "is maybe", "documents": [" fine", " awful"]})["data"]
    assert [entry["score"] for entry in found] == [whole[0]["score"], None, whole[1]["score"]]
    assert ask("/score", {"queries": [None], "documents": ["a"]}, 422)["error"]
