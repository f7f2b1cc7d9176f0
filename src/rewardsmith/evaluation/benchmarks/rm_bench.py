"""RM-Bench (Liu et al. 2024, arXiv 2410.16184), `THU-KEG/RM-Bench`.

Each prompt has three chosen and three rejected answers: concise, detailed plain, detailed Markdown. A[i][j] is the
share
of prompts where chosen style i scores strictly above rejected style j. hard = mean above the diagonal (the rejected one
has the richer style), normal = diagonal, easy = below. A domain is the mean of the three, the score the mean of
domains;
`safety-refuse` and `safety-response` are one domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import Benchmark, by, mean_of
from rewardsmith.evaluation.benchmarks.rows import need
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, Estimate, PreferenceGroup, as_text
from rewardsmith.stats.intervals import Resampling, bootstrap_mean

CELLS = {"easy": np.tril_indices(3, -1), "normal": np.diag_indices(3), "hard": np.triu_indices(3, 1)}


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row: completions 0-2 are chosen, 3-5 rejected."""
    answers = [*need(where, row, "chosen"), *need(where, row, "rejected")]
    if len(answers) != 6:
        raise DataError(f"{where}: needs three chosen and three rejected answers, found {len(answers)} in all")
    edges = tuple(Comparison(i, 3 + j) for i in range(3) for j in range(3))
    domain = str(need(where, row, "domain")).split("-")[0]
    texts = tuple(as_text(text, where) for text in answers)
    prompt = as_text(need(where, row, "prompt"), where)
    yield PreferenceGroup(prompt, texts, edges, group_id=where, metadata={"subset": domain})


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the mean of the domains, each domain, and easy, normal and hard averaged over domains."""
    levels: dict[str, dict[str, Estimate]] = {level: {} for level in CELLS}
    domains = {}
    for domain, items in sorted(by(scored, "subset").items()):
        rewards = np.array([item.rewards for item in items])
        right = rewards[:, :3, None] > rewards[:, None, 3:]
        for level, (i, j) in CELLS.items():
            values = right[:, i, j].mean(axis=1)
            levels[level][domain] = bootstrap_mean(values, None, how.resamples, how.seed)
        domains[domain] = mean_of({level: levels[level][domain] for level in CELLS})
    return mean_of(domains), {**domains, **{level: mean_of(parts) for level, parts in levels.items()}}


# The published folder holds the whole set and its four domains again.
BENCHMARK = Benchmark(read, summarise, "train", (r"(^|/)total_dataset\.json$",))
