"""ProcessBench (Zheng et al. 2024, arXiv 2412.06559), `Qwen/ProcessBench`: find the first wrong step, or say none is.

Rows `id, problem, steps, label` with the index of the first error, -1 for none. The first step whose reward is below
the threshold 0 (probability 1/2 of a logit) is the prediction. A scorer of steps gives one reward a step in one call;
for any other scorer every prefix of the steps is one completion, whose reward is that of its last step. The score of a
subset (gsm8k, math, olympiadbench, omnimath) is F1: the harmonic mean of the accuracies on wrong and on right
solutions. The score is the mean over the subsets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from rewardsmith.capabilities import capabilities_of
from rewardsmith.errors import DataError, ScoringError
from rewardsmith.evaluation.benchmarks.result import FILE, Benchmark, by, mean_of, need
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.steps import first_below
from rewardsmith.evaluation.verdict import Rule
from rewardsmith.records import Estimate, PreferenceGroup, ScoreRequest, as_text
from rewardsmith.stats.intervals import Resampling, clustered_share

THRESHOLD = 0.0
SPLITS = "gsm8k+math+olympiadbench+omnimath"


def read(where: str, row: Mapping[str, Any]) -> Iterator[PreferenceGroup]:
    """Read one solution as a group of its prefixes. Raises DataError for a label that names no step."""
    steps = [str(step) for step in need(where, row, "steps")]
    label = int(need(where, row, "label"))
    if not steps or not -1 <= label < len(steps):
        raise DataError(f"{where}: label {label} names none of the {len(steps)} steps; -1 means that none is wrong")
    prefixes = tuple("\n\n".join(steps[: k + 1]) for k in range(len(steps)))
    metadata = {"first_error": label, "steps": steps, "subset": _subset(row)}
    yield PreferenceGroup(as_text(need(where, row, "problem"), where), prefixes, group_id=where, metadata=metadata)


def score_steps(scorer: Any, groups: Sequence[PreferenceGroup]) -> list[ScoredGroup] | None:
    """Ask a scorer of steps once for each solution; None when the scorer gives no rewards of steps.

    Its scores are probabilities that a step is right (`RewardParts.steps`), so 1/2 is taken off.

    Raises:
        ScoringError: the model saw another number of steps than the solution has.
    """
    if not capabilities_of(scorer).gives_parts:
        return None
    # A step model takes an empty line as the end of a step.
    texts = ["\n\n".join(step.strip().replace("\n\n", "\n") for step in g.metadata["steps"]) for g in groups]
    requests = [ScoreRequest(group.prompt, (text,)) for group, text in zip(groups, texts, strict=True)]
    if not scorer.score_parts(requests[:1])[0][0].steps:
        return None
    scored = []
    for group, (parts,) in zip(groups, scorer.score_parts(requests), strict=True):
        if len(parts.steps) != len(group):
            raise ScoringError(f"{group.group_id}: {len(parts.steps)} rewards of steps for {len(group)} steps")
        scored.append(ScoredGroup(group, tuple(value - 0.5 for value in parts.steps)))
    return scored


def first_error(rewards: Sequence[float], threshold: float = THRESHOLD) -> int:
    """Return the index of the first reward below `threshold`, or -1."""
    return first_below(rewards, threshold)


def summarise(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, dict[str, Estimate]]:
    """Return the mean F1 over the subsets, each F1, and the accuracies on wrong and on right solutions."""
    subsets = {name: _f1(items, how) for name, items in sorted(by(scored, "subset").items())}
    scores = {name: found[0] for name, found in subsets.items()}
    wrong, right = _f1(scored, how)[1:]
    parts = scores if len(scores) > 1 else {}
    return mean_of(scores), {**parts, "wrong": wrong, "right": right}


def _f1(scored: Sequence[ScoredGroup], how: Resampling) -> tuple[Estimate, Estimate, Estimate]:
    """Return F1 and the accuracies on wrong and on right solutions."""
    hits: dict[bool, list[float]] = {True: [], False: []}
    for item in scored:
        label = item.group.metadata["first_error"]
        hits[label >= 0].append(float(first_error(item.rewards) == label))
    wrong, right = (clustered_share(hits[kind]) for kind in (True, False))
    total = wrong.value + right.value
    f1 = 0.0 if total == 0 else 2 * wrong.value * right.value / total
    defined = not (math.isnan(wrong.value) or math.isnan(right.value))
    return Estimate(f1 if defined else math.nan, len(scored)), wrong, right


def _subset(row: Mapping[str, Any]) -> str:
    """Return the subset: `gsm8k` of the id gsm8k-12, else the name of the file."""
    name = str(row.get("id", "")).rsplit("-", 1)
    return name[0] if len(name) == 2 and name[0] else PurePosixPath(str(row.get(FILE, "all"))).stem


def _never_wrong(group: PreferenceGroup) -> list[float]:
    return [1.0] * len(group)


def _first_wrong(group: PreferenceGroup) -> list[float]:
    return [-1.0] * len(group)


RULES: dict[str, Rule] = {"no step is wrong": _never_wrong, "the first is wrong": _first_wrong}
BENCHMARK = Benchmark(read, summarise, SPLITS, rules=RULES, score_own=score_steps)
