"""The first page: every model on every data set, beside the best rule without understanding and the ceiling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.records import Estimate
from rewardsmith.report.blocks import Cell, Limits, Section, StripRow, Strips, Table
from rewardsmith.report.numbers import read_estimate, read_estimates, show, show_estimate, show_interval
from rewardsmith.report.sections.accuracy import MAIN, UNIT, best_baseline
from rewardsmith.report.svg import legend_mark
from rewardsmith.report.texts import short_names, words

TONES = "abcd"
REFERENCES = {"baseline": "best baseline", "ceiling": "ceiling of raters' noise"}


def summary_section(results: Sequence[Mapping[str, Any]], limits: Limits) -> Section | None:
    """Show accuracy of each model on each data set; None when no result has an accuracy."""
    found = [(str(r["scorer"]), str(r["data"]), r) for r in results if read_estimates(r.get("metrics")).get(MAIN)]
    if not found:
        return None
    models = short_names(list(dict.fromkeys(model for model, _, _ in found)))
    sets = short_names(list(dict.fromkeys(data for _, data, _ in found)))
    cells = {(model, data): result for model, data, result in found}
    return Section(
        "Summary",
        "Accuracy of each model on each data set, a tie in reward counting half. A figure means something only above"
        " the best baseline: the best rule, of those tried, that reads no meaning.",
        "Data sets are of different difficulty, so compare models along a row, not data sets down a column. The signs"
        " compare a model's interval with the baseline's value, which is uncertain too.",
        [_glance(models, sets, cells, limits), _matrix(models, sets, cells, limits)],
    )


def _glance(models: Mapping[str, str], sets: Mapping[str, str], cells: Mapping[Any, Any], limits: Limits) -> Strips:
    tones = {model: TONES[index % len(TONES)] for index, model in enumerate(models)}
    rows = []
    for data in list(sets)[: limits.rows]:
        own = [(model, cells[model, data]) for model in models if (model, data) in cells]
        marks = [(read_estimates(result["metrics"])[MAIN], tones[model]) for model, result in own]
        baseline, ceiling = _borders([result for _, result in own])
        lines = [(baseline[1].value, "baseline")] if baseline else []
        lines += [(ceiling.value, "ceiling")] if ceiling else []
        rows.append(StripRow(sets[data], marks=marks, references=lines))
    legend = [(legend_mark(tones[model]), models[model]) for model in models]
    drawn = {kind for row in rows for _, kind in row.references}
    legend += [(legend_mark(kind), name) for kind, name in REFERENCES.items() if kind in drawn]
    legend.append((legend_mark("zero"), "chance"))
    caption = "Accuracy with 95% intervals"
    left_out = max(0, len(sets) - len(rows))
    return Strips(caption, rows, [(0.5, "zero")], UNIT, left_out=left_out, legend=legend, has_values=False)


def _matrix(models: Mapping[str, str], sets: Mapping[str, str], cells: Mapping[Any, Any], limits: Limits) -> Table:
    rows = []
    for data in list(sets)[: limits.rows]:
        own = [cells[model, data] for model in models if (model, data) in cells]
        baseline, ceiling = _borders(own)
        line = [Cell(sets[data])]
        line += [_cell(cells.get((model, data)), baseline[1] if baseline else None) for model in models]
        line.append(Cell(show(baseline[1].value), words(baseline[0])) if baseline else Cell("none"))
        line.append(Cell(show(ceiling.value), show_interval(ceiling)) if ceiling else Cell("not known"))
        rows.append(line)
    header = ("data", *models.values(), "best baseline", "ceiling")
    caption = "▲ interval above the best baseline, ▼ below it, ≈ contains it"
    return Table(caption, header, rows, max(0, len(sets) - len(rows)), wide=True)


def _cell(result: Mapping[str, Any] | None, baseline: Estimate | None) -> Cell:
    if result is None:
        return Cell("not measured")
    estimate = read_estimates(result["metrics"])[MAIN]
    if math.isnan(estimate.value):
        return Cell(show_estimate(estimate))
    sign, tone = "", ""
    if baseline is not None and not math.isnan(estimate.low):
        sign, tone = (
            ("▲\u00a0", "good")
            if estimate.low > baseline.value
            else ("▼\u00a0", "bad")
            if estimate.high < baseline.value
            else ("≈\u00a0", "warn")
        )
    interval = show_interval(estimate)
    return Cell(f"{sign}{show(estimate.value)}", f"{interval}\nn={estimate.n:,}".strip(), tone)


def _borders(results: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, Estimate] | None, Estimate | None]:
    """Give the best baseline and the ceiling: they belong to the data, so the first result that has one serves."""
    baseline = next((found for result in results if (found := best_baseline(result))), None)
    ceilings = [read_estimate(result.get("noise_ceiling")) for result in results]
    return baseline, next((e for e in ceilings if e is not None and not math.isnan(e.value)), None)
