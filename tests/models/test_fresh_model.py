import pytest
from transformers import AutoTokenizer

from rewardsmith.models import fresh_model


@pytest.mark.parametrize("text", ["In 2024: 3 of 17.", "one\n\n  two\r\n", "IT'S the cafe\u0301 (NO. 3)!", "a b\tc"])
def test_the_saved_tokenizer_splits_every_text_as_the_trained_one(tmp_path, text):
    tokenizer = fresh_model.train_tokenizer([text, "In 2021: 9 of 10.\n\n- it's caf\u00e9"] * 9, 320)
    fresh_model.build_model("tiny", tokenizer, 0).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_the_saved_tokenizer_gives_no_token_without_an_embedding(tmp_path):
    tokenizer = fresh_model.train_tokenizer(["a few words to learn from"] * 5, 300)
    model = fresh_model.build_model("tiny", tokenizer, 0)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert len(loaded) == len(tokenizer) == model.config.vocab_size
    # A text that names the token which transformers would otherwise add.
    text = "words <|endoftext|> and \u2603"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert max(loaded(text)["input_ids"]) < model.config.vocab_size
