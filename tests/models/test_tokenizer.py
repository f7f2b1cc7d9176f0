"""A tokenizer of a reward model: a pad token that ends no text, a template that ends in the scored token."""

import tiny_models

from rewardsmith.models.tokenizer import pair_separator, prepare_tokenizer


def test_a_pad_token_that_also_ends_texts_is_replaced_and_said():
    tokenizer = tiny_models.qwen_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    (note, *_) = prepare_tokenizer(tokenizer)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert "also ends or begins a text" in note


def test_a_prepared_template_ends_in_eos_and_a_second_time_changes_nothing():
    tokenizer = tiny_models.qwen_tokenizer()
    prepare_tokenizer(tokenizer)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "is"}], tokenize=False)
    assert text.endswith(tokenizer.eos_token)
    assert prepare_tokenizer(tokenizer) == []


def test_a_tokenizer_without_a_separator_has_none_between_two_texts():
    tokenizer = tiny_models.qwen_tokenizer()
    assert pair_separator(tokenizer) is None
    # A token that the tokenizer does not put between two texts by itself is none either.
    tokenizer.sep_token = tokenizer.eos_token
    assert pair_separator(tokenizer) is None
