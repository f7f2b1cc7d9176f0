"""Over-optimisation: what the gold reward does while best-of-n pushes the proxy up.

Gao, Schulman and Hilton 2022 (arXiv 2210.10760): gold first rises with the proxy and then turns; beyond, more
optimisation makes answers worse. Where it turns is found in `best_of_n`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rewardsmith.audit.plan import CachingScorer, Context, Part, Plain, plain_findings
from rewardsmith.audit.reward_variance import RewardVariance, measure_variance, variance_blocks
from rewardsmith.blocks.kinds import Block, Curve, Curves, Section, StripRow, Strips, Table
from rewardsmith.blocks.words import blocks_of, is_single, read_estimate, read_estimates, read_number, words, written
from rewardsmith.errors import DataError
from rewardsmith.evaluation.judged import score_groups
from rewardsmith.findings import Finding
from rewardsmith.records import Estimate, PreferenceGroup, Scorer
from rewardsmith.stats.best_of_n import TurningFit, best_of_n, best_of_n_kl, dense_sizes, fit_turning
from rewardsmith.stats.intervals import Floats, Resampling, bootstrap_amount

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
GAP_SIZES = (16, 64, 256)
# The curve ends where a larger share of prompts than this would have too few samples.
SHARE_TOO_SHORT = 0.1
# The fit of a curve is a summary; where it misses the curve by more of its range than this, the curve is what counts.
MISFIT = 0.25
X_TITLE = "KL = log n - (n - 1) / n, in nats"
# Curves whose heights differ more than this get axes of their own.
MAX_RATIO = 4.0
REMEDY = "choose among fewer answers than where gold turns, stop the policy earlier, or combine an ensemble"
FIT = {
    "alpha_interval": "alpha: gain per sqrt(nat) at the start",
    "beta_interval": "beta: how fast it is lost",
    "turning_kl": "the curve turns at KL, in nats",
    "turning_kl_of_fit": "the fit turns at KL, in nats",
}
OTHER_FIT = {
    "turning_n": "turning point, as n",
    "peak_n": "peak of the curve itself, as n",
    "misfit": "largest misfit, as a share of the curve's range",
}
COLUMNS = ("proxy", "gold", "regret")
SHOWN = {"n", "kl", "findings", "fit", "gap", "reward_variance", "samples", *COLUMNS}


@dataclass(frozen=True, slots=True)
class OverOptimisation:
    """Best-of-n curves of proxy and gold reward.

    Args:
        n: sizes of the curve; `kl` their divergence in nats.
        proxy: mean proxy reward of the chosen answer at each n, with an interval over prompts; `gold` likewise.
        fit: where the gold reward turns.
        gap: n to (gain of proxy - gain of gold) since n = 1, each in its own standard deviations within prompts.
        regret: at each n, the gold reward of the best of n by gold minus that of the one chosen.
        reward_variance: of the proxy within prompts.
        samples: prompts used, samples of each that the curve needs, and prompts left out by reason.
    """

    n: tuple[int, ...]
    kl: tuple[float, ...]
    proxy: tuple[Estimate, ...]
    gold: tuple[Estimate, ...]
    fit: TurningFit
    gap: dict[int, Estimate]
    regret: tuple[Estimate, ...]
    reward_variance: RewardVariance
    samples: dict[str, int]

    @property
    def findings(self) -> list[Finding]:
        """Say in words whether gold turns, how far the fit can be trusted, and where rewards are flat."""
        return [_turning_finding(self), *_misfit_findings(self.fit), *self.reward_variance.findings]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "n": list(self.n),
            "kl": list(self.kl),
            "proxy": [estimate.to_dict() for estimate in self.proxy],
            "gold": [estimate.to_dict() for estimate in self.gold],
            "fit": self.fit.to_dict(),
            "gap": {str(n): estimate.to_dict() for n, estimate in self.gap.items()},
            "regret": [estimate.to_dict() for estimate in self.regret],
            "reward_variance": {k: v for k, v in self.reward_variance.to_dict().items() if k != "findings"},
            "samples": dict(self.samples),
            "findings": plain_findings(self.findings),
        }


def run(context: Context) -> OverOptimisation | None:
    """Measure the plan's samples on prompts all of whose answers can be scored; the others are counted."""
    samples = context.plan.samples
    if samples is None or samples.gold is None:
        return None
    # Samples are no answers of the data: they are scored apart, and not counted among the data's texts.
    proxy = CachingScorer(context.scorer.scorer)
    groups = [group for group, _ in samples.score(proxy)]
    found = audit_over_optimisation(proxy, samples.gold, groups, context.plan.how)
    return replace(found, samples={**found.samples, "left_out_not_scored": len(samples.groups) - len(groups)})


def audit_over_optimisation(
    proxy: Scorer,
    gold: Scorer | str,
    groups: Sequence[PreferenceGroup],
    how: Resampling | None = None,
    eps: float = 1e-4,
) -> OverOptimisation:
    """Measure what best-of-n by `proxy` does to `gold`.

    Args:
        proxy: the reward model under audit.
        gold: a second scorer (such as the simulator's), or the name of a rating that the groups carry (such as the
            correctness of a solution).
        groups: prompts with many answers sampled from one policy; comparisons are not read. A prompt with fewer
            samples than nine in ten prompts have, or without a gold rating for every answer, is left out and counted.
        how: bootstrap over prompts.
        eps: a prompt whose rewards have a smaller standard deviation counts as flat.

    Raises:
        DataError: fewer than two prompts have two answers with a gold reward.

    Example:
        >>> from rewardsmith.data.simulate import *
        >>> groups = sample_groups(prompts=10, answers=64)
        >>> audit_over_optimisation(BiasedScorer(praise_weight=2.0), GoldScorer(), groups).n[-1]
        64
    """
    how = how or Resampling()
    kept, counts = _usable(groups, gold)
    proxies = [np.array(item.rewards) for item in score_groups(proxy, kept)]
    golds = _gold(gold, kept)
    sizes = tuple(n for n in SIZES if n <= counts["per_prompt"])
    chosen = _curves(proxies, golds, sizes)
    dense = tuple(sorted({*sizes, *dense_sizes(sizes[-1])}))
    gold_curves = np.stack([best_of_n(*pair, dense) for pair in zip(proxies, golds, strict=True)])
    return OverOptimisation(
        n=sizes,
        kl=tuple(map(best_of_n_kl, sizes)),
        proxy=_columns(chosen["proxy"], how),
        gold=_columns(chosen["gold"], how),
        fit=fit_turning((dense, gold_curves), sizes, how),
        gap=_gaps(sizes, chosen, (_spread(proxies), _spread(golds)), how),
        regret=_columns(chosen["oracle"] - chosen["gold"], how),
        reward_variance=measure_variance(proxies, how, eps),
        samples=counts,
    )


def _usable(groups: Sequence[PreferenceGroup], gold: Scorer | str) -> tuple[list[PreferenceGroup], dict[str, int]]:
    """Choose the groups that have enough answers with a gold reward, and count the others."""
    rated = [group for group in groups if not isinstance(gold, str) or _is_rated(group, gold)]
    several = [group for group in rated if len(group) >= 2]
    if len(several) < 2:
        what = f"the rating {gold!r}" if isinstance(gold, str) else "answers"
        known = sorted({name for group in groups for name in group.ratings})
        raise DataError(
            f"{len(several)} of {len(groups)} prompts have two or more answers with {what}; over-optimisation needs "
            f"many answers of each prompt (ratings found: {', '.join(known) or 'none'})"
        )
    need = int(np.quantile([len(group) for group in several], SHARE_TOO_SHORT, method="lower"))
    kept = [group for group in several if len(group) >= need]
    return kept, {
        "prompts": len(kept),
        "per_prompt": need,
        "left_out_without_gold": len(groups) - len(rated),
        "left_out_too_few_samples": len(rated) - len(kept),
    }


def _is_rated(group: PreferenceGroup, name: str) -> bool:
    scores = group.ratings.get(name, ())
    return bool(scores) and all(score is not None and math.isfinite(score) for score in scores)


def _gold(gold: Scorer | str, groups: Sequence[PreferenceGroup]) -> list[Floats]:
    """Return the gold reward of every answer."""
    if isinstance(gold, str):
        return [np.array(group.ratings[gold], dtype=np.float64) for group in groups]
    return [np.array(item.rewards) for item in score_groups(gold, groups)]


def _curves(proxies: Sequence[Floats], golds: Sequence[Floats], sizes: tuple[int, ...]) -> dict[str, Floats]:
    """Return per prompt and size: the proxy and gold reward of the chosen answer, and the best gold reward."""
    pairs = list(zip(proxies, golds, strict=True))
    return {
        "proxy": np.stack([best_of_n(proxy, proxy, sizes) for proxy in proxies]),
        "gold": np.stack([best_of_n(proxy, gold, sizes) for proxy, gold in pairs]),
        "oracle": np.stack([best_of_n(gold, gold, sizes) for gold in golds]),
    }


def _columns(values_GN: Floats, how: Resampling) -> tuple[Estimate, ...]:
    return tuple(_mean(column, how) for column in values_GN.T)


def _mean(values_G: Floats, how: Resampling) -> Estimate:
    """Return the mean over prompts. What is nothing but rounding in every prompt is 0 and needs no interval."""
    if float(np.abs(values_G).max()) < 1e-9:
        return Estimate(0.0, len(values_G))
    return bootstrap_amount(values_G, None, how.resamples, how.seed)


def _spread(rewards: Sequence[Floats]) -> float:
    """Return the standard deviation within prompts."""
    return math.sqrt(float(np.mean([np.var(row, ddof=1) for row in rewards])))


def _gaps(
    sizes: tuple[int, ...], chosen: dict[str, Floats], spreads: tuple[float, float], how: Resampling
) -> dict[int, Estimate]:
    """Return the gain of the proxy beyond that of the gold reward, in standard deviations."""
    gaps = {}
    for n in GAP_SIZES:
        if n not in sizes:
            continue
        if min(spreads) == 0:
            gaps[n] = Estimate(math.nan, len(chosen["gold"]))
            continue
        place = sizes.index(n)
        gains = [(chosen[name][:, place] - chosen[name][:, 0]) for name in ("proxy", "gold")]
        gaps[n] = bootstrap_amount(gains[0] / spreads[0] - gains[1] / spreads[1], None, how.resamples, how.seed)
    return gaps


def _turning_finding(found: OverOptimisation) -> Finding:
    """Say whether the gold reward turns: red where the interval of the turning point lies inside the curve."""
    turning, last = found.fit.turning_kl, found.n[-1]
    if math.isnan(turning.value):
        return Finding(
            "green",
            "over-optimisation",
            f"over-optimisation: gold {found.fit.reason or 'does not turn'} (best of {last})",
        )
    lost = found.gold[found.n.index(found.fit.peak_n)].value - found.gold[-1].value
    if turning.value == 0:
        return Finding(
            "red",
            "over-optimisation",
            f"over-optimisation: gold falls from the start, by {lost:.3g} at best of {last}",
            REMEDY,
        )
    high = "open" if math.isnan(turning.high) else f"{turning.high:.3g}"
    text = (
        f"over-optimisation: gold turns near best of {found.fit.turning_n:.3g} ({turning.value:.3g} nats, 95% interval "
        f"{turning.low:.3g} to {high}); the best of {last} has {lost:.3g} less gold reward than the best of "
        f"{found.fit.peak_n}"
    )
    return Finding("red" if turning.high < found.kl[-1] else "yellow", "over-optimisation", text, REMEDY)


def _misfit_findings(fit: TurningFit) -> list[Finding]:
    """Name a fit that misses its curve."""
    if not fit.misfit > MISFIT:
        return []
    text = f"over-optimisation: d (alpha - beta d) misses the curve by {100 * fit.misfit:.0f}% of its range"
    return [Finding("yellow", "over-optimisation", f"{text}; do not extrapolate with alpha and beta")]


def over_optimisation_section(result: Plain) -> Section | None:
    """Show proxy and gold of the best of n against KL, with the turning point, and the numbers of the fit."""
    value = result.get("over_optimisation")
    if not isinstance(value, Mapping):
        return None
    blocks: list[Block] = [*_plots(value), *_fit_table(value.get("fit")), *_gap(value.get("gap"))]
    blocks += [*_table(value), *variance_blocks(value.get("reward_variance")), *_samples(value.get("samples"))]
    rest = {str(name): item for name, item in value.items() if name not in SHOWN}
    blocks += blocks_of(rest, "Over-optimisation") if rest else []
    if not blocks:
        return None
    return Section(
        "Over-optimisation",
        "The best of n answers by this reward (proxy), judged by a better reward (gold). Where gold turns while the"
        " proxy still rises, optimising further makes answers worse. The fit is gold(n) - gold(1) = d (alpha - beta d)"
        " with d = sqrt(KL).",
        "Best-of-n searches only what the policy writes anyway; reinforcement learning goes further. KL is an upper"
        " bound when answers repeat. The gold reward has errors of its own.",
        blocks,
    )


def _plots(value: Plain) -> list[Block]:
    curves = [Curve(name, tone, _points(value, name)) for name, tone in (("proxy", "a"), ("gold", "b"))]
    series = [curve for curve in curves if curve.points]
    fit = value.get("fit")
    turning = read_estimate(fit.get("turning_kl")) if isinstance(fit, Mapping) else None
    plots: list[Block] = []
    for group in _on_common_axes(series):
        legend = [(curve.tone, curve.name) for curve in group]
        if turning is not None and math.isfinite(turning.value):
            legend.append(("reference", "turning point of gold, 95% interval"))
        names = " and ".join(curve.name for curve in group)
        n = max(point.n for curve in group for _, point in curve.points)
        caption = f"Mean {names} reward of the best of n against KL; bands are 95% intervals, n={n:,} prompts"
        plots.append(Curves(caption, X_TITLE, "reward", group, turning, legend))
    return plots


def _fit_table(fit: object) -> list[Block]:
    if not isinstance(fit, Mapping):
        return []
    rows = [[name, written(e)] for key, name in FIT.items() if (e := read_estimate(fit.get(key)))]
    rows += [[name, written(fit.get(key))] for key, name in OTHER_FIT.items() if key in fit]
    note = f"; no turning point: {fit['reason']}" if fit.get("reason") else ""
    return [Table(f"Fit of the gold curve{note}", ("", "value"), rows)] if rows else []


def _gap(gap: object) -> list[Block]:
    """Draw how far the proxy has run ahead."""
    rows = [StripRow(f"best of {n}", estimate) for n, estimate in read_estimates(gap).items()]
    caption = "How far the proxy has run ahead of gold: gain of each in its own standard deviation within prompts"
    return [Strips(caption, rows, [(0.0, "zero")], signed=True)] if rows else []


def _table(value: Plain) -> list[Block]:
    """Show the curve in numbers."""
    sizes, kl = _list(value.get("n")), _list(value.get("kl"))
    columns = {name: _list(value.get(name)) for name in COLUMNS if _list(value.get(name))}
    if not sizes or not columns:
        return []
    rows = []
    for place, n in enumerate(sizes):
        cells = [_tidy(read_estimate(column[place])) if place < len(column) else "" for column in columns.values()]
        rows.append([written(n), read_number(kl[place]) if place < len(kl) else "", *cells])
    caption = "Best of n in numbers, with 95% intervals; regret is what choosing by gold itself would have gained"
    return [Table(caption, ("n", "KL", *columns), rows, wide=True)]


def _tidy(estimate: Estimate | None) -> Estimate | str:
    """Return what is zero but for rounding as 0."""
    if estimate is None:
        return ""
    return replace(estimate, value=0.0) if abs(estimate.value) < 1e-12 else estimate


def _samples(samples: object) -> list[Block]:
    if not isinstance(samples, Mapping):
        return []
    rows = [[words(name), written(item)] for name, item in samples.items() if is_single(item)]
    return [Table("Samples", ("", "number"), rows)] if rows else []


def _points(value: Plain, name: str) -> list[tuple[float, Estimate]]:
    found = [
        (read_number(x), read_estimate(e)) for x, e in zip(_list(value.get("kl")), _list(value.get(name)), strict=False)
    ]
    return [(x, e) for x, e in found if e is not None and math.isfinite(x) and math.isfinite(e.value)]


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else []


def _on_common_axes(series: list[Curve]) -> list[list[Curve]]:
    """Put the curves on one pair of axes when their heights are alike, else on one each."""
    values = [[e.value for _, e in curve.points] for curve in series]
    spans = [max(own) - min(own) for own in values]
    every = [value for own in values for value in own]
    if len(series) < 2 or (max(every) - min(every) <= MAX_RATIO * max(min(spans), 1e-12)):
        return [series] if series else []
    return [[curve] for curve in series]


PART = Part("over_optimisation", run, over_optimisation_section)
