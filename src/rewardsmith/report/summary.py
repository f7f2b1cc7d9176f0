"""The first section: every model on every data set, beside the best rule without understanding and the ceiling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.blocks.kinds import Cell, Section, StripRow, Strips, Table, Value
from rewardsmith.blocks.words import read_estimate, read_estimates, short_names, words
from rewardsmith.records import Estimate
from rewardsmith.report.evaluation import CHANCE, MAIN, UNIT, best_baseline

Plain = Mapping[str, Any]
Grid = Mapping[tuple[str, str], Plain]
TONES = "abcd"
REFERENCES = {"baseline": "best baseline", "ceiling": "ceiling of raters' noise"}


def summary_section(results: Sequence[Plain]) -> Section | None:
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
        [_glance(models, sets, cells), _matrix(models, sets, cells)],
    )


def _glance(models: Mapping[str, str], sets: Mapping[str, str], cells: Grid) -> Strips:
    tones = {model: TONES[index % len(TONES)] for index, model in enumerate(models)}
    rows = []
    for data in sets:
        own = [(model, cells[model, data]) for model in models if (model, data) in cells]
        marks = [(read_estimates(result["metrics"])[MAIN], tones[model]) for model, result in own]
        baseline, ceiling = _borders([result for _, result in own])
        lines = [(baseline[1].value, "baseline")] if baseline else []
        lines += [(ceiling.value, "ceiling")] if ceiling else []
        rows.append(StripRow(sets[data], marks=marks, references=lines))
    legend = [(tones[model], models[model]) for model in models]
    drawn = {kind for row in rows for _, kind in row.references}
    legend += [(kind, name) for kind, name in REFERENCES.items() if kind in drawn]
    legend.append(("zero", "chance"))
    return Strips("Accuracy with 95% intervals", rows, [CHANCE], UNIT, legend=legend, has_values=False)


def _matrix(models: Mapping[str, str], sets: Mapping[str, str], cells: Grid) -> Table:
    rows = []
    for data in sets:
        own = [cells[model, data] for model in models if (model, data) in cells]
        baseline, ceiling = _borders(own)
        line: list[Value | Cell] = [sets[data]]
        line += [_cell(cells.get((model, data)), baseline[1] if baseline else None) for model in models]
        line.append(Cell(baseline[1], words(baseline[0])) if baseline else "none")
        line.append(ceiling or "not known")
        rows.append(line)
    header = ("data", *models.values(), "best baseline", "ceiling")
    return Table("▲ interval above the best baseline, ▼ below it, ≈ contains it", header, rows, wide=True)


def _cell(result: Plain | None, baseline: Estimate | None) -> Value | Cell:
    if result is None:
        return "not measured"
    estimate = read_estimates(result["metrics"])[MAIN]
    if math.isnan(estimate.value) or math.isnan(estimate.low) or baseline is None:
        return estimate
    if estimate.low > baseline.value:
        return Cell(estimate, sign="▲\u00a0", tone="good")
    if estimate.high < baseline.value:
        return Cell(estimate, sign="▼\u00a0", tone="bad")
    return Cell(estimate, sign="≈\u00a0", tone="warn")


def _borders(results: Sequence[Plain]) -> tuple[tuple[str, Estimate] | None, Estimate | None]:
    """Return the best baseline and the ceiling: they belong to the data, so the first result that has one serves."""
    baseline = next((found for result in results if (found := best_baseline(result))), None)
    ceilings = [read_estimate(result.get("noise_ceiling")) for result in results]
    return baseline, next((e for e in ceilings if e is not None and not math.isnan(e.value)), None)
