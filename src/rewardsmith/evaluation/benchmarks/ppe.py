"""PPE (Frick et al. 2024, arXiv 2410.14872): people's preferences, and correctness of best-of-n.

PPE's human preferences (Frick et al. 2024, arXiv 2410.14872), `lmarena-ai/PPE-Human-Preference-V1`, split `test`.

Rows `prompt, response_1, response_2, winner` ("model_a", "model_b", "tie", "tie (bothbad)"), `model_a, model_b,
language, hard_prompt, easy_prompt, if_prompt, is_code, math_prompt, length_a, length_b`. The score is strict accuracy,
judged ties left out. Parts are the accuracy by language and by the authors' categories, and how well the rewards rank
the models that wrote the answers, for which ties are half a win (see `stats.rankings`).

PPE's correctness sets (Frick et al. 2024, arXiv 2410.14872), `lmarena-ai/PPE-*-Best-of-K`, split `train`.

Five sets (MMLU-Pro, MATH, GPQA, IFEval, MBPP-Plus) of rows `question_id, prompt, model_name, response_1..32, scores,
sampled_conflict_pairs`; a pair (i, j) counts from 0 and names response_i+1 and response_j+1. The score is the mean over
the sets of the accuracy over the distinct conflict pairs. Parts of each set:
as listed: the same accuracy over the pairs as they are listed, duplicates counted, as the authors' code walks them;
auc: area under the curve of right against wrong answers of all prompts together, the rewards of each prompt first
scaled to 0..1; auc within prompts: the same area prompt by prompt (a tie is half), mean over prompts;
best of K: for k = 1..K draws without replacement, the expected truth c(k) of the answer with the highest reward, in
closed form, mean over prompts. max = largest c(k); end = c(K); loss = mean over k of (b(k) - c(k))^2, b(k) being the
same curve for the best truth among the k. A max above the end says that more draws hurt: the reward is gamed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import gammaln
from scipy.stats import rankdata

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks.result import (
    IN_PUBLISHED_ORDER,
    Benchmark,
    accuracy_by,
    by,
    labelled,
    mean_of,
    need,
    pair_accuracy,
    subset_of,
)
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, Estimate, PreferenceGroup, as_text
from rewardsmith.stats.intervals import Floats, Resampling, clustered_share
from rewardsmith.stats.rankings import Battle, ranking_parts

WINNERS = {"model_a": 0, "model_b": 1}
FLAGS = ("hard_prompt", "easy_prompt", "if_prompt", "is_code", "math_prompt")
CATEGORIES = (*FLAGS, "shorter_won", "non_english_prompt")
SET_NAME = re.compile(r"PPE-([A-Za-z0-9-]+?)-Best-of-K", re.IGNORECASE)


def read_human(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one human judgement. Raises DataError for a winner that is neither of the two nor a tie."""
    pair = (need(where, row, "response_1"), need(where, row, "response_2"))
    vote = str(need(where, row, "winner"))
    if vote not in WINNERS and not vote.startswith("tie"):
        raise DataError(f"{where}: winner must be 'model_a', 'model_b' or 'tie...', not {vote!r}")
    winner = WINNERS.get(vote)
    metadata = {"language": row.get("language"), "categories": _categories(row, winner)}
    metadata |= {"models": (row.get("model_a"), row.get("model_b")), "people": 0.5 if winner is None else 1.0 - winner}
    yield labelled(where, need(where, row, "prompt"), pair, winner, **metadata)


def summarise_human(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the accuracy; parts are languages, categories, and the ranking of models where all rows name theirs."""
    parts = accuracy_by(scored, "language", how)
    for category in CATEGORIES:
        items = [item for item in scored if category in item.group.metadata["categories"]]
        if items:
            parts[category] = pair_accuracy(items, how)
    battles = [_battle(item) for item in scored]
    if all(battle.first and battle.second for battle in battles):
        parts |= ranking_parts(battles, how.seed)
    return pair_accuracy(scored, how), parts


def _categories(row: Mapping[str, Any], winner: int | None) -> tuple[str, ...]:
    found = [flag for flag in FLAGS if row.get(flag)]
    lengths = [float(length) for name in ("length_a", "length_b") if (length := row.get(name)) is not None]
    if winner is not None and len(lengths) == 2 and lengths[winner] < lengths[1 - winner]:
        found.append("shorter_won")
    if row.get("language") not in (None, "English"):
        found.append("non_english_prompt")
    return tuple(found)


def _battle(item: ScoredGroup) -> Battle:
    first, second = item.group.metadata["models"]
    margin = item.rewards[0] - item.rewards[1]
    rewards = 0.5 if margin == 0 else float(margin > 0)
    return Battle(str(first or ""), str(second or ""), item.group.metadata["people"], rewards)


HUMAN = Benchmark(read_human, summarise_human, rules=IN_PUBLISHED_ORDER)


def read_correctness(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one prompt with its samples. Raises DataError for a pair that names no response."""
    truth = [float(score) for score in need(where, row, "scores")]
    texts = tuple(as_text(need(where, row, f"response_{k + 1}"), where) for k in range(len(truth)))
    listed = [(int(i), int(j)) for i, j in need(where, row, "sampled_conflict_pairs")]
    pairs = sorted(set(listed))
    if any(not 0 <= index < len(truth) for pair in pairs for index in pair):
        raise DataError(f"{where}: sampled_conflict_pairs names a response that is not there; there are {len(truth)}")
    edges = tuple(
        Comparison(i, j) if truth[i] > truth[j] else Comparison(j, i) for i, j in pairs if truth[i] != truth[j]
    )
    prompt = as_text(need(where, row, "prompt"), where)
    metadata = {"subset": _set_name(where, row), "listed": listed}
    yield PreferenceGroup(prompt, texts, edges, {"truth": tuple(truth)}, group_id=where, metadata=metadata)


def summarise_correctness(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the mean conflict accuracy of the sets, and of each set its accuracy, areas and best-of-K numbers."""
    conflict: dict[str, Estimate] = {}
    others: dict[str, Estimate] = {}
    for name, items in sorted(by(scored, "subset").items()):
        conflict[name] = pair_accuracy(items, how)
        areas = [area for item in items if (area := area_within(item)) is not None]
        others[f"{name} as listed"] = accuracy_as_listed(items, how)
        others[f"{name} auc"] = pooled_area(items)
        others[f"{name} auc within prompts"] = clustered_share(areas)
        others |= {f"{name} {part}": value for part, value in _best_of_k_parts(items, how).items()}
    return mean_of(conflict), {**conflict, **others}


def accuracy_as_listed(items: Sequence[ScoredGroup], how: Resampling) -> Estimate:
    """Return the strict accuracy over the conflict pairs as they are listed, duplicates counted."""
    hits: list[float] = []
    clusters: list[int] = []
    for number, item in enumerate(items):
        truth, rewards = item.group.ratings["truth"], item.rewards
        for i, j in item.group.metadata["listed"]:
            if truth[i] != truth[j]:
                hits.append(float((truth[i] - truth[j]) * (rewards[i] - rewards[j]) > 0))
                clusters.append(number)
    return clustered_share(hits, clusters)


def pooled_area(items: Sequence[ScoredGroup]) -> Estimate:
    """Return the area under the curve over the answers of all prompts, the rewards of each prompt scaled to 0..1."""
    rewards = np.concatenate([_scaled(np.array(item.rewards)) for item in items])
    truth = np.concatenate([np.array(item.group.ratings["truth"], dtype=np.float64) for item in items])
    return Estimate(_area(rewards, truth), len(items))


def area_within(item: ScoredGroup) -> float | None:
    """Return the chance that a right answer scores above a wrong one, a tie counting half; None without both kinds."""
    area = _area(np.array(item.rewards), np.array(item.group.ratings["truth"], dtype=np.float64))
    return None if math.isnan(area) else area


def _scaled(rewards: Floats) -> Floats:
    spread = np.ptp(rewards)
    return (rewards - rewards.min()) / spread if spread else np.full(len(rewards), 0.5)


def _area(rewards: Floats, truth: Floats) -> float:
    """Return the area from ranks (Mann and Whitney); right is the highest truth, wrong the lowest."""
    right, wrong = truth == truth.max(), truth == truth.min()
    if truth.max() == truth.min():
        return math.nan
    ranks = rankdata(np.concatenate([rewards[right], rewards[wrong]]))
    count = int(right.sum())
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * int(wrong.sum())))


def best_of_k_curve(rewards: Floats, truth: Floats) -> Floats:
    """Give, for k = 1..K draws without replacement, the expected truth of the answer with the highest reward.

    The answer of rank i (1 is lowest) is the best of k draws with chance C(i-1, k-1) / C(K, k). Answers with equal
    rewards share their mean truth, as any of them may be picked.

    Shapes: rewards [K], truth [K] -> [K].
    """
    order = np.argsort(rewards, kind="stable")
    _, block = np.unique(rewards[order], return_inverse=True)
    means = np.bincount(block, truth[order]) / np.bincount(block)
    return _chances(len(rewards)) @ means[block]


def _chances(size: int) -> Floats:
    """Return the chance that rank i is the best of k draws. Shapes: -> [k, i]."""
    k, i = np.arange(1, size + 1)[:, None], np.arange(1, size + 1)[None]
    with np.errstate(invalid="ignore"):
        inside = _log_choose(i - 1, k - 1) - _log_choose(size, k)
    return np.where(i >= k, np.exp(np.where(i >= k, inside, 0.0)), 0.0)


def _log_choose(n: Any, k: Any) -> Any:
    safe = np.maximum(n - k, 0)
    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(safe + 1.0)


def _best_of_k_parts(items: Sequence[ScoredGroup], how: Resampling) -> dict[str, Estimate]:
    """Return `max`, `end` and `loss` of one set; prompts with fewer answers than the most count up to their own K."""
    size = max(len(item.rewards) for item in items)
    curves = np.full((len(items), size), np.nan)
    bests = np.full((len(items), size), np.nan)
    for row, item in enumerate(items):
        truth = np.array(item.group.ratings["truth"], dtype=np.float64)
        curves[row, : len(truth)] = best_of_k_curve(np.array(item.rewards), truth)
        bests[row, : len(truth)] = best_of_k_curve(truth, truth)
    mean = np.nanmean(curves, axis=0)
    at_best = curves[:, int(np.nanargmax(mean))]
    ends = [row[~np.isnan(row)][-1] for row in curves]
    values = {"max": at_best[~np.isnan(at_best)], "end": ends}
    parts = {name: clustered_share(row) for name, row in values.items()}
    loss = float(((np.nanmean(bests, axis=0) - mean) ** 2).mean())
    return {**parts, "loss": Estimate(loss, len(items))}


def _set_name(where: str, row: Mapping[str, Any]) -> str:
    """Return the set that a row belongs to, as the row, its folder or its file names it."""
    place = subset_of(row) or where.rsplit(":", 1)[0]
    match = SET_NAME.search(place)
    return str(row.get("benchmark") or (match.group(1) if match else place))


CORRECTNESS = Benchmark(read_correctness, summarise_correctness, "train")
