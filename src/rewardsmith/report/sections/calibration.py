"""Whether confidence can be believed, and how margins are spread."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rewardsmith.report.blocks import Cell, Limits, Plot, Section, Table
from rewardsmith.report.numbers import read_estimate, read_number, show, show_estimate
from rewardsmith.report.plots import histogram, reliability
from rewardsmith.report.svg import legend_mark
from rewardsmith.report.texts import words

NAMES = {"ece": "ECE (expected calibration error)", "nll": "NLL (log loss)", "brier": "Brier score"}


def calibration_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show the reliability diagram and the calibration numbers before and after the temperature."""
    calibration = result.get("calibration")
    if not isinstance(calibration, Mapping):
        return None
    raw, scaled = calibration.get("raw") or {}, calibration.get("scaled") or {}
    temperature = read_number(calibration.get("temperature"))
    held = read_estimate(calibration.get("nll"))
    rows = [
        [
            Cell(NAMES.get(name, words(name))),
            Cell(show(read_number(raw[name]))),
            Cell(show(read_number(scaled.get(name)))),
        ]
        for name in raw
    ]
    caption = f"Measured on n={held.n if held else 0:,} pairs of prompts that the temperature was not fitted on"
    blocks: list[Any] = []
    bins = [_bin(item) for item in calibration.get("bins") or [] if isinstance(item, Mapping)]
    bins = [item for item in bins if item[0] > 0 and not math.isnan(item[1]) and not math.isnan(item[2])]
    if bins:
        legend = [(legend_mark("a"), "bin, 95% interval (Wilson)"), (legend_mark("ideal"), "perfectly calibrated")]
        blocks.append(Plot(reliability(bins), "Reliability at temperature 1", legend))
    blocks.append(Table(caption, ("number", "as it is (T=1)", f"at T={show(temperature)}"), rows))
    intervals = [
        [Cell(NAMES[name]), Cell(show_estimate(estimate))]
        for name in ("nll", "brier")
        if (estimate := read_estimate(calibration.get(name))) is not None
    ]
    fitted = Cell(f"{show(temperature)} (n={int(read_number(calibration.get('n_fit', 0)) or 0):,})")
    blocks.append(
        Table("With intervals, T=1", ("number", "value"), [*intervals, [Cell("fitted temperature T"), fitted]])
    )
    return Section(
        "Calibration",
        "Whether a pair with confidence 0.8 is right in 8 of 10 cases. Points below the diagonal are over-confident;"
        " dividing rewards by T mends this and changes no ranking.",
        "ECE is small when all confidences lie near the accuracy: read the bins. A temperature at 0.001 or 10000 has no"
        " optimum.",
        blocks,
    )


def _bin(item: Mapping[str, Any]) -> tuple[int, float, float]:
    n = read_number(item.get("n"))
    return (0 if math.isnan(n) else int(n), read_number(item.get("confidence")), read_number(item.get("accuracy")))


def margins_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show the histogram of margins."""
    margins = result.get("margins")
    if not isinstance(margins, Mapping) or not margins.get("n"):
        return None
    n, wrong, ties = (int(margins.get(key) or 0) for key in ("n", "wrong", "ties"))
    outside = int(margins.get("below") or 0) + int(margins.get("above") or 0)
    note = f"; {outside:,} pairs beyond the edges are not drawn" if outside else ""
    title = "margin = reward of chosen - reward of rejected"
    caption = (
        f"n={n:,}: {wrong / n:.1%} wrong (outlined), {ties / n:.1%} ties, {1 - (wrong + ties) / n:.1%} right{note}"
    )
    return Section(
        "Margins",
        "How far apart the rewards of the two sides are, in the model's own unit. Much mass close to zero means that"
        " many choices hang on little.",
        "The unit differs between models, so two histograms cannot be compared by their width.",
        [Plot(histogram(margins["edges"], margins["counts"], title), caption)],
    )
