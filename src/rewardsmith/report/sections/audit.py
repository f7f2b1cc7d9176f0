"""The sections of an audit: probes, invariances, shift, over-optimisation, contamination, findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.report.blocks import (
    Cell,
    Example,
    Examples,
    Findings,
    Limits,
    Section,
    StripRow,
    Strips,
    Table,
)
from rewardsmith.report.numbers import read_estimate, read_number, show, show_estimate
from rewardsmith.report.sections.generic import blocks_of, written
from rewardsmith.report.svg import legend_mark
from rewardsmith.report.texts import clean, excerpt, words

LEVELS = ("red", "yellow", "green")


def findings_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show what the audit concludes, worst first."""
    rows = [row for row in result.get("findings") or [] if isinstance(row, Mapping)]
    items = [(str(row.get("level", "yellow")), clean(row.get("text", ""))) for row in rows]
    items = [(level if level in LEVELS else "yellow", text) for level, text in items]
    if not items:
        return None
    items.sort(key=lambda item: LEVELS.index(item[0]))
    return Section(
        "Findings",
        "What the audit concludes from the numbers below: red asks for action, yellow for a look.",
        "Green means that this audit found nothing on this data, not that nothing is there.",
        [Findings(items)],
    )


def probes_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show the counterfactual probes as a forest plot; accused ones first."""
    probes = [row for row in result.get("probes") or [] if isinstance(row, Mapping)]
    if not probes:
        return None
    idle = [words(row.get("name", "probe")) for row in probes if row.get("n") == 0]
    probes = [row for row in probes if row.get("n") != 0]
    probes.sort(key=lambda row: not row.get("accused"))
    accused = sum(bool(row.get("accused")) for row in probes)
    kept = probes[: limits.rows]
    legend = [
        (legend_mark("a"), "not accused"),
        (legend_mark("d"), "accused: contrary to what is expected, q below the limit, large enough to matter"),
        (legend_mark("zero"), "no change"),
    ]
    caption = (
        f"Mean change of the reward in within-prompt standard deviations; {accused} of {len(probes)} probes accused"
    )
    if idle:
        caption += f". Probes that fitted no answer: {', '.join(idle)}"
    rows = [_probe(row) for row in kept]
    strips = Strips(caption, rows, [(0.0, "zero")], signed=True, left_out=len(probes) - len(kept), legend=legend)
    blocks: list[Any] = [strips]
    examples = [item for row in kept if row.get("accused") and (item := _example(row, limits))]
    if examples:
        shown = examples[: limits.examples]
        blocks.append(
            Examples(
                "One edit of each accused probe, where the change spoke most against the model",
                shown,
                len(examples) - len(shown),
            )
        )
    return Section(
        "Style and artefact probes",
        "How much the reward changes when a real answer is edited in a way that should not matter, or should matter in"
        " a known direction. The flip rate is the share of pairs whose order turns; q is the p value corrected over all"
        " probes (Benjamini-Hochberg).",
        "An edit can change meaning by accident, and with many rows a change too small to matter is significant:"
        " read its size.",
        blocks,
    )


def _probe(row: Mapping[str, Any]) -> StripRow:
    facts = [words(row[key]) for key in ("kind", "expected") if row.get(key)]
    flips = read_estimate(row.get("flip_rate"))
    if flips is not None:
        facts.append(f"flips {show_estimate(flips)}")
    if row.get("q") is not None or row.get("p") is not None:
        key = "q" if row.get("q") is not None else "p"
        facts.append(f"{key} = {show(read_number(row[key]))}")
    if row.get("not_scored"):
        facts.append(f"{written(row['not_scored'])} could not be scored")
    estimate = read_estimate(row.get("change")) or read_estimate({"value": None, "n": row.get("n", 0)})
    accused = bool(row.get("accused"))
    badge, tone = ("accused", "d") if accused else ("", "a")
    return StripRow(words(row.get("name", "probe")), estimate, "; ".join(facts), badge, tone)


def _example(row: Mapping[str, Any], limits: Limits) -> Example | None:
    """Show the texts of an example side by side, each with its reward, where it is known."""
    example = row.get("example")
    if isinstance(example, str) and example:
        example = {"edited": example}
    if not isinstance(example, Mapping):
        return None
    values = {str(key): value for key, value in example.items() if value is not None}
    prompt = values.pop("prompt", None)
    answers = []
    for name in [name for name, value in values.items() if isinstance(value, str)]:
        reward = values.pop(f"reward_{name}", None)
        sub = "" if reward is None else f"reward {written(reward)}"
        answers.append((words(name), sub, excerpt(values.pop(name), limits.characters)))
    if not answers:
        return None
    rest = [f"{words(name)} {written(value)}" for name, value in values.items()]
    head = "; ".join([words(row.get("name", "probe")), *rest])
    return Example(head, excerpt(prompt, limits.characters) if prompt else None, answers)


def invariances_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show what should change nothing."""
    rows = [row for row in result.get("invariances") or [] if isinstance(row, Mapping)]
    if not rows:
        return None
    extra = [k for row in rows for k in row if k not in ("name", "n", "ok", "note")]
    columns = list(dict.fromkeys(map(str, extra)))
    cells = []
    for row in rows[: limits.rows]:
        ok = row.get("ok")
        verdict = Cell("not run") if ok is None else Cell("holds", tone="good") if ok else Cell("broken", tone="bad")
        middle = [Cell(written(row.get(name)) if name in row else "") for name in columns]
        name = Cell(words(row.get("name", "")), clean(row.get("note") or ""))
        cells.append([name, verdict, *middle, Cell(written(row.get("n")))])
    header = ("what changes", "verdict", *map(words, columns), "n")
    return Section(
        "Invariances",
        "What must not change a reward: order of the answers, batch size, padding, precision. The largest change is in"
        " the model's own unit.",
        "A change of 0 on few rows does not promise 0 on long ones.",
        [Table("Largest change of a reward, and judgements that flip", header, cells, max(0, len(rows) - len(cells)))],
    )


def plain_section(key: str, title: str, means: str, lies: str) -> Any:
    """Give a section that shows whatever lies under `key`."""

    def section(result: Mapping[str, Any], limits: Limits) -> Section | None:
        value = result.get(key)
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            value = {title.lower(): value}
        if isinstance(value, Mapping):
            # What a part concludes stands among the findings already.
            value = {name: item for name, item in value.items() if name != "findings"}
        blocks = blocks_of(value, title, limits) if isinstance(value, Mapping) else []
        return Section(title, means, lies, blocks) if blocks else None

    return section


shift_section = plain_section(
    "shift",
    "Out of distribution",
    "Accuracy by where training and test data come from, or by how new a prompt is. A model that learned what people"
    " want holds up away from its own data.",
    "Data sets differ in difficulty and in label noise: compare down a column, not along a row.",
)
contamination_section = plain_section(
    "contamination",
    "Contamination",
    "How much of the evaluation data is found in the model's recorded training data, and accuracy with and without it.",
    "Only the recorded training data is searched; what the base model saw before is not known.",
)
