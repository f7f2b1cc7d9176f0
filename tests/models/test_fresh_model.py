from transformers import AutoTokenizer

from rewardsmith.models import fresh_model


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
