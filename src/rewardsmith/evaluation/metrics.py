"""Metrics of rewards against judgements. Each gives one value per observation, with the group it belongs to.

Per judged pair: accuracy (equal rewards are half right), strict accuracy (they are wrong), how often rewards are
equal, margin. Per judgement: how often the label is a tie.
Per group: best-of-K hit, MRR, NDCG, Kendall's tau-b. The gold order inside a group is by Copeland score: judgements
won minus judgements lost. Groups of two say nothing more than accuracy does, so tau-b and NDCG are of K >= 3.
`details` measures what the report shows beyond them: margins, reward by length, the worst disagreements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from rewardsmith.evaluation.judged import ScoredGroup, completion_length, credit, side_texts
from rewardsmith.records import Estimate, PreferenceGroup, judgements, number_prompts, preferences, prompt_key
from rewardsmith.stats.intervals import Observations, Resampling, bootstrap_mean

PAIR_METRICS: dict[str, Callable[[float], float]] = {
    "accuracy": credit,
    "accuracy_strict": lambda margin: float(margin > 0),
    "reward_tie_rate": lambda margin: float(margin == 0),
    "margin": lambda margin: margin,
}
LABEL_TIES = "label_tie_rate"
# A margin or a correlation of 0 or 1 everywhere is no share of successes.
AMOUNTS = ("margin", "kendall_tau_b")
LENGTH_BORDERS = (200, 1000, 4000)
AXES = ("source", "subset", "language", "length", "turns")
NUM_BINS = 24
NUM_LENGTH_BINS = 8
MAX_CHARACTERS = 20_000
# Below it a bin of lengths says nothing.
MIN_BIN_SIZE = 10


def measure(
    scored: Sequence[ScoredGroup], how: Resampling | None = None, names: Sequence[str] | None = None
) -> dict[str, Estimate]:
    """Give the metrics `names` (None for all) over `scored`, each with its n and an interval clustered by prompt."""
    how = how or Resampling()
    chosen = (*PAIR_METRICS, LABEL_TIES, *GROUP_METRICS) if names is None else tuple(names)
    of_pairs = {name: PAIR_METRICS[name] for name in chosen if name in PAIR_METRICS}
    of_groups = {name: GROUP_METRICS[name] for name in chosen if name in GROUP_METRICS}
    table = {name: Observations() for name in chosen}
    for item, cluster in zip(scored, prompt_clusters(scored), strict=True):
        for margin in margins(item):
            for name, metric in of_pairs.items():
                table[name].add(metric(margin), cluster)
        if LABEL_TIES in table:
            for judgement in judgements(item.group):
                table[LABEL_TIES].add(float(judgement.is_tie), cluster)
        for name, rule in of_groups.items():
            table[name].add(rule(item), cluster)
    return {name: observations.estimate(how, name not in AMOUNTS) for name, observations in table.items()}


def prompt_clusters(scored: Sequence[ScoredGroup]) -> list[int]:
    """Number scored groups by prompt, see `records.number_prompts`."""
    return number_prompts([item.group for item in scored])


def margins(item: ScoredGroup) -> list[float]:
    """Give reward(better) - reward(worse) of every judgement that prefers a side."""
    return [item.rewards[j.better] - item.rewards[j.worse] for j in preferences(item.group)]


def accuracy_observations(scored: Sequence[ScoredGroup]) -> Observations:
    """Return one value per judgement that prefers a side (1 right, 0.5 equal rewards, 0 wrong), clustered by prompt."""
    found = Observations()
    for item, cluster in zip(scored, prompt_clusters(scored), strict=True):
        for margin in margins(item):
            found.add(credit(margin), cluster)
    return found


def copeland(item: ScoredGroup) -> list[int]:
    """Give wins minus losses of each completion."""
    scores = [0] * len(item.rewards)
    for judgement in preferences(item.group):
        scores[judgement.better] += 1
        scores[judgement.worse] -= 1
    return scores


def best_of_k(item: ScoredGroup) -> float:
    """Give the chance that the highest reward is a best completion; ties in reward share the credit.

    NaN where the judgements prefer nothing.
    """
    gold = copeland(item)
    if not any(gold):
        return math.nan
    top = [index for index, reward in enumerate(item.rewards) if reward == max(item.rewards)]
    return sum(gold[index] == max(gold) for index in top) / len(top)


def reciprocal_rank(item: ScoredGroup) -> float:
    """Give 1 / rank of the best completion by reward; completions with equal rewards share their middle rank."""
    gold = copeland(item)
    if not any(gold):
        return math.nan
    ranks = []
    for index, score in enumerate(gold):
        if score == max(gold):
            above = sum(reward > item.rewards[index] for reward in item.rewards)
            equal = sum(reward == item.rewards[index] for reward in item.rewards)
            ranks.append(above + (equal + 1) / 2)
    return 1 / min(ranks)


def kendall_tau_b(item: ScoredGroup) -> float:
    """Give tau-b over the judged pairs: (C - D) / sqrt((C + D + T_reward)(C + D + T_gold)), for K >= 3.

    T_reward are judged pairs with equal rewards only, T_gold pairs judged a tie whose rewards differ.
    """
    if len(item.rewards) < 3:
        return math.nan
    agree = disagree = reward_ties = gold_ties = 0
    for judgement in judgements(item.group):
        margin = item.rewards[judgement.better] - item.rewards[judgement.worse]
        if judgement.is_tie:
            gold_ties += margin != 0
        else:
            agree += margin > 0
            disagree += margin < 0
            reward_ties += margin == 0
    scale = (agree + disagree + reward_ties) * (agree + disagree + gold_ties)
    if agree + disagree + reward_ties == 0:
        return math.nan
    # All rewards equal: no order was given, so no agreement.
    return (agree - disagree) / math.sqrt(scale) if scale else 0.0


def ndcg(item: ScoredGroup) -> float:
    """Give NDCG with linear gains (Copeland score from 0), for K >= 3; equal rewards share their block's mean gain."""
    gold = copeland(item)
    if len(gold) < 3 or not any(gold):
        return math.nan
    gains = np.array(gold, dtype=np.float64) - min(gold)
    rewards = np.array(item.rewards)
    discounts = 1 / np.log2(np.arange(2, len(gains) + 2))
    _, block = np.unique(-rewards, return_inverse=True)
    means = np.bincount(block, gains) / np.bincount(block)
    return float(means[np.sort(block)] @ discounts) / float(np.sort(gains)[::-1] @ discounts)


GROUP_METRICS: dict[str, Callable[[ScoredGroup], float]] = {
    "best_of_k": best_of_k,
    "mrr": reciprocal_rank,
    "kendall_tau_b": kendall_tau_b,
    "ndcg": ndcg,
}


# Where a group belongs


def stratum(group: PreferenceGroup, axis: str) -> str | None:
    """Give the value of `axis` ("source", "subset", "language", "length", "turns"), or None when it is not known."""
    if axis == "source":
        return group.source
    if axis == "length":
        return _length(group)
    if axis == "turns":
        return _turns(group)
    value = group.metadata.get(axis)
    return None if value is None else str(value)


def split_by(scored: Sequence[ScoredGroup], axis: str) -> dict[str, list[ScoredGroup]]:
    """Split by `axis`; groups for which it is not known are left out."""
    parts: dict[str, list[ScoredGroup]] = {}
    for item in scored:
        value = stratum(item.group, axis)
        if value is not None:
            parts.setdefault(value, []).append(item)
    return dict(sorted(parts.items(), key=lambda part: (_first_number(part[0]), part[0])))


def _first_number(name: str) -> int:
    """Give the number that the bins of length and turns begin with, so that they stand in order; else 0."""
    digits = name[: len(name) - len(name.lstrip("0123456789"))]
    return int(digits) if digits and name[len(digits) :].startswith(("-", "+", " ")) else 0


def _length(group: PreferenceGroup) -> str | None:
    """Bin the mean length of the answers, in characters."""
    if not group.completions:
        return None
    mean = fmean(map(completion_length, group.completions))
    lower = 0
    for border in LENGTH_BORDERS:
        if mean < border:
            return f"{lower}-{border - 1} characters"
        lower = border
    return f"{lower}+ characters"


def _turns(group: PreferenceGroup) -> str:
    """Count what people said: messages of the user, or "Human:" lines of a dialogue in text."""
    prompt = group.prompt or prompt_key(group)
    if isinstance(prompt, str):
        turns = max(1, prompt.count("\n\nHuman:"))
    else:
        turns = max(1, sum(message.role == "user" for message in prompt))
    if turns == 1:
        return "1 turn"
    return "2-3 turns" if turns <= 3 else "4+ turns"


def details(scored: Sequence[ScoredGroup], how: Resampling | None = None, count: int = 10) -> dict[str, Any]:
    """Return `margins`, `length_curve` and `worst` of scored groups as plain values, to be put beside an evaluation.

    Example:
        >>> from rewardsmith.evaluation import evaluate
        >>> rows = [{"prompt": "2+2?", "chosen": "4", "rejected": "five"}]
        >>> result = evaluate(lambda prompt, answers: [float(len(a)) for a in answers], rows)
        >>> details(result.scored)["worst"][0]["margin"]
        -3.0
    """
    return {
        "margins": margin_histogram(np.array([margin for item in scored for margin in margins(item)])),
        "length_curve": length_curve(scored, how or Resampling()),
        "worst": worst_disagreements(scored, count),
    }


def margin_histogram(values: np.ndarray, num_bins: int = NUM_BINS) -> dict[str, Any]:
    """Return counts of margins between the 1st and 99th percentile, and how many lie outside.

    Zero is always an edge, so that no bar mixes right and wrong.
    """
    n = len(values)
    if n == 0:
        return {"n": 0, "edges": [], "counts": [], "below": 0, "above": 0, "ties": 0, "wrong": 0}
    low, high = np.quantile(values, [0.01, 0.99])
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / num_bins or 1.0
    edges = np.arange(math.floor(low / step), math.ceil(high / step) + 1) * step
    if len(edges) < 2:
        edges = np.array([-step, 0.0, step])
    inside = (values >= edges[0]) & (values <= edges[-1])
    return {
        "n": n,
        "edges": [float(edge) for edge in edges],
        "counts": [int(count) for count in np.histogram(values[inside], edges)[0]],
        "below": int((values < edges[0]).sum()),
        "above": int((values > edges[-1]).sum()),
        "ties": int((values == 0).sum()),
        "wrong": int((values < 0).sum()),
    }


def length_curve(scored: Sequence[ScoredGroup], how: Resampling) -> list[dict[str, Any]]:
    """Return the mean reward of completions by how long they are, both within their prompt.

    Length is log2(length / geometric mean length of the prompt's completions); reward is its difference from the
    prompt's mean, in units of the pooled within-prompt standard deviation. Bins hold equal numbers of completions.
    """
    lengths, rewards, clusters = [], [], []
    for item, cluster in zip(scored, prompt_clusters(scored), strict=True):
        if len(item.rewards) < 2:
            continue
        logs = np.log2([max(1, completion_length(completion)) for completion in item.group.completions])
        lengths += list(logs - logs.mean())
        rewards += list(np.array(item.rewards) - np.mean(item.rewards))
        clusters += [cluster] * len(logs)
    if not lengths:
        return []
    x, y, who = np.array(lengths), np.array(rewards), np.array(clusters)
    spread = float(np.sqrt((y**2).mean())) or 1.0
    parts = np.array_split(np.argsort(x, kind="stable"), max(1, min(NUM_LENGTH_BINS, len(x) // MIN_BIN_SIZE)))
    return [
        {
            "length": float(x[part].mean()),
            "reward": bootstrap_mean(y[part] / spread, who[part], min(how.resamples, 2000), how.seed).to_dict(),
        }
        for part in parts
    ]


def worst_disagreements(scored: Sequence[ScoredGroup], count: int = 10) -> list[dict[str, Any]]:
    """Return the judgements that the scorer gets wrong by the largest margin, at most one per prompt, with texts."""
    wrong = []
    for item, cluster in zip(scored, prompt_clusters(scored), strict=True):
        for judgement in preferences(item.group):
            margin = item.rewards[judgement.better] - item.rewards[judgement.worse]
            if margin < 0:
                wrong.append((margin, cluster, item, judgement))
    wrong.sort(key=lambda row: row[0])
    found: list[dict[str, Any]] = []
    seen: set[int] = set()
    for margin, cluster, item, judgement in wrong:
        if len(found) == count:
            break
        if cluster in seen:
            continue
        seen.add(cluster)
        texts = side_texts(item.group, judgement.better, judgement.worse)
        prompt, chosen, rejected = (text[:MAX_CHARACTERS] for text in texts)
        found.append(
            {
                "where": item.group.group_id,
                "margin": margin,
                "reward_chosen": item.rewards[judgement.better],
                "reward_rejected": item.rewards[judgement.worse],
                "prompt": prompt,
                "chosen": chosen,
                "rejected": rejected,
            }
        )
    return found
