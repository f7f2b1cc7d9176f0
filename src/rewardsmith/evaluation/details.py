"""What the report shows beyond the numbers of an evaluation: margins, reward by length, the worst disagreements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rewardsmith.evaluation.judged import ScoredGroup, completion_length, side_texts
from rewardsmith.evaluation.metrics import margins, prompt_clusters
from rewardsmith.records import preferences
from rewardsmith.stats.intervals import Resampling, bootstrap_mean

NUM_BINS = 24
NUM_LENGTH_BINS = 8
MAX_CHARACTERS = 20_000
# Below it a bin of lengths says nothing.
MIN_BIN_SIZE = 10


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
