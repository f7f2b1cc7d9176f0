"""How the steps of a solution become token ids, and where each ends."""

import pytest
from step_rows import judge
from tiny_models import llama_tokenizer, qwen_tokenizer

from rewardsmith.errors import CheckpointError, ConfigError, ScoringError
from rewardsmith.models.steps import SolutionIds, StepRenderer, StepRule, TokenJudge, read_rule
from rewardsmith.records import Message, TokenIds

BREAK = 201
PLAIN = StepRule("\n", (BREAK,))
MARKED = StepRule("<|im_end|>", (2,))


def renderer(rule=PLAIN, **options):
    return StepRenderer(qwen_tokenizer(), rule, **options)


def test_question_steps_and_separators_are_tokenised_one_by_one():
    tokenizer = qwen_tokenizer()
    ids = renderer().encode("question\nis", "good answer\nbad")
    question, *steps = (tokenizer(text)["input_ids"] for text in ("question\nis", "good answer", "bad"))
    assert list(ids) == [*question, *steps[0], BREAK, *steps[1], BREAK]
    # The line break of the question ends no step.
    assert ids.places == (len(question) + len(steps[0]), len(ids) - 1)


def test_a_text_and_a_conversation_are_one_question():
    written = renderer().encode("question", "good\nbad")
    said = renderer().encode((Message("user", "question"),), (Message("assistant", "good\nbad"),))
    assert written == said
    assert written.places == said.places


def test_bos_stands_before_the_question_where_there_is_one():
    tokenizer = llama_tokenizer()
    rule = StepRule.of(tokenizer, "\n")
    assert StepRenderer(tokenizer, rule).encode("question", "good")[0] == tokenizer.bos_token_id


def test_chat_format_opens_the_turn_of_the_assistant():
    chat = renderer(StepRule("\n", (BREAK,), "chat"))
    text = chat.render("question", "good\nbad")
    assert text == "<|im_start|>user\nquestion<|im_end|>\n<|im_start|>assistant\ngood\nbad\n"
    assert len(chat.encode("question", "good\nbad").places) == 2
    assert chat.encode([Message("system", "be nice"), Message("user", "question")], "good").places


@pytest.mark.parametrize(
    ("rule", "solution", "steps"),
    [
        (PLAIN, "one\ntwo", ["one", "two"]),
        (PLAIN, "one\nmore\n\ntwo", ["one\nmore", "two"]),
        (MARKED, "one\n\ntwo", ["one", "two"]),
        (MARKED, "one\n\nmore<|im_end|>two<|im_end|>", ["one\n\nmore", "two"]),
    ],
)
def test_separators_divide_a_solution_or_else_empty_lines(rule, solution, steps):
    assert rule.divide(solution) == steps


def test_a_line_break_inside_a_step_becomes_a_space_and_a_text_is_refused():
    assert PLAIN.clean("one\n\ntwo\n") == "one two"
    with pytest.raises(ScoringError, match=r"a step holds the separator '<|im_end|>' itself"):
        MARKED.clean("one<|im_end|>two")


def test_a_separator_of_several_tokens_is_refused():
    with pytest.raises(ConfigError, match="step_separator 'so then' is"):
        StepRule.of(qwen_tokenizer(), "so then")
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="step_format='chat' needs a chat template"):
        StepRule.of(tokenizer, "\n", "chat")


def test_what_plain_format_cannot_hold_is_refused():
    with pytest.raises(ScoringError, match="roles system, user"):
        renderer().encode([Message("system", "a"), Message("user", "b")], "good")
    with pytest.raises(ScoringError, match="holds no step"):
        renderer().encode("question", " ")


def test_control_tokens_of_a_question_are_characters_where_that_is_asked_for():
    told = renderer(special_tokens="as_text").encode("a <|im_end|>", "good")
    assert 2 not in told
    assert told.places
    with pytest.raises(ScoringError, match="control token"):
        renderer(special_tokens="refuse").encode("a <|im_end|>", "good")


def test_bare_ids_say_where_steps_end_only_by_a_separator_that_is_no_blank():
    assert TokenJudge(MARKED, "min").places([5, 2, 6, 2]) == (1, 3)
    with pytest.raises(ScoringError, match="token ids alone do not say where steps end"):
        TokenJudge(PLAIN, "min").places([5, BREAK])
    assert renderer(MARKED).encode("", TokenIds((5, 2))) == [5, 2]


def test_a_judge_gives_the_score_of_each_step_and_their_aggregate():
    model, _ = judge()
    ids = renderer().encode("question", "good\nbad")
    (same, other), (last,) = TokenJudge(PLAIN, "product").read_groups(model, [[ids, SolutionIds(ids, (3,))], [ids]], 64)
    assert len(same.steps) == 2
    assert same.reward == pytest.approx(same.steps[0] * same.steps[1])
    assert len(other.steps) == 1
    assert same.steps == pytest.approx(last.steps)


def test_a_contract_whose_steps_are_unknown_is_refused():
    assert read_rule(PLAIN.to_dict()) == PLAIN
    with pytest.raises(CheckpointError, match="save the model again"):
        read_rule({"separator": "a"})
    with pytest.raises(CheckpointError, match="upgrade rewardsmith"):
        read_rule({**PLAIN.to_dict(), "class": 2})
