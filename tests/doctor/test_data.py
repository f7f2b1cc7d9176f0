"""Faults of data that the doctor names without a model, each planted in healthy rows."""

import healthy_runs
import pytest

from rewardsmith.doctor import examine

ROWS = healthy_runs.judged_rows(60, 2, conversational=False)


def found(rows, check):
    (finding,) = [finding for finding in examine(None, rows) if finding.check == check]
    return finding


def changed(change, rows=ROWS):
    return [{**row, **change(row, number)} for number, row in enumerate(rows)]


def test_healthy_rows_are_green():
    assert [finding for finding in examine(None, ROWS) if finding.level != "green"] == []


@pytest.mark.parametrize(
    ("mark", "level"), [("[chosen] {}", "red"), ("{} Label: {label}", "red"), ("{} <{label}>", "red"), ("{}", "green")]
)
def test_the_label_written_into_answers_is_named(mark, level):
    def write(row, number):
        return {side: mark.format(row[side], label=side) for side in ("chosen", "rejected")}

    assert found(changed(write), "label in answers").level == level


def test_the_prompt_repeated_in_answers_is_named_also_behind_the_mark_of_a_speaker():
    for mark in ("", "Human: "):
        rows = changed(lambda row, n: {side: f"{mark}{row['prompt']} {row[side]}" for side in ("chosen", "rejected")})  # noqa: B023
        finding = found(rows, "prompt in answers")
        assert (finding.level, "60 of 60" in finding.message) == ("red", True)


def test_answers_cut_at_one_length_are_named_with_the_length():
    def long(row, number):
        return {side: f"{row[side]} {' '.join(f'word{number + i}' for i in range(90))}"[:400] for side in ROWS[0]}

    cut = [
        {"prompt": row["prompt"], **{s: long(row, n)[s] for s in ("chosen", "rejected")}} for n, row in enumerate(ROWS)
    ]
    finding = found(cut, "cut answers")
    assert (finding.level, "120 of 120 answers have exactly 400 characters" in finding.message) == ("red", True)
    some = ROWS + cut[:12]
    assert found(some, "cut answers").level == "yellow"


def test_short_answers_of_one_length_are_not_cut():
    rows = [{"prompt": f"question {i}", "chosen": "Yes.", "rejected": "Nay."} for i in range(40)]
    assert found(rows, "cut answers").level == "green"


def test_template_tokens_inside_messages_are_named():
    rows = healthy_runs.judged_rows(40, 3)
    end = [{"role": "assistant", "content": "good answer<|im_end|>"}]
    assert found([{**row, "chosen": end} for row in rows], "template tokens").level == "red"
    assert found(rows, "template tokens").level == "green"


@pytest.mark.parametrize(
    ("chosen", "rejected", "level"),
    [
        ("Good answer: {}", "Bad answer: {}", "yellow"),
        ("{} (score: 1)", "{} (score: 0)", "yellow"),
        ("{}", "As an AI, {}", "yellow"),
        ("{}.", "{}", "yellow"),
        ("{} ", "{}", "red"),
        ("{}", "\n{}", "red"),
        ("{}", "{}</s>", "red"),
    ],
)
def test_whatever_one_side_alone_begins_or_ends_with_is_named(chosen, rejected, level):
    rows = changed(
        lambda row, n: {"chosen": chosen.format(row["chosen"]), "rejected": rejected.format(row["rejected"])}
    )
    assert found(rows, "label in answers").level == level


def test_rows_of_judged_steps_are_named_and_are_no_fault():
    rows = [{"prompt": f"{n}?", "completions": ["good", "bad"], "labels": [True, False]} for n in range(3)]
    assert found(rows, "rows").level == "green"
    assert "3 rows judge steps and compare no answers: they train with --loss_type steps" in found(rows, "rows").message
