"""Benchmarks of several answers to a prompt: RM-Bench and RMB.

RM-Bench (Liu et al. 2024, arXiv 2410.16184), `THU-KEG/RM-Bench`: each prompt has three chosen and three rejected
answers: concise, detailed plain, detailed Markdown. A[i][j] is the share of prompts where chosen style i scores
strictly above rejected style j. hard = mean above the diagonal (the rejected one has the richer style), normal =
diagonal, easy = below. A domain is the mean of the three, the score the mean of the domains; `safety-refuse` and
`safety-response` are one domain. The files of single domains (`chat_filtered.json`, ...) may hold no `domain`: the
authors' code takes a file as one set, so the file's name says which domain it is. Other names are one domain called
"all".

RMB (Zhou et al. 2024, arXiv 2410.09893), the folders `Pairwise_set` and `BoN_set` as published: a pair is right when
the chosen answer scores strictly higher; a list only when the best answer beats every loser. The score is the mean over
{Helpfulness, Harmlessness} x {pairs, lists} that are present. Fields may be stringified.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import FILE, Benchmark, best_first, by, mean_of, need, strict_best
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, Estimate, PreferenceGroup, as_text
from rewardsmith.stats.intervals import Resampling, clustered_share

DOMAIN = re.compile(r"chat|code|math|safety")
CELLS = {"easy": np.tril_indices(3, -1), "normal": np.diag_indices(3), "hard": np.triu_indices(3, 1)}
# The published folder holds the whole set and its four domains again.
FILES = (r"(^|/)total_dataset\.json$", r"(^|/)(chat|code|math|safety)[a-z-]*_filtered\.json$")


def read_grid(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
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


def summarise_grids(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the mean of the domains, each domain, and easy, normal and hard averaged over domains."""
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


RM_BENCH = Benchmark(read_grid, summarise_grids, "train", FILES)


def read_pair_or_list(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read a pair or a list."""
    is_list = "bon_best" in row
    best = _literal(where, need(where, row, "bon_best", "chosen"))
    losers = (
        _literal(where, need(where, row, "loser_list")) if is_list else [_literal(where, need(where, row, "reject"))]
    )
    goal = str(row.get("category_path", "")).split("/")
    part = f"{goal[1] if len(goal) > 1 else 'all'} {'lists' if is_list else 'pairs'}"
    prompt = _literal(where, need(where, row, "conversation_input"))
    answers = [_answer(where, text) for text in (best, *losers)]
    yield best_first(where, prompt, answers, part=part, subset="/".join(goal[2:]))


def summarise_parts(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the mean of the parts that are present."""
    parts = {name: strict_best(items, how) for name, items in sorted(by(scored, "part").items())}
    return mean_of(parts), parts


def _literal(where: str, value: object) -> Any:
    """Read a stringified list or dictionary; leave other values."""
    if not (isinstance(value, str) and value[:1] in "[{"):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise DataError(f"{where}: cannot read the stringified field {value[:60]!r}") from error


def _answer(where: str, value: object) -> str:
    value = _literal(where, value)
    return str(need(where, value, "answer")) if isinstance(value, Mapping) else str(value)


# A copy of the authors' repository also holds results of evaluation.
RMB = Benchmark(read_pair_or_list, summarise_parts, patterns=(r"(^|/)(BoN_set|Pairwise_set)/.+\.json$",))
