"""Accuracy beside what needs no understanding and beside the raters' noise; then by stratum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rewardsmith.records import Estimate
from rewardsmith.report.blocks import Cell, Limits, Section, StripRow, Strips, Table
from rewardsmith.report.numbers import read_estimate, read_estimates, show, show_interval
from rewardsmith.report.texts import clean, words

MAIN = "accuracy"
CHANCE = 0.5
UNIT = (0.0, 1.0)
NAMES = {
    MAIN: "accuracy",
    "accuracy_strict": "accuracy, equal rewards wrong",
    "noise_ceiling": "ceiling of raters' noise",
}


def accuracy_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show accuracy, null baselines and ceiling on one axis, and the other metrics as a table."""
    metrics = read_estimates(result.get("metrics"))
    if not metrics:
        return None
    rows = [StripRow(NAMES[name], metrics[name]) for name in (MAIN, "accuracy_strict") if name in metrics]
    baselines = read_estimates(result.get("baselines"))
    rows += [StripRow(f"baseline: {words(name)}", value, tone="b") for name, value in baselines.items()]
    ceiling = read_estimate(result.get("noise_ceiling"))
    if ceiling is not None and not math.isnan(ceiling.value):
        rows.append(StripRow(NAMES["noise_ceiling"], ceiling, tone="c"))
    others = {name: value for name, value in metrics.items() if name not in (MAIN, "accuracy_strict")}
    blocks: list[Any] = [Strips("Share of judged pairs that are put in the right order", rows, _lines(), UNIT)]
    if others:
        blocks.append(estimates_table("Other metrics", others))
    return Section(
        "Accuracy",
        "The share of judged pairs whose better answer has the higher reward. Chance is 0.5; a figure that does not"
        " clear the best baseline shows no understanding of the answers.",
        "The labels may be wrong or the prompts unlike yours, and the interval knows neither. Coarse rewards (bf16,"
        " whole numbers) make ties, which the strict figure counts as errors.",
        blocks,
    )


def strata_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show accuracy in each part of the data."""
    strata = result.get("strata")
    if not isinstance(strata, Mapping) or not strata:
        return None
    overall = read_estimates(result.get("metrics")).get(MAIN)
    lines = [*_lines(), *([(overall.value, "reference")] if overall else [])]
    blocks = []
    for axis, parts in strata.items():
        found = {str(name): read_estimates(metrics).get(MAIN) for name, metrics in parts.items()}
        rows = [StripRow(clean(name), value) for name, value in found.items() if value is not None]
        kept = rows[: limits.rows]
        caption = f"Accuracy (a tie counts half) by {words(axis)}; the dotted line is the whole data set"
        blocks.append(Strips(caption, kept, lines, UNIT, left_out=len(rows) - len(kept)))
    return Section(
        "Where it is right",
        "The same accuracy in each part of the data. The worst part tells more about trouble to come than the mean.",
        "Small parts have wide intervals, and with many parts some look bad by chance.",
        blocks,
    )


def estimates_table(caption: str, estimates: Mapping[str, Estimate], signed: bool = False) -> Table:
    """Give estimates as rows: name, value, interval, n."""
    rows = [
        [Cell(words(name)), Cell(show(e.value, signed)), Cell(show_interval(e, signed) or "none"), Cell(f"{e.n:,}")]
        for name, e in estimates.items()
    ]
    return Table(caption, ("metric", "value", "95% interval", "n"), rows)


def best_baseline(result: Mapping[str, Any]) -> tuple[str, Estimate] | None:
    """Give the rule without understanding that is right most often; the scorer without the prompt is not a rule."""
    rules = {k: v for k, v in read_estimates(result.get("baselines")).items() if k != "prompt_blind"}
    known = {name: value for name, value in rules.items() if not math.isnan(value.value)}
    return max(known.items(), key=lambda item: item[1].value) if known else None


def _lines() -> list[tuple[float, str]]:
    return [(CHANCE, "zero")]
