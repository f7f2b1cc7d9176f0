"""From rows with judged steps to token ids and labels, counted to the last step."""

import pytest
from datasets import Dataset
from step_rows import ROWS
from tiny_models import qwen_tokenizer

from rewardsmith import PRMConfig
from rewardsmith.data.formats.trainers import step_group
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.models.steps import StepRenderer, StepRule
from rewardsmith.records import PreferenceGroup
from rewardsmith.training.steps.encoding import StepEncoder, encode_steps, solutions_of


def encoder(rule=None, max_length=None, **settings):
    tokenizer = qwen_tokenizer()
    rule = rule or StepRule.of(tokenizer, "\n")
    args = PRMConfig("out", use_cpu=True, report_to="none", **settings)
    return StepEncoder(StepRenderer(tokenizer, rule), args, max_length, 420)


def labels_of(rows, name="train", **settings):
    encoded, report = encode_steps(rows, encoder(**settings), name)
    return [row["label"] for row in encoded], dict(report.dropped)


def test_ids_and_labels_are_those_of_trl():
    """TRL 1.13's tokenize_row: question, then each step and the separator; the label at the separator."""
    tokenizer = qwen_tokenizer()
    encoded, report = encode_steps(ROWS[:2], encoder(), "train")
    ids = tokenizer("question 0\n")["input_ids"]
    places = []
    for step in ROWS[0]["completions"]:
        ids = [*ids, *tokenizer(step)["input_ids"], 201]
        places.append(len(ids) - 1)
    assert encoded[0] == {"ids": [ids], "sequence": [0, 0, 0], "place": places, "label": [1.0, 0.0, 0.0]}
    assert str(report) == "2 rows -> 2 groups with 6 judged steps"


def test_solutions_of_one_question_become_one_group():
    args = encoder()
    encoded, report = encode_steps(ROWS, args, "train", merge_prompts=True)
    assert (report.rows, report.groups, report.comparisons) == (9, 3, 21)
    assert [len(row["ids"]) for row in encoded] == [3, 3, 3]
    assert [len(solution.places) for solution in solutions_of(encoded[0])] == [3, 3, 1]


@pytest.mark.slow
def test_rows_that_processes_encode_are_the_same():
    rows = Dataset.from_list(ROWS)
    alone, _ = encode_steps(rows, encoder(), "train")
    shared, report = encode_steps(rows, encoder(dataset_num_proc=2), "train")
    assert shared.to_list() == alone.to_list()
    assert report.rows == 9


def rated(*ratings):
    return step_group("question", [f"step {n}" for n in range(len(ratings))], ratings, "row", {})


@pytest.mark.parametrize(
    ("neutral", "labels", "said"),
    [
        ("right", [1.0, 1.0, -1.0, 0.0], "neutral steps read as right"),
        ("wrong", [1.0, 0.0, -1.0, 0.0], "neutral steps read as wrong"),
        ("half", [1.0, 0.5, -1.0, 0.0], "neutral steps read as half right"),
        ("skip", [1.0, -1.0, -1.0, 0.0], "neutral steps left out"),
    ],
)
def test_neutral_and_missing_labels_are_counted(neutral, labels, said):
    found, dropped = labels_of([rated(1, 0, None, -1)], neutral_steps=neutral)
    assert found == [labels]
    assert dropped == {said: 1, "steps without a label": labels.count(-1.0)}


def test_only_the_last_label_is_trained_on_and_all_are_evaluated():
    assert labels_of(ROWS[:1], train_on_last_step_only=True)[0] == [[-1.0, -1.0, 0.0]]
    assert labels_of(ROWS[:1], "eval", train_on_last_step_only=True)[0] == [[1.0, 0.0, 0.0]]


def test_candidates_for_the_next_step_label_their_last_step():
    metadata = {"steps_before": ["one"], "candidates": ["good", "bad"]}
    group = PreferenceGroup("q", ("one\ngood", "one\nbad"), (), {"step": (1.0, -1.0)}, metadata=metadata)
    encoded, _ = encode_steps([group], encoder(), "train")
    assert encoded[0]["label"] == [-1.0, 1.0, -1.0, 0.0]
    assert encoded[0]["sequence"] == [0, 0, 1, 1]


def test_steps_behind_a_limit_are_left_out_and_counted():
    (ids,) = encode_steps(ROWS[:1], encoder(), "train")[0][0]["ids"]
    found, dropped = labels_of(ROWS[:1], max_length=len(ids) - 1)
    assert found == [[1.0, 0.0]]
    assert dropped == {"steps behind the length limit left out": 1}
    question = len(qwen_tokenizer()(ROWS[0]["prompt"])["input_ids"])
    found, dropped = labels_of(ROWS[:1], max_completion_length=len(ids) - question - 1)
    assert found == [[1.0, 0.0]]
    assert dropped == {"steps behind the length limit left out": 1}
    with pytest.raises(DataError, match="no judged step is left"):
        labels_of(ROWS[:1], max_length=3)


def test_a_long_question_loses_its_start():
    encoded, report = encode_steps(ROWS[:1], encoder(max_prompt_length=2), "train")
    assert report.dropped["prompts cut to max_prompt_length"] == 1
    assert encoded[0]["ids"][0][:2] == qwen_tokenizer()("question 0\n")["input_ids"][-2:]


def test_a_separator_in_a_step_is_mended_where_it_is_blank_and_else_refused():
    rows = [{"prompt": "q", "completions": ["good\nnice"], "labels": [True]}]
    assert labels_of(rows)[1] == {"steps in which a separator became a space": 1}
    with pytest.raises(DataError, match=r"train row 0: a step holds the separator '<|im_end|>' itself"):
        labels_of([{**rows[0], "completions": ["a<|im_end|>b"]}], rule=StepRule("<|im_end|>", (2,)))


def test_rows_that_trl_tokenised_are_taken():
    row = {"input_ids": [5, 6, 7], "labels": [-100, 1, 0]}
    assert encode_steps([row], encoder(), "train")[0][0] == {
        "ids": [[5, 6, 7]],
        "sequence": [0, 0],
        "place": [1, 2],
        "label": [1.0, 0.0],
    }
    with pytest.raises(DataError, match="train row 0: input_ids has 3 tokens and labels 2"):
        encode_steps([{**row, "labels": [1, 0]}], encoder(), "train")


def test_rows_without_judged_steps_are_refused_by_name():
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    with pytest.raises(DataError, match=r"train row 0: the row holds no judged steps.*RewardTrainer"):
        encode_steps([pair], encoder(), "train")
    with pytest.raises(DataError, match="'completions' holds 1 steps and 'labels' 2; give one label a step"):
        encode_steps([{"prompt": "q", "completions": ["a"], "labels": [True, False]}], encoder(), "train")
    with pytest.raises(DataError, match=r"no judged step is left.*rows without a judged step left out: 1"):
        labels_of([rated(0, 0)], neutral_steps="skip")
    with pytest.raises(ConfigError, match="not from a stream"):
        encode_steps(Dataset.from_list(ROWS).to_iterable_dataset(), encoder(), "train")
