"""Reward gaming: what happens to the gold reward while the proxy rises."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.records import Estimate
from rewardsmith.report.blocks import Cell, Limits, Plot, Section, StripRow, Strips, Table
from rewardsmith.report.numbers import (
    read_estimate,
    read_estimates,
    read_number,
    show,
    show_estimate,
    show_interval,
)
from rewardsmith.report.plots import Curve, curve_frame, curves, vertical_mark
from rewardsmith.report.sections.generic import blocks_of, is_single, written
from rewardsmith.report.svg import legend_mark
from rewardsmith.report.texts import clean, words

X_TITLE = "KL = log n - (n - 1) / n, in nats"
# Curves whose heights differ more than this get axes of their own.
MAX_RATIO = 4.0
COLUMNS = {"proxy": "proxy", "gold": "gold", "regret": "regret"}
FIT = {
    "alpha_interval": "alpha: gain per sqrt(nat) at the start",
    "beta_interval": "beta: how fast it is lost",
    "turning_kl": "turning point of the curve, in nats",
    "turning_kl_of_fit": "turning point of the fit, in nats",
}
OTHER_FIT = {
    "turning_n": "turning point, as n",
    "peak_n": "peak of the curve itself, as n",
    "misfit": "largest misfit, as a share of the curve's range",
}
SHOWN = {"n", "kl", "findings", "fit", "gap", "reward_variance", "samples", *COLUMNS}


def over_optimisation_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show proxy and gold of the best of n against KL, with the turning point, and the numbers of the fit."""
    value = result.get("over_optimisation")
    if not isinstance(value, Mapping):
        return None
    blocks: list[Any] = [*_curves(value), *_fit(value.get("fit")), *_gap(value.get("gap"))]
    blocks += [*_table(value, limits), *variance_blocks(value.get("reward_variance")), *_samples(value.get("samples"))]
    rest = {str(name): item for name, item in value.items() if name not in SHOWN}
    blocks += blocks_of(rest, "Over-optimisation", limits) if rest else []
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


def variance_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show the reward variance where it was measured without a gold reward."""
    blocks = variance_blocks(result.get("reward_variance"))
    if not blocks:
        return None
    return Section(
        "Reward variance",
        "How much rewards differ among a policy's answers to one prompt. Where they hardly differ, the policy learns"
        " nothing, however accurate the reward is.",
        "It depends on the policy that wrote the answers: measure it with the one that you will train.",
        blocks,
    )


def variance_blocks(variance: Any) -> list[Table]:
    """Give the reward variance as a table."""
    if not isinstance(variance, Mapping):
        return []
    rows = []
    for key, name in (("mean", "mean over prompts"), ("share_below_eps", "share of prompts without differences")):
        estimate = read_estimate(variance.get(key))
        if estimate is not None:
            rows.append([Cell(name), Cell(show_estimate(estimate))])
    quantiles = variance.get("quantiles")
    for level, item in (quantiles if isinstance(quantiles, Mapping) else {}).items():
        rows.append([Cell(f"quantile {clean(level)} over prompts"), Cell(show(read_number(item)))])
    if variance.get("eps") is not None:
        rows.append([Cell("no difference: standard deviation below"), Cell(show(read_number(variance["eps"])))])
    caption = "Variance of the reward within a prompt, as a share of the variance of all rewards"
    return [Table(caption, ("", "value"), rows)] if rows else []


def _curves(value: Mapping[str, Any]) -> list[Plot]:
    series = [Curve(name, tone, _points(value, name)) for name, tone in (("proxy", "a"), ("gold", "b"))]
    series = [curve for curve in series if curve.points]
    fit = value.get("fit")
    turning = read_estimate(fit.get("turning_kl")) if isinstance(fit, Mapping) else None
    plots = []
    for group in _on_common_axes(series):
        extra = vertical_mark(curve_frame(group), turning) if turning else []
        legend = [(legend_mark(curve.tone), curve.name) for curve in group]
        legend += [(legend_mark("reference"), "turning point of gold, 95% interval")] if extra else []
        names = " and ".join(curve.name for curve in group)
        n = max(point.n for curve in group for _, point in curve.points)
        caption = f"Mean {names} reward of the best of n against KL; bands are 95% intervals, n={n:,} prompts"
        plots.append(Plot(curves(group, X_TITLE, "reward", extra), caption, legend))
    return plots


def _fit(fit: Any) -> list[Table]:
    if not isinstance(fit, Mapping):
        return []
    rows = [[Cell(name), Cell(show_estimate(e))] for key, name in FIT.items() if (e := read_estimate(fit.get(key)))]
    rows += [[Cell(name), Cell(written(fit.get(key)))] for key, name in OTHER_FIT.items() if key in fit]
    reason = fit.get("reason")
    note = f"; no turning point: {clean(reason)}" if reason else ""
    return [Table(f"Fit of the gold curve{note}", ("", "value"), rows)] if rows else []


def _gap(gap: Any) -> list[Strips]:
    """Draw how far the proxy has run ahead."""
    found = read_estimates(gap)
    if not found:
        return []
    rows = [StripRow(f"best of {clean(n)}", estimate) for n, estimate in found.items()]
    caption = "How far the proxy has run ahead of gold: gain of each in its own standard deviation within prompts"
    return [Strips(caption, rows, [(0.0, "zero")], signed=True)]


def _table(value: Mapping[str, Any], limits: Limits) -> list[Table]:
    """Give the curve in numbers."""
    sizes, kl = _list(value.get("n")), _list(value.get("kl"))
    columns = {name: _list(value.get(key)) for key, name in COLUMNS.items() if _list(value.get(key))}
    if not sizes or not columns:
        return []
    rows = []
    for place, n in enumerate(sizes):
        cells = [Cell(written(n)), Cell(show(read_number(kl[place])) if place < len(kl) else "")]
        for column in columns.values():
            estimate = read_estimate(column[place]) if place < len(column) else None
            cells.append(Cell(_tidy(estimate), show_interval(estimate)) if estimate else Cell(""))
        rows.append(cells)
    header = ("n", "KL", *columns)
    caption = "Best of n in numbers, with 95% intervals; regret is what choosing by gold itself would have gained"
    return [Table(caption, header, rows[: limits.rows], max(0, len(rows) - limits.rows), wide=True)]


def _tidy(estimate: Estimate) -> str:
    """Show what is zero but for rounding as 0."""
    return show(0.0 if abs(estimate.value) < 1e-12 else estimate.value)


def _samples(samples: Any) -> list[Table]:
    if not isinstance(samples, Mapping):
        return []
    rows = [[Cell(words(name)), Cell(written(item))] for name, item in samples.items() if is_single(item)]
    return [Table("Samples", ("", "number"), rows)] if rows else []


def _points(value: Mapping[str, Any], name: str) -> list[tuple[float, Estimate]]:
    found = [
        (read_number(x), read_estimate(e)) for x, e in zip(_list(value.get("kl")), _list(value.get(name)), strict=False)
    ]
    return [(x, e) for x, e in found if e is not None and math.isfinite(x) and math.isfinite(e.value)]


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else []


def _on_common_axes(series: list[Curve]) -> list[list[Curve]]:
    """Put the curves on one pair of axes when their heights are alike, else on one each."""
    values = [[e.value for _, e in curve.points] for curve in series]
    spans = [max(own) - min(own) for own in values]
    every = [value for own in values for value in own]
    if len(series) < 2 or (max(every) - min(every) <= MAX_RATIO * max(min(spans), 1e-12)):
        return [series] if series else []
    return [[curve] for curve in series]
