"""Long input is an error unless cutting is asked for; then the prompt loses its start and the answer nothing."""

import pytest
import tiny_models

from rewardsmith import RewardModel
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import Message, ScoreRequest, TokenIds
from rewardsmith.scoring.truncation import cut_shared_start, truncate_prompt

ANSWER = "fine nice great poor"


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    built, tokenizer = getattr(tiny_models, request.param)()
    built.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return RewardModel.from_pretrained(str(folder), device="cpu")


def encode_words(prompt):
    """One token a word; a stand-in for template and tokenizer that can be counted by hand."""
    texts = [prompt] if isinstance(prompt, str) else [f"<{m.role}> {m.content}" for m in prompt]
    return [hash(word) for word in " ".join([*texts, "the answer"]).split()]


def test_a_text_that_fits_stays_whole():
    assert truncate_prompt(encode_words, "a b c", "", 5) == encode_words("a b c")


def test_a_plain_prompt_keeps_as_much_of_its_end_as_fits():
    assert truncate_prompt(encode_words, "a b c d", "", 4) == encode_words("c d")


def test_a_conversation_loses_its_oldest_exchange_and_keeps_the_system_message():
    system, last = Message("system", "be kind"), Message("user", "u3")
    turns = (Message("user", "u1 long"), Message("assistant", "a1"), Message("user", "u2"), Message("assistant", "a2"))
    whole = (system, *turns, last)
    assert truncate_prompt(encode_words, whole, "", 11) == encode_words((system, *turns[2:], last))
    assert truncate_prompt(encode_words, whole, "", 7) == encode_words((system, last))


def test_the_answer_is_never_cut():
    with pytest.raises(ScoringError, match="answer and its markup alone have 2 tokens, the model reads 1"):
        truncate_prompt(encode_words, "a b", "", 1)
    with pytest.raises(ScoringError, match="prompt cannot be told apart"):
        truncate_prompt(encode_words, "a b", TokenIds([1, 2, 3]), 1)


def test_long_input_is_an_error_unless_cutting_is_asked_for(model):
    prompt = "good question " * 600
    with pytest.raises(ScoringError, match=r"request 0, completion 0 has .* truncation='truncate_prompt'"):
        model.score(prompt, [ANSWER])
    with pytest.raises(ConfigError, match="truncation 'left' is not known; give one of error, truncate_prompt"):
        model.score(prompt, [ANSWER], truncation="left")
    with pytest.raises(ScoringError, match="answer and its markup alone"):
        model.score("good", ["awful " * 700], truncation="truncate_prompt")


@pytest.mark.parametrize("chat", [False, True])
def test_a_cut_text_is_scored_as_its_rest(model, chat, caplog):
    start, end = "awful " * 600, "is maybe the answer good "
    prompt = [{"role": "user", "content": start + end}] if chat else start + end
    model.num_cut = 0
    reward = model.score(prompt, [ANSWER], truncation="truncate_prompt")[0]
    assert "the start of 1 prompts was cut to fit 512 tokens" in caplog.text
    caplog.clear()
    assert model.score(prompt, [ANSWER], truncation="truncate_prompt")[0] == reward
    # Said once, counted always; and the tokenizer's own warning, which names no row, is never said.
    assert (caplog.text, model.num_cut) == ("", 2)
    asked = (Message("user", start + end),) if chat else start + end
    ids = truncate_prompt(lambda p: model.encode(ScoreRequest(p, (ANSWER,)))[0], asked, ANSWER, model.max_length)
    assert len(ids) <= 512
    text = model.tokenizer.decode(ids)
    assert end in text
    assert ANSWER in text
    assert text.count("awful") > 100
    assert ids[-8:] == model.encode(ScoreRequest(asked, (ANSWER,)))[0][-8:]
    assert reward == pytest.approx(model.score_encoded([[ids]])[0][0], abs=1e-6)
    short = model.score("good", [ANSWER], truncation="truncate_prompt")
    assert short == pytest.approx(model.score("good", [ANSWER]), abs=1e-6)


def test_whole_dialogues_are_cut_where_they_are_alike_and_keep_their_first_token():
    assert cut_shared_start([[1, 5, 6, 7, 8], [1, 5, 6, 7, 9, 9]], 5) == [[1, 6, 7, 8], [1, 6, 7, 9, 9]]
    assert cut_shared_start([[1, 2], [1, 3]], 5) == [[1, 2], [1, 3]]
    with pytest.raises(ScoringError, match="alone have 4 tokens, the model reads 3"):
        cut_shared_start([[1, 2, 3, 4, 5], [1, 2, 3]], 3)
