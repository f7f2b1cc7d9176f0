"""Over every protocol: names, lengths and cutting."""

import httpx
import pytest
from protocol_texts import near

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
