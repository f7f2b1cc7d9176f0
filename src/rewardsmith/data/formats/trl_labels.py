"""TRL's rows with labels in place of a pair: `stepwise` (one label a step) and `unpaired` (one label an answer).

Neither compares anything: a stepwise row becomes a solution with step ratings, as the readers of PRM800K and
Math-Shepherd give it; an unpaired row becomes one completion with the rating "label", 1 or 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardsmith.data.row_parts import group_fields, join_prompt
from rewardsmith.data.row_values import check_flag, check_list, check_text, require
from rewardsmith.data.sets.steps import step_group
from rewardsmith.errors import row_error
from rewardsmith.records import PreferenceGroup

STEPWISE = ({"completions", "labels"},)
UNPAIRED = ({"completion", "label"},)


def read_stepwise(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read `prompt`, `completions` (the steps) and `labels` (true where a step is right, null where not judged)."""
    prompt = check_text(require(row, "prompt", where), where, "prompt", empty=True)
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


def _rating(label: Any, where: str, column: str) -> int | None:
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
