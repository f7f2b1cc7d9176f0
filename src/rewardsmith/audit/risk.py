"""Selective risk: how wrong a reward is when it may stay silent where it is not sure; one model or an ensemble.

Judgements are ordered by confidence, the surest first. The risk at coverage c is the share of wrong ones among the
first c (El-Yaniv and Wiener 2010). AURC is its mean over all coverages (Geifman, Uziel and El-Yaniv 2019); it depends
on the accuracy, so the values of a perfect and of a random order are given beside it. AUROC is the chance that a right
judgement has the higher confidence of a right and a wrong one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardsmith.audit.plan import Context, Part, Plain
from rewardsmith.blocks.kinds import Block, Curve, Curves, Section, StripRow, Strips, Table
from rewardsmith.blocks.plots import tone_of
from rewardsmith.blocks.words import read_estimate, read_estimates, read_number, short_names, words
from rewardsmith.errors import DataError
from rewardsmith.evaluation.judged import ScoredGroup, margins, prompt_clusters
from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Floats, Resampling, clustered_share

COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CHUNK_CELLS = 2_000_000
# Every draw sums over all judgements in order; more draws than this would change an interval in its third digit.
MAX_DRAWS = 1_000


@dataclass(frozen=True, slots=True)
class SelectiveRisk:
    """Risk and coverage under one measure of confidence.

    Args:
        aurc: mean risk over all coverages, with a percentile interval over prompts.
        aurc_perfect: of an order that puts every wrong judgement last.
        aurc_random: of a random order, which is the risk itself.
        auroc: chance that confidence tells a right judgement from a wrong one; 0.5 says nothing.
        curve: coverage to risk.
    """

    aurc: Estimate
    aurc_perfect: float
    aurc_random: float
    auroc: Estimate
    curve: Mapping[float, Estimate]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "aurc": self.aurc.to_dict(),
            "auroc": self.auroc.to_dict(),
            "aurc_perfect": _plain(self.aurc_perfect),
            "aurc_random": _plain(self.aurc_random),
            "curve": [{"coverage": c, "risk": e.to_dict()} for c, e in self.curve.items()],
        }


@dataclass(frozen=True, slots=True)
class RiskAudit:
    """Selective risk of a model or of an ensemble.

    Args:
        members: accuracy of each member alone, ties in reward half.
        accuracy: of the mean of the members' margins, each member's in units of its root mean square.
        by_confidence: measure of confidence to risk. "margin" is the size of the mean margin; "agreement" is minus
            the standard deviation of the members' margins; "lowest member" is the smallest margin that a member gives
            in the direction of the mean. The last two need several members.
    """

    members: Mapping[str, Estimate]
    accuracy: Estimate
    by_confidence: Mapping[str, SelectiveRisk]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "accuracy": self.accuracy.to_dict(),
            "members": {name: estimate.to_dict() for name, estimate in self.members.items()},
            "by_confidence": {name: risk.to_dict() for name, risk in self.by_confidence.items()},
        }


def run(context: Context) -> RiskAudit | None:
    """Measure the risk of one model; None where no judgement prefers a side."""
    if not any(margins(item) for item in context.scored):
        return None
    return audit_risk({context.scorer.name: context.scored}, context.plan.how)


def audit_risk(members: Mapping[str, Sequence[ScoredGroup]], how: Resampling | None = None) -> RiskAudit:
    """Measure selective risk from the rewards of one or several models on the same groups.

    Args:
        members: name of a model to the groups with its rewards; the groups must be the same, in the same order.

    Raises:
        DataError: no member, members of different data, or no judgement that prefers a side.
    """
    how = how or Resampling()
    names = list(members)
    rows = [np.array([m for item in items for m in margins(item)]) for items in members.values()]
    if not rows or len({len(row) for row in rows}) != 1 or not len(rows[0]):
        counts = ", ".join(f"{name}: {len(row)}" for name, row in zip(names, rows, strict=True)) or "no member"
        raise DataError(f"selective risk needs the same judgements of every member, one or more ({counts})")
    first = members[names[0]]
    clusters = np.array([c for item, c in zip(first, prompt_clusters(first), strict=True) for _ in margins(item)])
    margins_MP = np.stack([row / (math.sqrt(float(np.mean(row**2))) or 1.0) for row in rows])
    mean = margins_MP.mean(axis=0)
    confidences = {"margin": np.abs(mean)}
    if len(rows) > 1:
        confidences["agreement"] = -margins_MP.std(axis=0)
        confidences["lowest member"] = (margins_MP * np.sign(mean)).min(axis=0)
    right = _right(mean)
    return RiskAudit(
        members={name: clustered_share(_right(row), clusters) for name, row in zip(names, rows, strict=True)},
        accuracy=clustered_share(right, clusters),
        by_confidence={name: selective_risk(right, values, clusters, how) for name, values in confidences.items()},
    )


def selective_risk(
    right: ArrayLike, confidence: ArrayLike, clusters: ArrayLike | None = None, how: Resampling | None = None
) -> SelectiveRisk:
    """Return risk by coverage. Judgements of equal confidence share the mean of their outcomes, so their order is void.

    Args:
        right: P values, 1 right, 0 wrong, 0.5 undecided.
        confidence: P numbers, higher is surer.
        clusters: P labels, such as prompts; None takes judgements as independent.

    Example:
        >>> found = selective_risk([1, 1, 0, 0], [4, 3, 2, 1])
        >>> round(found.aurc.value, 4), found.auroc.value
        (0.2083, 1.0)
    """
    how = how or Resampling()
    right, confidence = np.asarray(right, dtype=np.float64), np.asarray(confidence, dtype=np.float64)
    labels = np.arange(len(right)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if not len(right) == len(confidence) == len(labels) or not len(right):
        raise DataError(f"{len(right)} outcomes, {len(confidence)} confidences, {len(labels)} clusters: give as many")
    _, block = np.unique(-confidence, return_inverse=True)
    order = np.argsort(block, kind="stable")
    wrong = 1 - (np.bincount(block, right) / np.bincount(block))[block][order]
    labels = labels[order]
    aurc, auroc = _areas(wrong, np.ones((1, len(wrong))))
    draws = _resampled_areas(wrong, labels, how)
    firsts = {c: max(1, math.ceil(c * len(wrong) - 1e-9)) for c in COVERAGES}
    return SelectiveRisk(
        aurc=_with_interval(float(aurc[0]), draws[0], labels),
        aurc_perfect=float(_areas(np.sort(1 - right), np.ones((1, len(wrong))))[0][0]),
        aurc_random=float(wrong.mean()),
        auroc=_with_interval(float(auroc[0]), draws[1], labels),
        curve={c: clustered_share(wrong[:k], labels[:k]) for c, k in firsts.items()},
    )


def _areas(wrong_P: Floats, weights_RP: Floats) -> tuple[Floats, Floats]:
    """Return AURC and AUROC for each row of weights; judgements stand in order, the surest first."""
    held = np.cumsum(weights_RP, axis=1)
    risk = np.cumsum(weights_RP * wrong_P, axis=1) / np.maximum(held, 1e-300)
    aurc = (risk * weights_RP).sum(axis=1) / held[:, -1]
    right = weights_RP * (1 - wrong_P)
    bad = weights_RP * wrong_P
    # A right judgement before a wrong one counts 1, one of equal confidence 1/2.
    before = np.cumsum(right, axis=1) - right / 2
    pairs = right.sum(axis=1) * bad.sum(axis=1)
    won = (bad * before).sum(axis=1)
    return aurc, np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def _resampled_areas(wrong_P: Floats, labels_P: NDArray[np.int64], how: Resampling) -> tuple[Floats, Floats]:
    """Draw clusters with replacement; memory does not grow with the number of draws."""
    size = int(labels_P.max()) + 1
    generator = np.random.default_rng(how.seed)
    step = max(1, CHUNK_CELLS // len(wrong_P))
    parts, draws = [], min(how.resamples, MAX_DRAWS)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = generator.multinomial(size, np.full(size, 1 / size), size=rows)
        parts.append(_areas(wrong_P, drawn[:, labels_P].astype(np.float64)))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _with_interval(value: float, draws: Floats, labels_P: NDArray[np.int64]) -> Estimate:
    known = draws[~np.isnan(draws)]
    if math.isnan(value) or labels_P.max() < 1 or not len(known):
        return Estimate(value, len(labels_P))
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value, len(labels_P), float(low), float(high))


def _right(margins_P: Floats) -> Floats:
    return np.where(margins_P == 0, 0.5, (margins_P > 0).astype(np.float64))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def risk_section(result: Plain) -> Section | None:
    """Show risk against coverage for each measure of confidence, and the members of an ensemble."""
    risk = result.get("risk")
    if not isinstance(risk, Mapping) or not isinstance(risk.get("by_confidence"), Mapping):
        return None
    measures = {str(name): row for name, row in risk["by_confidence"].items() if isinstance(row, Mapping)}
    curves = [
        Curve(words(name), tone_of(index), _points(row.get("curve")))
        for index, (name, row) in enumerate(measures.items())
    ]
    series = [curve for curve in curves if curve.points]
    blocks: list[Block] = []
    if series:
        legend = [(curve.tone, f"ordered by {curve.name}") for curve in series]
        caption = "Share of wrong judgements among the most confident ones, 95% intervals as bands"
        blocks.append(Curves(caption, "coverage: share of judgements kept", "risk", series, legend=legend))
    blocks += [*_numbers(measures), *_members(risk)]
    if not blocks:
        return None
    return Section(
        "Selective risk",
        "How the error falls when only the most confident judgements are kept. AUROC is the chance that confidence"
        " tells a right judgement from a wrong one: 0.5 says nothing. AURC is the mean risk over all coverages; it lies"
        " between that of a perfect order and that of a random one.",
        "Confidence from one model's margin is no better than its calibration. Members that were trained on the same"
        " data agree in their errors, too.",
        blocks,
    )


def _points(rows: object) -> list[tuple[float, Estimate]]:
    found = []
    for row in rows if isinstance(rows, list | tuple) else []:
        if isinstance(row, Mapping) and (estimate := read_estimate(row.get("risk"))) is not None:
            found.append((read_number(row.get("coverage")), estimate))
    return found


def _numbers(measures: Mapping[str, Plain]) -> list[Block]:
    rows = []
    for name, row in measures.items():
        estimates = read_estimates(row)
        half = next((risk for coverage, risk in _points(row.get("curve")) if coverage == 0.5), None)
        borders = [read_number(row.get(key)) for key in ("aurc_perfect", "aurc_random")]
        rows.append([words(name), *(estimates.get(key, "") for key in ("auroc", "aurc")), *borders, half or ""])
    header = ("by", "AUROC", "AURC", "perfect order", "random order", "risk of the surest half")
    caption = "What confidence is worth: AUROC, and AURC beside that of a perfect and of a random order"
    return [Table(caption, header, rows)] if rows else []


def _members(risk: Plain) -> list[Block]:
    """Draw the accuracy of each member beside that of all together."""
    members = read_estimates(risk.get("members"))
    together = read_estimate(risk.get("accuracy"))
    if len(members) < 2 or together is None:
        return []
    short = short_names(list(members))
    rows = [StripRow("all together", together, tone="b"), *(StripRow(short[n], e) for n, e in members.items())]
    return [Strips("Accuracy of the ensemble's mean margin and of each member", rows, [(0.5, "zero")], (0.0, 1.0))]


PART = Part("risk", run, risk_section)
