"""FineGrainedRLHF (Wu et al. 2023, arXiv 2306.01693): four answers to a question, all six pairs judged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from rewardsmith.errors import DataError
from rewardsmith.preferences.files import read_rows
from rewardsmith.records import Comparison, PreferenceGroup

PAIRS = tuple(combinations(range(4), 2))


def read(path: Path) -> Iterator[PreferenceGroup]:
    """Give one group a question; `preference` lists 1v2, 1v3, 1v4, 2v3, 2v4, 3v4 as 0 tie, 1 first, 2 second."""
    for where, row in read_rows(path):
        outcomes = row.get("preference")
        if not isinstance(outcomes, list) or len(outcomes) != len(PAIRS) or not set(outcomes) <= {0, 1, 2}:
            raise DataError(f"{where}: preference must be six numbers of 0, 1 and 2, not {outcomes!r}")
        answers = [row.get(f"prediction {number}") for number in range(1, 5)]
        if not all(isinstance(answer, str) for answer in answers):
            raise DataError(f"{where}: 'prediction 1' to 'prediction 4' must be texts")
        passages = "\n".join(" ".join(passage) for passage in row["passages"])
        yield PreferenceGroup(
            prompt=f"{passages}\n\n{row['question']}\n\n",
            completions=tuple(answers),  # type: ignore[arg-type]
            comparisons=tuple(_comparison(i, j, outcome) for (i, j), outcome in zip(PAIRS, outcomes, strict=True)),
            source="finegrained-rlhf",
            group_id=where,
        )


def _comparison(first: int, second: int, outcome: int) -> Comparison:
    if outcome == 0:
        return Comparison(first, second, "tie")
    return Comparison(first, second) if outcome == 1 else Comparison(second, first)
