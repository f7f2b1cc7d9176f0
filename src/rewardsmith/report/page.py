"""Results as one HTML page: which section reads which part of a result, and in what order they stand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.audit.parts import PARTS, findings_section
from rewardsmith.audit.probes import EFFECT_LIMIT
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
    Tone,
    Value,
    Verdict,
)
from rewardsmith.blocks.plots import tone_of
from rewardsmith.blocks.text import print_blocks
from rewardsmith.blocks.words import (
    blocks_of,
    read_estimate,
    read_estimates,
    read_number,
    short_names,
    show,
    show_interval,
    times,
    words,
)
from rewardsmith.errors import DataError
from rewardsmith.evaluation import sections as evaluation
from rewardsmith.evaluation.comparing import ModelComparison, PairedTest
from rewardsmith.evaluation.evaluating import details
from rewardsmith.evaluation.rated import ratings_section
from rewardsmith.evaluation.sections import CHANCE, MAIN, UNIT, best_baseline, hold_against
from rewardsmith.evaluation.verdict import HeldOutResult, verdict
from rewardsmith.files.writing import write_bytes
from rewardsmith.records import Estimate

Plain = Mapping[str, Any]
Builder = Callable[[Plain], Section | None]
MAX_BYTES = 2_000_000
# Of so many results each is named in the headline.
MAX_NAMED = 4
TONE_OF: dict[str, Tone] = {"green": "good", "yellow": "warn", "red": "bad"}
DATA = "data"
INTRO = (
    "Every value stands with its n and, where one can be given, its 95% interval. What is undefined is called so; it is"
    " never 0."
)
# What a section reads, and the section. It is built only where one of these keys is in the result; a key that stands
# here nowhere is shown among "other numbers".
SECTIONS: tuple[tuple[tuple[str, ...], Builder], ...] = (
    (("findings",), findings_section),
    (("score", "parts", "score_of_baselines", "left_out", "benchmark"), evaluation.benchmark_section),
    (
        ("overall", "a", "b", "subsets", "flipped", "num_flipped", "largest_disagreements", "margin_units"),
        evaluation.comparison_section,
    ),
    (("metrics", "baselines", "gains_over_baselines", "noise_ceiling"), evaluation.accuracy_section),
    (("ratings",), ratings_section),
    (("strata",), evaluation.strata_section),
    (("calibration",), evaluation.calibration_section),
    (("calibration",), evaluation.ties_section),
    (("margins",), evaluation.margins_section),
    (("length_curve",), evaluation.length_curve_section),
    *((part.reads, part.section) for part in PARTS),
)
LAST: tuple[tuple[tuple[str, ...], Builder], ...] = ((("worst",), evaluation.worst_section),)
# What the lines below a heading say.
HEAD = {"schema", "schema_version", "scorer", "data", "groups", "comparisons", "gold_ties", "seed", "dropped", "notes"}
HEAD |= {"scored_texts", "within_prompt_sd"}
Grid = Mapping[tuple[str, str], Plain]
# Marks in one line; of more models each has a line of its own.
MOST_MARKS = 4
DOCTOR = "rewardsmith.doctor"
SIGNS = {"good": "▲\u00a0", "bad": "▼\u00a0", "warn": "≈\u00a0"}
REFERENCES = {"baseline": "best baseline", "ceiling": "ceiling of raters' noise"}
PRINTED = ("rewardsmith.audit", "rewardsmith.models_together")


def write_report(
    results: Sequence[Any], path: str | Path, *, title: str | None = None, about: Sequence[str] = ()
) -> Path:
    """Write one self-contained HTML file about any number of results; the file appears whole or not at all.

    Args:
        results: evaluations, audits, comparisons and benchmarks, or their dictionaries (`to_dict()`), in any mixture.
            `data` of a dictionary names the data set; `details(result.scored)` adds margins, reward by length and the
            worst disagreements. A section whose numbers are missing is left out.
        path: where to write.
        title: of the page.
        about: how the page came about, such as the date, the command and versions; the same gives the same bytes.

    Raises:
        DataError: there is no result, or even shortened the report is above 2 MB.
    """
    page, target = render_report(results, title=title, about=about), Path(path)
    write_bytes(target, page)
    return target


def render_report(results: Sequence[Any], *, title: str | None = None, about: Sequence[str] = ()) -> bytes:
    """Return the bytes of the report; equal results give equal bytes. Raises DataError, see `write_report`."""
    plain = [flatten(_values(result), number) for number, result in enumerate(results, 1)]
    if not plain:
        raise DataError("no result to report; evaluate or audit something first")
    overview = [section for section in (summary_section(plain), _probes_together(plain)) if section]
    page = Page(title or "Reward model report", overview, _chapters(plain), INTRO, _verdict(plain), about)
    return render_page(page, MAX_BYTES)


def _values(result: Any) -> Plain:
    """Return a result as a dictionary, with the details of its scored groups where it still has them."""
    plain: Plain = result if isinstance(result, Mapping) else result.to_dict()
    if plain.get("schema") == DOCTOR:
        return _of_doctor(plain)
    if isinstance(result, Mapping):
        return plain
    scored = getattr(result, "scored", None) or getattr(getattr(result, "evaluation", None), "scored", None)
    return {**plain, **details(scored)} if scored else plain


def _of_doctor(result: Plain) -> Plain:
    """Return what `doctor` found with the keys of an audit."""
    rows = [{**row, "text": f"{row['check']}: {row['message']}"} for row in result["findings"]]
    return {"scorer": result["model"] or "data alone", "data": result["data"] or "no data", "findings": rows}


def _verdict(results: Sequence[Plain]) -> Verdict | None:
    """Return the headline: of one result its verdict, of a few the short ones, of many how many are good."""
    found = [(result, item) for result in results if (item := _verdict_of(result)) is not None]
    if len(found) < 2:
        return found[0][1] if found else None
    tones = [item.tone for _, item in found]
    tone: Tone = "bad" if "bad" in tones else "good" if set(tones) == {"good"} else "warn"
    if len(found) > MAX_NAMED:
        text = f"{tones.count('good')} of {len(found)} results beat every baseline, {tones.count('bad')} are bad"
        return Verdict(f"{text}, {tones.count('warn')} are open", tone)
    names = short_names([result["scorer"] for result, _ in found])
    sets = short_names([result["data"] for result, _ in found])
    where = [f"{names[r['scorer']]}{f' on {sets[r[DATA]]}' if len(sets) > 1 else ''}" for r, _ in found]
    return Verdict("\n".join(f"{place}: {item.text}" for place, (_, item) in zip(where, found, strict=True)), tone)


def _verdict_of(result: Plain) -> Verdict | None:
    """Return the conclusion of one result; None where it has nothing to compare. Red findings make it red."""
    overall, metrics = result.get("overall"), read_estimates(result.get("metrics"))
    if isinstance(overall, Mapping):
        difference, p = read_estimate(overall.get("difference")), read_number(overall.get("p_value"))
        if difference is None or math.isnan(difference.value):
            return None
        test = PairedTest(math.nan, math.nan, difference, 0, 0, p, p)
        a, b = _names_of_two(result)
        found = verdict(ModelComparison(a, b, test, {}, ()))
    elif {"accuracy", "reward_tie_rate"} <= set(metrics):
        gains = read_estimates(result.get("gains_over_baselines"))
        baselines = {name: e for name, e in read_estimates(result.get("baselines")).items() if name in gains}
        found = verdict(HeldOutResult(metrics, baselines, gains))
    else:
        return None
    num_red = sum(isinstance(row, Mapping) and row.get("level") == "red" for row in result.get("findings") or [])
    if num_red:
        return Verdict(f"{found.message}; {num_red} red finding{'s' if num_red > 1 else ''}", "bad")
    return Verdict(found.message, TONE_OF[found.level])


def _probes_together(results: Sequence[Plain]) -> Section | None:
    """Draw the probes of several models in one plot, those that any model is accused by first."""
    audits = {str(result["scorer"]): result["probes"] for result in results if result.get("probes")}
    if len(audits) < 2:
        return None
    names = short_names(list(audits))
    tones = {scorer: tone_of(index) for index, scorer in enumerate(audits)}
    rows: dict[str, list[tuple[Estimate, str]]] = {}
    accused: dict[str, list[str]] = {}
    contrary: set[str] = set()
    for scorer, probes in audits.items():
        for row in probes:
            change = read_estimate(row.get("change")) if isinstance(row, Mapping) else None
            if change is not None and math.isfinite(change.value):
                rows.setdefault(str(row["name"]), []).append((change, tones[scorer]))
                side = {"should fall": 1, "should rise": -1}.get(str(row.get("expected")), 0)
                if abs(change.value) >= EFFECT_LIMIT and (change.value * side > 0 or not side):
                    contrary.add(str(row["name"]))
                if row.get("accused"):
                    accused.setdefault(str(row["name"]), []).append(names[scorer])
    moved = [name for name in rows if name in accused or name in contrary]
    order = sorted(moved, key=lambda name: name not in accused)
    lines = [StripRow(words(name), marks=rows[name], sub=", ".join(accused.get(name, ()))) for name in order]
    if not order:
        return None
    legend = [*((tones[scorer], names[scorer]) for scorer in audits), ("zero", "no change")]
    caption = "Mean change of the reward after each edit, in within-prompt standard deviations of each model"
    caption += f"; {len(rows) - len(order)} probes that move no model the wrong way by {EFFECT_LIMIT} are left out"
    return Section(
        "Probes side by side",
        "What an edit does to each model. The details name the models that are accused.",
        "Each model's own spread is its unit: a model that spreads good answers widely looks calmer.",
        [Strips(caption, lines, [(0.0, "zero")], signed=True, legend=legend, has_values=False)],
    )


def _names_of_two(result: Plain) -> tuple[str, str]:
    """Return the short names of the two models of a comparison, A and B where it does not name them."""
    a, b = str(result.get("a") or "A"), str(result.get("b") or "B")
    short = short_names([a, b])
    return short[a], short[b]


def flatten(result: Plain, number: int) -> dict[str, Any]:
    """Put what an audit keeps under `evaluation` beside its own keys, and name scorer and data."""
    inner = result.get("evaluation")
    inner = inner if isinstance(inner, Mapping) else {}
    flat = {**inner, **{key: value for key, value in result.items() if value is not None or key not in inner}}
    flat.pop("evaluation", None)
    if "a" in result and "b" in result and "overall" in result:
        a, b = _names_of_two(result)
        flat.setdefault("scorer", f"A = {a}, B = {b}")
    flat["scorer"] = str(flat.get("scorer") or "unnamed scorer")
    flat["data"] = str(flat.get("data") or flat.get("benchmark") or f"data set {number}")
    return flat


def sections_of(result: Plain) -> list[Section]:
    """Return the sections of a result that was flattened, in order."""
    present = {key for key, value in result.items() if value is not None}
    built = [build(result) for keys, build in SECTIONS if present.intersection(keys)]
    known = HEAD.union(*(keys for keys, _ in (*SECTIONS, *LAST)))
    rest = {str(key): value for key, value in result.items() if key not in known}
    built += [_other_section(rest)] if rest else []
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
    for key, name in (("groups", "group"), ("comparisons", "judgement"), ("gold_ties", "judged tie")):
        if isinstance(result.get(key), int):
            facts.append(times(result[key], name))
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


def _other_section(rest: Plain) -> Section | None:
    """Show values that no section reads; what a newer command measures is not dropped."""
    blocks = blocks_of(rest, "Other numbers")
    return Section("Other numbers", "Further results, as they were handed over.", "", blocks) if blocks else None


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
        " the best baseline: the best rule, of those tried, that reads no meaning, or the model without the prompt.",
        "Data sets are of different difficulty, so compare models along a row, not data sets down a column. The signs"
        " hold a model's interval against that of its own best baseline, which may be itself without the prompt.",
        [_glance(models, sets, cells), _matrix(models, sets, cells)],
    )


def _glance(models: Mapping[str, str], sets: Mapping[str, str], cells: Grid) -> Strips:
    tones = {model: tone_of(index) for index, model in enumerate(models)}
    rows = []
    for data in sets:
        own = [(model, cells[model, data]) for model in models if (model, data) in cells]
        marks = [(read_estimates(result["metrics"])[MAIN], tones[model]) for model, result in own]
        baseline, ceiling = _borders([result for _, result in own])
        lines = [(baseline[1].value, "baseline")] if baseline else []
        lines += [(ceiling.value, "ceiling")] if ceiling else []
        if len(models) > MOST_MARKS:
            names = (f"{sets[data]}: {models[model]}" for model, _ in own)
            rows += [
                StripRow(name, marks=[(e, "a")], references=lines) for name, (e, _) in zip(names, marks, strict=True)
            ]
        else:
            rows.append(StripRow(sets[data], marks=marks, references=lines))
    legend = [(tones[model], models[model]) for model in models] if len(models) <= MOST_MARKS else []
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
        line += [_cell(cells.get((model, data))) for model in models]
        line.append(
            Cell(baseline[1], f"{words(baseline[0])}\n{show_interval(baseline[1])}".strip()) if baseline else "none"
        )
        line.append(ceiling or "not known")
        rows.append(line)
    header = ("data", *models.values(), "best baseline", "ceiling")
    return Table("▲ interval above that of the best baseline, ▼ below it, ≈ the two overlap", header, rows, wide=True)


def _cell(result: Plain | None) -> Value | Cell:
    """Hold a model against the best baseline of its own result, by intervals."""
    if result is None:
        return "not measured"
    estimate, best = read_estimates(result["metrics"])[MAIN], _best(result)
    if math.isnan(estimate.value) or math.isnan(estimate.low) or best is None:
        return estimate
    tone = hold_against(estimate, best[1])
    return Cell(estimate, sign=SIGNS[tone], tone=tone)


def _best(result: Plain) -> tuple[str, Estimate] | None:
    return best_baseline(read_estimates(result.get("baselines")))


def _borders(results: Sequence[Plain]) -> tuple[tuple[str, Estimate] | None, Estimate | None]:
    """Return the best baseline and the ceiling: they belong to the data, so the first result that has one serves."""
    baseline = next((found for result in results if (found := _best(result))), None)
    ceilings = [read_estimate(result.get("noise_ceiling")) for result in results]
    return baseline, next((e for e in ceilings if e is not None and not math.isnan(e.value)), None)
