"""Several answers to one prompt, each rated on several attributes: ratings, and the comparisons they imply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewardsmith.data.row_parts import scored_comparisons
from rewardsmith.data.row_values import check_mapping, check_number
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison

Scores = Mapping[str, float]
MEAN = "mean"


@dataclass(frozen=True)
class RatedAnswer:
    """One answer with its author and its scores by attribute."""

    text: str
    model: str | None
    scores: Scores


def check_scores(value: object, where: str, column: str) -> dict[str, float]:
    """Accept an object of finite numbers; what is null is left out."""
    scores = check_mapping(value, where, column)
    return {name: check_number(score, where, f"{column}.{name}") for name, score in scores.items()}


def rating_columns(answers: Sequence[RatedAnswer]) -> dict[str, tuple[float | None, ...]]:
    """Give each attribute's scores over all answers, None where an answer has none."""
    names = dict.fromkeys(name for answer in answers for name in answer.scores)
    return {name: tuple(answer.scores.get(name) for answer in answers) for name in names}


def compare_by(answers: Sequence[RatedAnswer], by: str, where: str) -> tuple[Comparison, ...]:
    """Compare all answers by one attribute, or by the mean of all; the difference is the margin, equal is a tie.

    Raises:
        RowError: an answer lacks the attribute, or any score at all.
    """
    scores = []
    for index, answer in enumerate(answers):
        values = list(answer.scores.values()) if by == MEAN else [answer.scores.get(by)]
        known = [value for value in values if value is not None]
        if not known:
            raise row_error(where, "missing score", f"answer {index} has no score {by!r}; name another attribute")
        scores.append(round(math.fsum(known) / len(known), 9))
    return scored_comparisons(scores)
