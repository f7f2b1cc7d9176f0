"""PPE (Frick et al. 2024, arXiv 2410.14872): human preference and correctness sets.

Human rows: `prompt, response_1, response_2, winner` ("model_a", "model_b", "tie..."); accuracy without ties, strict.
Correctness rows: `prompt, response_1..32, scores, sampled_conflict_pairs`; accuracy over the distinct conflict pairs
(the
published lists hold duplicates), and the ground truth of the answer with the highest reward among all K. The score is
the mean over sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rewardsmith.evaluation.benchmarks.result import Benchmark, by, labelled, mean_of, need, pair_accuracy
from rewardsmith.evaluation.estimates import bootstrap_mean
from rewardsmith.evaluation.metrics import Resampling
from rewardsmith.evaluation.scored import ScoredGroup
from rewardsmith.records import Comparison, Estimate, PreferenceGroup, as_text

WINNERS = {"model_a": 0, "model_b": 1}


def read_human(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one human judgement."""
    pair = (need(where, row, "response_1"), need(where, row, "response_2"))
    winner = WINNERS.get(str(need(where, row, "winner")))
    yield labelled(where, need(where, row, "prompt"), pair, winner, language=row.get("language"))


def read_correctness(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one prompt with its samples."""
    truth = [float(score) for score in need(where, row, "scores")]
    texts = tuple(as_text(need(where, row, f"response_{k + 1}"), where) for k in range(len(truth)))
    pairs = sorted({(int(i), int(j)) for i, j in need(where, row, "sampled_conflict_pairs")})
    edges = tuple(
        Comparison(i, j) if truth[i] > truth[j] else Comparison(j, i) for i, j in pairs if truth[i] != truth[j]
    )
    subset = str(row.get("benchmark") or where.split(":")[0])
    prompt = as_text(need(where, row, "prompt"), where)
    yield PreferenceGroup(prompt, texts, edges, {"truth": tuple(truth)}, group_id=where, metadata={"subset": subset})


def summarise_human(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the accuracy, and by language."""
    parts = {name: pair_accuracy(items, how) for name, items in sorted(by(scored, "language").items())}
    return pair_accuracy(scored, how), parts


def summarise_correctness(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Give the mean conflict accuracy of the sets; `end` is the ground truth of the answer chosen among all."""
    conflict, end = {}, {}
    for name, items in sorted(by(scored, "subset").items()):
        conflict[name] = pair_accuracy(items, how)
        picked = [item.group.ratings["truth"][int(np.argmax(item.rewards))] for item in items]
        end[f"{name} end"] = bootstrap_mean(picked, None, how.resamples, how.seed)
    return mean_of(conflict), {**conflict, **end}


HUMAN = Benchmark(read_human, summarise_human)
CORRECTNESS = Benchmark(read_correctness, summarise_correctness, "train")
