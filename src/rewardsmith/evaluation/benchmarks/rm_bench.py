"""RM-Bench (Liu et al. 2024, arXiv 2410.16184), `THU-KEG/RM-Bench`.

Each prompt has three chosen and three rejected answers: concise, detailed plain, detailed Markdown. A[i][j] is the
share of prompts where chosen style i scores strictly above rejected style j. hard = mean above the diagonal (the
rejected one has the richer style), normal = diagonal, easy = below. A domain is the mean of the three, the score the
mean of the domains; `safety-refuse` and `safety-response` are one domain.

The files of single domains (`chat_filtered.json`, ...) may hold no `domain`: the authors' code takes a file as one set,
so the file's name says which domain it is. Other names are one domain called "all".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import FILE, Benchmark, by, mean_of, need
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, Estimate, PreferenceGroup, as_text
from rewardsmith.stats.intervals import Resampling, clustered_share

DOMAIN = re.compile(r"chat|code|math|safety")
CELLS = {"easy": np.tril_indices(3, -1), "normal": np.diag_indices(3), "hard": np.triu_indices(3, 1)}
# The published folder holds the whole set and its four domains again.
FILES = (r"(^|/)total_dataset\.json$", r"(^|/)(chat|code|math|safety)[a-z-]*_filtered\.json$")


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row: completions 0-2 are chosen, 3-5 rejected."""
    answers = [*need(where, row, "chosen"), *need(where, row, "rejected")]
    if len(answers) != 6:
        raise DataError(f"{where}: needs three chosen and three rejected answers, found {len(answers)} in all")
    edges = tuple(Comparison(i, 3 + j) for i in range(3) for j in range(3))
    domain = str(row.get("domain") or _domain_of_file(row)).split("-")[0]
    texts = tuple(as_text(text, where) for text in answers)
    prompt = as_text(need(where, row, "prompt"), where)
    yield PreferenceGroup(prompt, texts, edges, group_id=where, metadata={"subset": domain})


def _domain_of_file(row: Mapping[str, Any]) -> str:
    """Return the domain that a file of one domain is named after."""
    found = DOMAIN.match(PurePosixPath(str(row.get(FILE, ""))).name)
    return found[0] if found else "all"


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the mean of the domains, each domain, and easy, normal and hard averaged over domains."""
    levels: dict[str, dict[str, Estimate]] = {level: {} for level in CELLS}
    domains = {}
    for domain, items in sorted(by(scored, "subset").items()):
        rewards = np.array([item.rewards for item in items])
        right = rewards[:, :3, None] > rewards[:, None, 3:]
        for level, (i, j) in CELLS.items():
            values = right[:, i, j].mean(axis=1)
            levels[level][domain] = clustered_share(values)
        domains[domain] = mean_of({level: levels[level][domain] for level in CELLS})
    return mean_of(domains), {**domains, **{level: mean_of(parts) for level, parts in levels.items()}}


BENCHMARK = Benchmark(read, summarise, "train", FILES)
