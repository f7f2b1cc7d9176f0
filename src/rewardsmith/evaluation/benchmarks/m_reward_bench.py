"""M-RewardBench (Gureja et al. 2024, arXiv 2410.15522): RewardBench's pairs in 23 languages.

Each language is scored as RewardBench: the mean of its sections. The score is the mean over languages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rewardsmith.evaluation.benchmarks import reward_bench
from rewardsmith.evaluation.benchmarks.result import Benchmark, by, mean_of, need
from rewardsmith.evaluation.metrics import Resampling
from rewardsmith.evaluation.scored import ScoredGroup
from rewardsmith.records import Estimate, PreferenceGroup


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row."""
    language = need(where, row, "language", "target_language")
    for group in reward_bench.read(where, {**row, "subset": need(where, row, "subset", "source")}):
        yield replace(group, metadata={**group.metadata, "language": language})


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the mean of the languages, and each language."""
    parts = {name: reward_bench.summarise(items, how)[0] for name, items in sorted(by(scored, "language").items())}
    return mean_of(parts), parts


BENCHMARK = Benchmark(read, summarise)
