"""TRL's rows that are no pairs of texts: token ids, `stepwise` (a label a step) and `unpaired` (a label an answer).

Labels compare nothing. A stepwise row becomes a solution with step ratings, the form in which every data set that
judges reasoning is read: the completion is the whole reasoning, `metadata["steps"]` holds its steps,
`metadata["step_ratings"]` one rating each (1 right, 0 neutral, -1 wrong, None not judged) and `metadata["first_error"]`
the index of the first wrong step, from 0, or -1 when there is none (as in ProcessBench). An unpaired row becomes one
completion with the rating "label", 1 or 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.data.formats.cells import check_flag, check_ids, check_list, check_prompt, check_text, require
from rewardsmith.data.formats.format import Format
from rewardsmith.data.formats.pairs import PAIR_COLUMNS, comparison_fields, group_fields, join_prompt
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison, Message, PreferenceGroup, Text

StepRating = int | None


def read_tokens(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read TRL's tokenised pairs. The ids hold the prompt, so the group's prompt is empty."""
    names = ("chosen_ids", "rejected_ids") if "chosen_ids" in row else ("chosen_input_ids", "rejected_input_ids")
    completions = tuple(check_ids(require(row, name, where), where, name) for name in names)
    comparison = Comparison(0, 1, **comparison_fields(row, where))
    return PreferenceGroup("", completions, (comparison,), **group_fields(row, where, {*names, *PAIR_COLUMNS}))


def read_stepwise(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read `prompt`, `completions` (the steps) and `labels` (true where a step is right, null where not judged)."""
    prompt = check_prompt(require(row, "prompt", where), where, "prompt")
    steps = check_list(require(row, "completions", where), where, "completions")
    labels = check_list(require(row, "labels", where), where, "labels")
    if len(steps) != len(labels) or not steps:
        message = f"'completions' holds {len(steps)} steps and 'labels' {len(labels)}; give one label a step"
        raise row_error(where, "wrong length", message)
    texts = [check_text(step, where, f"completions[{index}]") for index, step in enumerate(steps)]
    ratings = [_rating(label, where, f"labels[{index}]") for index, label in enumerate(labels)]
    if all(rating is None for rating in ratings):
        raise row_error(where, "no judgement", "'labels' judges no step; label one or leave the row out")
    extra = group_fields(row, where, {"prompt", "completions", "labels"}).get("metadata", {})
    return step_group(prompt, texts, ratings, where, extra)


def _rating(label: object, where: str, column: str) -> int | None:
    if label is None:
        return None
    return 1 if check_flag(label, where, column) else -1


def read_unpaired(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read `prompt`, `completion` and `label` (true for a good answer); merging gathers the answers of a prompt."""
    value = 1.0 if check_flag(require(row, "label", where), where, "label") else 0.0
    prompt = require(row, "prompt", where) if "prompt" in row else None
    asked, completions = join_prompt(prompt, [require(row, "completion", where)], where, "prompt", ["completion"])
    fields = group_fields(row, where, {"prompt", "completion", "label"})
    return PreferenceGroup(asked, completions, (), {"label": (value,)}, **fields)


def check_steps(value: object, where: str, column: str) -> list[str]:
    """Accept a non-empty list of texts; a step in a list of its own, as ReasonEval has them, is unwrapped."""
    steps = check_list(value, where, column)
    if not steps:
        raise row_error(where, "no steps", f"column {column!r} is an empty list; give the steps of the reasoning")
    parts = [step[0] if isinstance(step, list) and step else step for step in steps]
    return [check_text(step, where, f"{column}[{index}]", empty=True) for index, step in enumerate(parts)]


def ratings_until(first_error: int, size: int, where: str) -> list[StepRating]:
    """Give the ratings that the first wrong step implies: right before it, not judged after it; -1 is all right."""
    if not -1 <= first_error < size:
        raise row_error(where, "out of range", f"the first mistake is step {first_error} of {size} (from 0)")
    if first_error == -1:
        return [1] * size
    return [1] * first_error + [-1] + [None] * (size - first_error - 1)


def step_group(
    question: Text, steps: Sequence[str], ratings: Sequence[StepRating], where: str, extra: Mapping[str, Any]
) -> PreferenceGroup:
    """Build the group of one reasoning: no comparisons, the rating "worst_step", steps in the metadata."""
    first_error = ratings.index(-1) if -1 in ratings else -1
    asked, completions = dialogue_of(question if isinstance(question, str) else "", ["\n".join(steps)])
    prompt = asked if isinstance(question, str) else question
    model = extra.get("generator")
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        ratings={"worst_step": (min(float(rating) for rating in ratings if rating is not None),)},
        models=(str(model),) if model is not None else (),
        group_id=where,
        metadata={"steps": list(steps), "step_ratings": list(ratings), "first_error": first_error, **extra},
    )


def dialogue_of(question: str, answers: Sequence[str]) -> tuple[tuple[Message, ...], tuple[tuple[Message, ...], ...]]:
    """Give one question and its answers as a user turn and assistant turns.

    An empty answer stays: people judged it, and `data check` names it.
    """
    return (Message("user", question),), tuple((Message("assistant", answer),) for answer in answers)


FORMATS = (
    # Token ids win over texts, as in TRL, since a tokenised data set often keeps its text columns.
    Format(
        "tokens",
        read_tokens,
        ({"chosen_ids", "rejected_ids"}, {"chosen_input_ids", "rejected_input_ids"}),
        wins=True,
    ),
    Format("stepwise", read_stepwise, ({"completions", "labels"},), takes_prompt=True),
    Format("unpaired", read_unpaired, ({"completion", "label"},), takes_prompt=True),
)
