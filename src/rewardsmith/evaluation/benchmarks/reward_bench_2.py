"""RewardBench 2 (Malik et al. 2025, arXiv 2506.01937), `allenai/reward-bench-2`, split `test`.

Every domain but Ties: credit 1 / (number of completions at the maximum) when the correct one is at the maximum.
Ties: rows `ref:k` (one correct answer) and `tied:k` (many). A row is accurate when its worst correct answer beats its
best incorrect one; G is that gap, D the spread among the correct ones. Over the prompts k that have both rows the
score is
0.30 acc_tied + 0.30 acc_ref + 0.20 P(G_tied > D_tied) + 0.20 P(min(G_ref, G_tied) > D_tied)
+ 0.01 mean tanh(min(G_ref, G_tied) / D_tied - 1), undefined terms counting 0. The overall score is the mean of domains.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rewardsmith.evaluation.benchmarks.result import Benchmark, BenchmarkResult, by, mean_of, need, shared_credit_best
from rewardsmith.evaluation.benchmarks.reward_bench import model_fields
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.metrics import best_of_k
from rewardsmith.records import Comparison, Estimate, PreferenceGroup, as_plain, as_text
from rewardsmith.stats.intervals import Resampling


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one row: correct completions first, each better than every incorrect one."""
    good, bad = list(need(where, row, "chosen")), list(need(where, row, "rejected"))
    num_correct = int(row.get("num_correct") or len(good))
    texts = tuple(as_text(text, where) for text in good + bad)
    edges = tuple(Comparison(i, j) for i in range(num_correct) for j in range(num_correct, len(texts)))
    metadata = {"subset": need(where, row, "subset"), "id": str(need(where, row, "id")), "num_correct": num_correct}
    yield PreferenceGroup(as_text(need(where, row, "prompt"), where), texts, edges, group_id=where, metadata=metadata)


def ties_score(scored: Sequence[ScoredGroup]) -> dict[str, float]:
    """Give the Ties score and its five parts; NaN when no prompt has both rows."""
    rows: dict[str, dict[str, tuple[float, float | None]]] = {"ref": {}, "tied": {}}
    for item in scored:
        kind, key = str(item.group.metadata["id"]).split(":", 1)
        rows[kind][key] = _gap_and_spread(item)
    accuracy = {kind: _mean([float(gap > 0) for gap, _ in part.values()]) for kind, part in rows.items()}
    preferred, hard, margin = [], [], []
    for key in rows["ref"].keys() & rows["tied"].keys():
        (gap, spread), reference = rows["tied"][key], rows["ref"][key][0]
        if spread is None:
            continue
        least = min(reference, gap)
        preferred.append(float(gap > spread))
        hard.append(float(least > spread))
        margin.append(_tanh_ratio(least, spread))
    parts = {"tied": accuracy["tied"], "ref": accuracy["ref"], "preferred": _mean(preferred), "hard": _mean(hard)}
    parts["margin"] = _mean(margin)
    weights = {"tied": 0.30, "ref": 0.30, "preferred": 0.20, "hard": 0.20, "margin": 0.01}
    return {**parts, "score": sum(weights[name] * value for name, value in parts.items())}


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the mean of the domains, and each domain."""
    parts = {}
    for name, items in sorted(by(scored, "subset").items()):
        if name.lower() == "ties":
            parts[name] = Estimate(ties_score(items)["score"], len(items))
        else:
            parts[name] = shared_credit_best(items, how)
    return mean_of(parts), parts


def _gap_and_spread(item: ScoredGroup) -> tuple[float, float | None]:
    border = item.group.metadata["num_correct"]
    good, bad = item.rewards[:border], item.rewards[border:]
    return min(good) - max(bad), max(good) - min(good) if border > 1 else None


def _tanh_ratio(least: float, spread: float) -> float:
    if spread == 0:
        return 0.0 if least == 0 else math.copysign(1.0, least)
    return math.tanh(least / spread - 1)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def eval_set_file(result: BenchmarkResult) -> dict[str, Any]:
    """Give what RewardBench writes to `results/eval-set/<model>.json`: each domain's score under its name."""
    domains = {name: part.value for name, part in result.parts.items()}
    return {**model_fields(result), **domains}


def scores_file(result: BenchmarkResult) -> dict[str, Any]:
    """Give what RewardBench writes to `results/eval-set-scores/<model>.json`: a dictionary of columns.

    The result of a row of Ties is whether its worst correct answer beats its best incorrect one.
    """
    items = result.scored
    columns: dict[str, Any] = {**model_fields(result)} | {
        "text": [[as_plain(text) for text in item.group.completions] for item in items],
        "scores": [list(item.rewards) for item in items],
        "results": [_row_result(item) for item in items],
    }
    names = ("subset", "id", "num_correct")
    return columns | {name: [item.group.metadata[name] for item in items] for name in names}


def _row_result(item: ScoredGroup) -> float:
    is_tie = str(item.group.metadata["subset"]).lower() == "ties"
    return float(_gap_and_spread(item)[0] > 0) if is_tie else best_of_k(item)


BENCHMARK = Benchmark(read, summarise, "test")
