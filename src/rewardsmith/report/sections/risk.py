"""Selective risk: how the error falls when the least confident judgements are handed to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.records import Estimate
from rewardsmith.report.blocks import Cell, Limits, Plot, Section, StripRow, Strips, Table
from rewardsmith.report.numbers import read_estimate, read_estimates, read_number, show, show_interval
from rewardsmith.report.plots import Curve, curves
from rewardsmith.report.svg import legend_mark
from rewardsmith.report.texts import short_names, words

TONES = "abcd"


def risk_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show risk against coverage for each measure of confidence, and the members of an ensemble."""
    risk = result.get("risk")
    if not isinstance(risk, Mapping) or not isinstance(risk.get("by_confidence"), Mapping):
        return None
    measures = {str(name): row for name, row in risk["by_confidence"].items() if isinstance(row, Mapping)}
    series = [
        Curve(words(name), TONES[index % len(TONES)], _points(row.get("curve")))
        for index, (name, row) in enumerate(measures.items())
    ]
    series = [curve for curve in series if curve.points]
    blocks: list[Any] = []
    if series:
        legend = [(legend_mark(curve.tone), f"ordered by {curve.name}") for curve in series]
        caption = "Share of wrong judgements among the most confident ones, 95% intervals as bands"
        blocks.append(Plot(curves(series, "coverage: share of judgements kept", "risk"), caption, legend))
    blocks += _numbers(measures)
    blocks += _members(risk, limits)
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


def _points(rows: Any) -> list[tuple[float, Estimate]]:
    found = []
    for row in rows if isinstance(rows, Sequence) else []:
        if isinstance(row, Mapping) and (estimate := read_estimate(row.get("risk"))) is not None:
            found.append((read_number(row.get("coverage")), estimate))
    return found


def _numbers(measures: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    rows = []
    for name, row in measures.items():
        estimates = read_estimates(row)
        known = [estimates.get(key) for key in ("auroc", "aurc")]
        shown = [Cell(show(e.value), f"{show_interval(e)}\nn={e.n:,}".strip()) if e else Cell("") for e in known]
        borders = [Cell(show(read_number(row.get(key)))) for key in ("aurc_perfect", "aurc_random")]
        rows.append([Cell(words(name)), *shown, *borders])
    header = ("by", "AUROC", "AURC", "perfect order", "random order")
    return (
        [
            Table(
                "What confidence is worth: AUROC, and AURC beside that of a perfect and of a random order", header, rows
            )
        ]
        if rows
        else []
    )


def _members(risk: Mapping[str, Any], limits: Limits) -> list[Strips]:
    """Draw the accuracy of each member beside that of all together."""
    members = read_estimates(risk.get("members"))
    together = read_estimate(risk.get("accuracy"))
    if len(members) < 2 or together is None:
        return []
    short = short_names(list(members))
    rows = [StripRow("all together", together, tone="b"), *(StripRow(short[n], e) for n, e in members.items())]
    kept = rows[: limits.rows]
    caption = "Accuracy of the ensemble's mean margin and of each member"
    return [Strips(caption, kept, [(0.5, "zero")], (0.0, 1.0), left_out=len(rows) - len(kept))]
