"""Put results into one HTML file: order them, keep the file below its limit, and write it at once or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rewardsmith._version import __version__
from rewardsmith.errors import DataError
from rewardsmith.files.writing import write_bytes
from rewardsmith.report.blocks import Findings, Limits, Section, StripRow, Strips
from rewardsmith.report.numbers import show, show_interval
from rewardsmith.report.plots import strip, strip_axis, strip_scale
from rewardsmith.report.sections import (
    audit,
    calibration,
    disagreements,
    length,
    others,
    over_optimisation,
    risk,
)
from rewardsmith.report.sections.accuracy import accuracy_section, strata_section
from rewardsmith.report.sections.summary import summary_section
from rewardsmith.report.texts import clean, short_names

MAX_BYTES = 2_000_000
# Tried in this order until the file is small enough.
TIERS = (
    *(Limits(), Limits(4_000), Limits(1_000, 5), Limits(400, 3, 30), Limits(200, 1, 15), Limits(200, 1, 6)),
    *(Limits(1_000, 3, 30, "without findings"), Limits(200, 1, 15, "without findings")),
    *(Limits(200, 1, 15, "all"), Limits(200, 1, 3, "all")),
)
Builder = Callable[[Mapping[str, Any], Limits], Section | None]
# What a report of very many results holds of each.
BRIEF: tuple[Builder, ...] = (
    audit.findings_section,
    others.benchmark_section,
    others.comparison_section,
    accuracy_section,
)
SECTIONS: tuple[Builder, ...] = (
    *BRIEF,
    strata_section,
    calibration.calibration_section,
    calibration.margins_section,
    length.length_section,
    audit.probes_section,
    audit.invariances_section,
    audit.shift_section,
    over_optimisation.over_optimisation_section,
    over_optimisation.variance_section,
    risk.risk_section,
    audit.contamination_section,
    others.other_section,
    disagreements.worst_section,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One model on one data set: heading, facts in a line, sections."""

    anchor: str
    data: str
    facts: Sequence[str]
    sections: Sequence[Section]


@dataclass(frozen=True, slots=True)
class Model:
    """One model with its entries; `name` is the end of its path that tells it from the others."""

    anchor: str
    name: str
    path: str
    entries: Sequence[Entry]


def write_report(results: Sequence[Mapping[str, Any]], path: str | Path, *, title: str | None = None) -> Path:
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
    page = render_report(results, title=title)
    target = Path(path)
    write_bytes(target, page)
    return target


def render_report(results: Sequence[Mapping[str, Any]], *, title: str | None = None) -> bytes:
    """Give the bytes of the report; equal results give equal bytes. Raises DataError, see `write_report`."""
    plain = [flatten(result, number) for number, result in enumerate(results, 1)]
    if not plain:
        raise DataError("no result to report; evaluate or audit something first")
    page = b""
    for tier, limits in enumerate(TIERS):
        page = _render(plain, limits, title, tier > 0)
        if len(page) < MAX_BYTES:
            return page
    raise DataError(f"the report of {len(plain)} results has {len(page):,} bytes, above 2 MB; report fewer at a time")


def flatten(result: Mapping[str, Any], number: int) -> dict[str, Any]:
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


def _render(results: Sequence[Mapping[str, Any]], limits: Limits, title: str | None, is_shortened: bool) -> bytes:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        show=show,
        show_interval=show_interval,
        scale_of=_scale_of,
        strip=strip,
        strip_axis=strip_axis,
        marks_of=_marks_of,
    )
    models = _models(results, limits)
    page = environment.get_template("report.html").render(
        title=clean(title or "Reward model report"),
        summary=summary_section(results, limits),
        alarms=_alarms(models),
        models=models,
        version=__version__,
        limits=limits,
        is_shortened=is_shortened,
    )
    return page.encode("utf-8")


def _models(results: Sequence[Mapping[str, Any]], limits: Limits) -> list[Model]:
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_model.setdefault(result["scorer"], []).append(result)
    short = short_names([result["data"] for result in results])
    names = short_names(list(by_model))
    models = []
    for index, (name, own) in enumerate(by_model.items(), 1):
        entries = []
        for place, result in enumerate(own, 1):
            built = [section for build in SECTIONS if (section := build(result, limits))]
            facts = _facts(result)
            if limits.brief == "all" or (limits.brief == "without findings" and not result.get("findings")):
                kept = [section for build in BRIEF if (section := build(result, limits))]
                facts.append(f"{len(built) - len(kept)} sections left out here; the JSON result has them")
                built = kept
            entries.append(Entry(f"m{index}-d{place}", short[result["data"]], facts, built))
        models.append(Model(f"m{index}", names[name], clean(name), entries))
    return models


def _facts(result: Mapping[str, Any]) -> list[str]:
    """Give the line below a heading: where the data lies, how much there is, what was dropped."""
    facts = [clean(result["data"])]
    for key, name in (("groups", "groups"), ("comparisons", "judgements"), ("gold_ties", "judged ties")):
        if isinstance(result.get(key), int):
            facts.append(f"{result[key]:,} {name}")
    if result.get("seed") is not None:
        facts.append(f"seed {clean(result['seed'])}")
    if isinstance(result.get("scored_texts"), int):
        facts.append(f"{result['scored_texts']:,} texts scored")
    if isinstance(result.get("within_prompt_sd"), float):
        facts.append(f"within-prompt standard deviation {show(result['within_prompt_sd'])}")
    dropped = result.get("dropped")
    if isinstance(dropped, Mapping):
        facts += [f"{clean(count)} rows dropped: {clean(reason)}" for reason, count in dropped.items()]
    notes = result.get("notes")
    return facts + [clean(note) for note in (notes if isinstance(notes, list | tuple) else ())]


def _alarms(models: Sequence[Model]) -> list[tuple[str, str, list[str]]]:
    """Gather the red findings of all entries: anchor, where, texts."""
    alarms = []
    for model in models:
        for entry in model.entries:
            blocks = [block for section in entry.sections for block in section.blocks if isinstance(block, Findings)]
            found = [text for block in blocks for level, text in block.items if level == "red"]
            if found:
                alarms.append((entry.anchor, f"{model.name}, {entry.data}", found))
    return alarms


def _marks_of(row: StripRow) -> Sequence[Any]:
    return row.marks or ([(row.estimate, row.tone)] if row.estimate else [])


def _scale_of(block: Strips) -> Any:
    values = [value for row in block.rows for e, _ in _marks_of(row) for value in (e.value, e.low, e.high)]
    values += [value for value, _ in block.references]
    values += [value for row in block.rows for value, _ in row.references]
    return strip_scale(values, block.limits)
