"""Results as one HTML page: which section reads which part of a result, and in what order they stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.audit.parts import PARTS, findings_section
from rewardsmith.blocks.html import render_page
from rewardsmith.blocks.kinds import (
    Cell,
    Chapter,
    Entry,
    Examples,
    Page,
    Paragraph,
    Section,
    StripRow,
    Strips,
    Table,
    Value,
    Verdict,
)
from rewardsmith.blocks.terminal import print_blocks
from rewardsmith.blocks.words import read_estimate, read_estimates, short_names, show, words
from rewardsmith.errors import DataError
from rewardsmith.files.writing import write_bytes
from rewardsmith.records import Estimate
from rewardsmith.report import evaluation, others
from rewardsmith.report.evaluation import CHANCE, MAIN, UNIT, best_baseline

Plain = Mapping[str, Any]
Builder = Callable[[Plain], Section | None]
MAX_BYTES = 2_000_000
INTRO = (
    "Every value stands with its n and, where one can be given, its 95% interval. What is undefined is called so; it is"
    " never 0."
)
# What a section reads, and the section. It is built only where one of these keys is in the result; a key that stands
# here nowhere is shown among "other numbers".
SECTIONS: tuple[tuple[tuple[str, ...], Builder], ...] = (
    (("findings",), findings_section),
    (("score", "parts", "score_of_baselines", "left_out", "benchmark"), others.benchmark_section),
    (
        ("overall", "a", "b", "subsets", "flipped", "num_flipped", "largest_disagreements", "margin_units"),
        others.comparison_section,
    ),
    (("metrics", "baselines", "gains_over_baselines", "noise_ceiling"), evaluation.accuracy_section),
    (("strata",), evaluation.strata_section),
    (("calibration",), evaluation.calibration_section),
    (("margins",), evaluation.margins_section),
    (("length_curve",), evaluation.length_curve_section),
    *((part.reads, part.section) for part in PARTS),
)
LAST: tuple[tuple[tuple[str, ...], Builder], ...] = ((("worst",), evaluation.worst_section),)
# What the lines below a heading say.
HEAD = {"schema", "schema_version", "scorer", "data", "groups", "comparisons", "gold_ties", "seed", "dropped", "notes"}
HEAD |= {"scored_texts", "within_prompt_sd"}
Grid = Mapping[tuple[str, str], Plain]
TONES = "abcd"
REFERENCES = {"baseline": "best baseline", "ceiling": "ceiling of raters' noise"}
PRINTED = ("rewardsmith.audit", "rewardsmith.models_together")


def write_report(results: Sequence[Plain], path: str | Path, *, title: str | None = None) -> Path:
    """Write one self-contained HTML file about any number of results; the file appears whole or not at all.

    Args:
        results: dictionaries of evaluations, audits, comparisons and benchmarks (`to_dict()`), in any mixture. `data`
            names the data set; `details(result.scored)` adds margins, reward by length and the worst disagreements.
            A section whose numbers are missing is left out.
        path: where to write.
        title: of the page.

    Raises:
        DataError: there is no result, or even shortened the report is above 2 MB.
    """
    page, target = render_report(results, title=title), Path(path)
    write_bytes(target, page)
    return target


def render_report(results: Sequence[Plain], *, title: str | None = None) -> bytes:
    """Return the bytes of the report; equal results give equal bytes. Raises DataError, see `write_report`."""
    plain = [flatten(result, number) for number, result in enumerate(results, 1)]
    if not plain:
        raise DataError("no result to report; evaluate or audit something first")
    summary = summary_section(plain)
    page = Page(title or "Reward model report", [summary] if summary else [], _chapters(plain), INTRO)
    return render_page(page, MAX_BYTES)


def flatten(result: Plain, number: int) -> dict[str, Any]:
    """Put what an audit keeps under `evaluation` beside its own keys, and name scorer and data."""
    inner = result.get("evaluation")
    inner = inner if isinstance(inner, Mapping) else {}
    flat = {**inner, **{key: value for key, value in result.items() if value is not None or key not in inner}}
    flat.pop("evaluation", None)
    if "a" in result and "b" in result and "overall" in result:
        short = short_names([str(result["a"]), str(result["b"])])
        flat.setdefault("scorer", f"A = {short[str(result['a'])]}, B = {short[str(result['b'])]}")
    flat["scorer"] = str(flat.get("scorer") or "unnamed scorer")
    flat["data"] = str(flat.get("data") or flat.get("benchmark") or f"data set {number}")
    return flat


def sections_of(result: Plain) -> list[Section]:
    """Return the sections of a result that was flattened, in order."""
    present = {key for key, value in result.items() if value is not None}
    built = [build(result) for keys, build in SECTIONS if present.intersection(keys)]
    known = HEAD.union(*(keys for keys, _ in (*SECTIONS, *LAST)))
    rest = {str(key): value for key, value in result.items() if key not in known}
    built += [others.other_section(rest)] if rest else []
    built += [build(result) for keys, build in LAST if present.intersection(keys)]
    return [section for section in built if section]


def print_audits(results: Sequence[Plain]) -> None:
    """Print what audits found and, below, the numbers of their parts; pictures and examples stand on the page."""
    for result in results:
        if result.get("schema") in PRINTED:
            present = {key for key, value in result.items() if value is not None}
            parts = [part.section(result) for part in PARTS if part.name in present]
            blocks = [block for section in [findings_section(result), *parts] if section for block in section.blocks]
            title = Verdict(f"{result['scorer']} on {result['data']}")
            print_blocks([title, *(block for block in blocks if not isinstance(block, Examples)), Paragraph("")])


def _chapters(results: Sequence[Plain]) -> list[Chapter]:
    """Return a chapter for each model, with an entry for each data set."""
    by_model: dict[str, list[Plain]] = {}
    for result in results:
        by_model.setdefault(result["scorer"], []).append(result)
    short, names = short_names([result["data"] for result in results]), short_names(list(by_model))
    return [
        Chapter(names[name], [Entry(short[r["data"]], _facts(r), sections_of(r)) for r in own], name)
        for name, own in by_model.items()
    ]


def _facts(result: Plain) -> list[str]:
    """Return the line below a heading: where the data lies, how much there is, what was dropped."""
    facts = [str(result["data"])]
    for key, name in (("groups", "groups"), ("comparisons", "judgements"), ("gold_ties", "judged ties")):
        if isinstance(result.get(key), int):
            facts.append(f"{result[key]:,} {name}")
    if result.get("seed") is not None:
        facts.append(f"seed {result['seed']}")
    if isinstance(result.get("scored_texts"), int):
        facts.append(f"{result['scored_texts']:,} texts scored")
    if isinstance(result.get("within_prompt_sd"), float):
        facts.append(f"within-prompt standard deviation {show(result['within_prompt_sd'])}")
    dropped = result.get("dropped")
    if isinstance(dropped, Mapping):
        facts += [f"{count} rows dropped: {reason}" for reason, count in dropped.items()]
    notes = result.get("notes")
    return facts + [str(note) for note in (notes if isinstance(notes, list | tuple) else ())]


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
    return Table("▲ interval above that of the best baseline, ▼ below it, ≈ they overlap", header, rows, wide=True)


def _cell(result: Plain | None, baseline: Estimate | None) -> Value | Cell:
    if result is None:
        return "not measured"
    estimate = read_estimates(result["metrics"])[MAIN]
    if math.isnan(estimate.value) or math.isnan(estimate.low) or baseline is None:
        return estimate
    # The baseline is measured too: its interval counts as well.
    if estimate.low > max(baseline.value, _or(baseline.high, baseline.value)):
        return Cell(estimate, sign="▲\u00a0", tone="good")
    if estimate.high < min(baseline.value, _or(baseline.low, baseline.value)):
        return Cell(estimate, sign="▼\u00a0", tone="bad")
    return Cell(estimate, sign="≈\u00a0", tone="warn")


def _or(value: float, other: float) -> float:
    """Return `other` where a value is undefined."""
    return other if math.isnan(value) else value


def _borders(results: Sequence[Plain]) -> tuple[tuple[str, Estimate] | None, Estimate | None]:
    """Return the best baseline and the ceiling: they belong to the data, so the first result that has one serves."""
    baseline = next((found for result in results if (found := best_baseline(result))), None)
    ceilings = [read_estimate(result.get("noise_ceiling")) for result in results]
    return baseline, next((e for e in ceilings if e is not None and not math.isnan(e.value)), None)
