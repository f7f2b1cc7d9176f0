"""The native protocol: every form of input, normalised rewards, unknown fields refused; status."""

import httpx
from protocol_texts import CHAT, OTHER, TEXT, near


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


def test_status_routes(url):
    with httpx.Client(base_url=url) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/ready").json() == {"status": "ready"}
        assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["tiny-rm", "m"]
        assert client.get("/docs").status_code == 200
        start = client.get("/", follow_redirects=True)
        assert start.url.path == "/docs"
        assert "list of (string or list of integer or list of ChatMessage or null)" in start.text
        assert "many under <code>inputs</code>" in start.text
        assert "/get_reward" in client.get("/openapi.json").json()["paths"]
        client.get("/some/secret/path")
        exposition = client.get("/metrics").text
    assert 'rewardsmith_requests_total{code="200",route="/health"}' in exposition
    assert "secret" not in exposition


def test_a_null_completion_has_a_null_reward_and_costs_no_other(ask, reward_model):
    answer = ask("/v1/reward", {"prompt": "is maybe", "completions": [" fine", None], "return_parts": True})
    result = answer["results"][0]
    assert [result["rewards"][0]] == near(reward_model.score("is maybe", [" fine"]))
    assert result["rewards"][1] is None
    assert (result["tokens"][1], result["parts"][1], list(result["errors"])) == (0, None, ["1"])
    assert reward_model.score("is maybe", [" fine", None])[1] is None


def test_with_partial_what_cannot_be_read_or_encoded_costs_itself_alone(ask, reward_model):
    bad = [[{"content": "no role"}], [10**6], "good " * 5000, 5, True, [1.5], [True], [3, "a"], {"a": 1}, [[1]], [None]]
    body = {"prompt": "is maybe", "completions": [" fine", *bad]}
    assert "error" in ask("/v1/reward", body, 422)
    result = ask("/v1/reward", {**body, "partial": True})["results"][0]
    assert result["rewards"][:1] == near(reward_model.score("is maybe", [" fine"]))
    assert result["rewards"][1:] == [None] * len(bad) == reward_model.score("is maybe", bad, partial=True)
    refused = ask("/v1/reward", {"prompt": "is maybe", "completions": ["secret", 5]}, 422)["error"]["message"]
    assert refused == (
        "the body: completion 1 must be a text, a list of token ids or a list of messages; what came is another int"
    )
    assert "needs a role" in result["errors"]["1"]
    assert "outside the vocabulary" in result["errors"]["2"]
    assert "the model reads" in result["errors"]["3"]


def test_two_completions_have_the_probabilities_of_their_comparison(ask, reward_model):
    inputs = [{"prompt": "is maybe", "completions": [" fine", " awful"]}, {"prompt": "a", "completions": ["b", None]}]
    first, second = ask("/v1/reward", {"inputs": inputs, "return_probabilities": True, "normalized": True})["results"]
    likely = reward_model.preference_probability("is maybe", " fine", " awful")
    assert first["probabilities"] == {"first": near(likely), "second": near(1 - likely), "tie": None}
    assert second["probabilities"] is None
    refused = ask("/v1/reward", {"text": "a", "return_probabilities": True}, 422)["error"]["message"]
    assert refused == "input 0 has 1 completions; return_probabilities takes two of one prompt"
