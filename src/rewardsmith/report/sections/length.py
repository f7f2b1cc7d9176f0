"""Whether longer answers get more reward."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rewardsmith.report.blocks import Cell, Limits, Plot, Section, StripRow, Strips, Table
from rewardsmith.report.numbers import read_estimate, read_estimates, read_number, show, show_interval
from rewardsmith.report.plots import Curve, curves, scatter
from rewardsmith.report.sections.generic import blocks_of
from rewardsmith.report.svg import legend_mark
from rewardsmith.report.texts import clean, words

SHARES = {
    "accuracy": "accuracy, all pairs",
    "accuracy_longer": "accuracy, better answer longer",
    "accuracy_shorter": "accuracy, better answer shorter",
    "accuracy_about_equal": "accuracy, about as long",
    "length_controlled_accuracy": "accuracy, length controlled",
    "picks_longer_model": "reward picks the longer",
    "picks_longer_gold": "people pick the longer",
}
DIFFERENCES = {
    "correlation_raw": "correlation, all answers",
    "correlation_within": "correlation within prompts",
    "correlation_partial": "correlation given the label",
    "standardised_weight": "one sd of length, in sd of reward",
    "picks_longer_gap": "picks the longer: reward less people",
    "accuracy_gap": "accuracy: longer less shorter",
}
WEIGHTS = {
    "weight": "within prompts",
    "weight_given_label": "given the label",
    "excess_weight": "beyond what the judgements warrant",
}
KNOWN = {*SHARES, *DIFFERENCES, *WEIGHTS, "points", "other_units", "unit", "reward_coefficient"}


def length_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show reward by length within a prompt, and every length estimate of the audit."""
    blocks: list[Any] = [*_curve(result.get("length_curve"))]
    length = result.get("length")
    if isinstance(length, Mapping):
        blocks += [*_cloud(length), *_estimates(length), *_by_unit(length)]
        rest = {name: value for name, value in length.items() if name not in KNOWN and not name.startswith("sd_")}
        blocks += blocks_of(rest, "Length: further numbers", limits) if rest else []
    if not blocks:
        return None
    return Section(
        "Length",
        "Whether the reward rises with length among answers to the same prompt, and how accuracy differs when the"
        " better answer is the longer or the shorter one. The excess weight is what the judgements do not warrant: 0"
        " where the reward pays for length only as much as people do.",
        "Longer answers may truly be better: hold what the reward picks against what people pick. With few judgements"
        " the excess weight has a wide interval, and where the reward is hardly related to the judgements it has none.",
        blocks,
    )


def _curve(rows: Any) -> list[Plot]:
    rows = [row for row in rows or [] if isinstance(row, Mapping)]
    points = [(read_number(row.get("length")), e) for row in rows if (e := read_estimate(row.get("reward")))]
    if not points:
        return []
    n = sum(estimate.n for _, estimate in points)
    drawing = curves([Curve("reward", "a", points)], "log2(length / mean length of the prompt)", "reward, in sd")
    caption = f"Reward by length, both within the prompt: n={n:,} completions in {len(points)} bins"
    return [Plot(drawing, caption, [(legend_mark("a"), "mean of a bin, 95% interval as a band")])]


def _cloud(length: Mapping[str, Any]) -> list[Plot]:
    """Draw the differences of pairs, which an audit keeps for this."""
    rows = [row for row in length.get("points") or [] if isinstance(row, list | tuple) and len(row) == 2]
    if not rows:
        return []
    unit = clean(length.get("unit") or "characters")
    weight = read_estimate(length.get("weight"))
    slope = weight.value if weight else math.nan
    points = [(read_number(x), read_number(y)) for x, y in rows]
    drawing = scatter(points, f"better less worse answer, in {unit}", "difference of reward", slope)
    legend = [(legend_mark("dot"), "a judged pair")]
    if math.isfinite(slope):
        legend.append((legend_mark("line b"), "weight of length within prompts"))
    return [Plot(drawing, f"Reward against length, differences of {len(points):,} pairs", legend)]


def _estimates(length: Mapping[str, Any]) -> list[Strips]:
    """Draw shares on an axis from 0 to 1, and what is 0 without a preference for length around 0."""
    estimates = read_estimates(length)
    unit = f" (length in {clean(length['unit'])})" if length.get("unit") else ""
    shares = [StripRow(name, estimates[key]) for key, name in SHARES.items() if key in estimates]
    others = [StripRow(name, estimates[key]) for key, name in DIFFERENCES.items() if key in estimates]
    blocks = []
    if shares:
        caption = f"Accuracy by which answer is longer, and how often the longer one is picked{unit}"
        blocks.append(Strips(caption, shares, [(0.5, "zero")], (0.0, 1.0)))
    if others:
        caption = f"All are 0 for a reward that does not look at length and judgements that do not either{unit}"
        blocks.append(Strips(caption, others, [(0.0, "zero")], signed=True))
    return blocks


def _by_unit(length: Mapping[str, Any]) -> list[Table]:
    """Give what a word, a character and a token are worth, and the spreads that turn one into another."""
    others = length.get("other_units")
    others = others if isinstance(others, Mapping) else {}
    units = {str(length.get("unit") or "length"): length, **{str(unit): part for unit, part in others.items()}}
    rows = []
    for key, name in WEIGHTS.items():
        found = [read_estimate(part.get(key)) for part in units.values()]
        if any(found):
            cells = [Cell(show(e.value, True), show_interval(e, True)) if e else Cell("not measured") for e in found]
            rows.append([Cell(name), *cells])
    for key, name in (("sd_length", "sd of length within prompts"), ("sd_reward", "sd of reward within prompts")):
        if any(key in part for part in units.values()):
            rows.append([Cell(name), *(Cell(show(read_number(part.get(key)))) for part in units.values())])
    if not rows:
        return []
    header = ("worth of one more", *(words(unit.removesuffix("s")) for unit in units))
    return [Table("What length is worth, in units of the reward, with 95% intervals", header, rows, wide=True)]
