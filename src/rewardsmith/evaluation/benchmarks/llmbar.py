"""LLMBar (Zeng et al. 2023, arXiv 2310.07641) and sets processed into its layout by its authors, such as FairEval.

Rows `input, output_1, output_2, label` with label 1 or 2. A pair is right when the labelled output scores strictly
higher.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import Benchmark, labelled, need, pair_accuracy
from rewardsmith.evaluation.metrics import Resampling
from rewardsmith.evaluation.scored import ScoredGroup
from rewardsmith.records import Estimate, PreferenceGroup


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row."""
    label = str(need(where, row, "label"))
    if label not in ("1", "2"):
        raise DataError(f"{where}: label must be 1 or 2, not {label!r}")
    pair = (need(where, row, "output_1"), need(where, row, "output_2"))
    yield labelled(where, need(where, row, "input"), pair, int(label) - 1)


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy."""
    return pair_accuracy(scored, how), {}


BENCHMARK = Benchmark(read, summarise)
