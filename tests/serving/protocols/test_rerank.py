"""Reranking: best first by the raw reward, in the form of Cohere, Jina, vLLM and TEI."""

import math

import pytest
from protocol_texts import TEXT, near


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


def test_tei_predict_of_a_text_a_pair_and_a_batch(ask, expected, reward_model):
    assert ask("/predict", {"inputs": TEXT}) == [{"label": "LABEL_0", "score": near(expected[0])}]
    pair = reward_model.score("is maybe", " fine")
    assert ask("/predict", {"inputs": ["is maybe", " fine"]})[0]["score"] == near(pair)
    batch = ask("/predict", {"inputs": [[TEXT], ["is maybe", " fine"]]})
    assert [item[0]["score"] for item in batch] == near([expected[0], pair])
    assert ask("/predict", {"inputs": TEXT, "raw_scores": False})[0]["score"] == near(1 / (1 + math.exp(-expected[0])))


def test_tei_errors_have_its_shape(ask):
    assert ask("/predict", {"inputs": "a " * 3000}, 422)["error_type"] == "validation"


def test_a_null_document_is_left_out_and_costs_no_other(ask):
    for form in ("documents", "texts"):
        found = ask("/rerank", {"query": "is maybe", form: [None, " fine", " awful"]})
        whole = ask("/rerank", {"query": "is maybe", form: [" fine", " awful"]})
        places = [[entry["index"] for entry in (a["results"] if form == "documents" else a)] for a in (found, whole)]
        assert places[0] == [place + 1 for place in places[1]]
