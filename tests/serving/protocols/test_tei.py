"""TEI's predict: texts, pairs, batches and errors in its shape."""

import math

from protocol_texts import TEXT, near


def test_tei_predict_of_a_text_a_pair_and_a_batch(ask, expected, reward_model):
    assert ask("/predict", {"inputs": TEXT}) == [{"label": "LABEL_0", "score": near(expected[0])}]
    pair = reward_model.score("is maybe", " fine")
    assert ask("/predict", {"inputs": ["is maybe", " fine"]})[0]["score"] == near(pair)
    batch = ask("/predict", {"inputs": [[TEXT], ["is maybe", " fine"]]})
    assert [item[0]["score"] for item in batch] == near([expected[0], pair])
    assert ask("/predict", {"inputs": TEXT, "raw_scores": False})[0]["score"] == near(1 / (1 + math.exp(-expected[0])))


def test_tei_errors_have_its_shape(ask):
    assert ask("/predict", {"inputs": "a " * 3000}, 422)["error_type"] == "validation"
