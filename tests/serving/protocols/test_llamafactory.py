"""LLaMA-Factory's reward API."""

from protocol_texts import OTHER, TEXT, near


def test_llamafactory(ask, expected):
    answer = ask("/v1/score/evaluation", {"model": "model", "messages": [TEXT, OTHER], "max_length": None})
    assert answer["object"] == "score.evaluation"
    assert answer["id"].startswith("scoreval-")
    assert answer["model"] == "model"
    assert answer["scores"] == near(expected)
