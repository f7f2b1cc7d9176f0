"""`inspect`: everything that one pass knows of preference data, for the terminal, a notebook, JSON and one page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rewardsmith.blocks.html import render_blocks, render_page
from rewardsmith.blocks.kinds import Block, Example, Examples, Facts, Page, Paragraph, Section, Verdict
from rewardsmith.blocks.words import short_names, times
from rewardsmith.data.checks.faults import IDENTICAL
from rewardsmith.data.checks.inspected_sections import make_sections
from rewardsmith.data.checks.inspection import Inspection, inspect_groups
from rewardsmith.data.checks.lengths import Measure, TokenMeasure
from rewardsmith.data.loading import LoadReport
from rewardsmith.data.texts import locate_each, plain_text, question_text
from rewardsmith.errors import DataError
from rewardsmith.records import PreferenceGroup, preferences

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Items = Iterator[tuple[str, PreferenceGroup]]
BLUE = "#0b5fa5"


@dataclass(frozen=True, slots=True, repr=False)
class Inspected:
    """What `inspect` found.

    Args:
        sources: what was read.
        found: every figure.
        report: rows read and left out.
        examples: a few of the rows that are named, with their texts.
    """

    sources: Sequence[Any]
    found: Inspection
    report: LoadReport
    examples: Mapping[str, PreferenceGroup] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What was read, in a line."""
        return ", ".join(map(_name, self.sources))

    def sections(self) -> list[Section]:
        """Return everything that is shown, section by section."""
        return make_sections(self.found, self.report)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with the rows that were left out."""
        dropped = self.report.dropped.items()
        left_out = {reason: {"count": n, "first": self.report.examples[reason]} for reason, n in dropped}
        return {"rows_read": self.report.rows, "rows_left_out": left_out, **self.found.to_dict()}

    def to_html(self) -> bytes:
        """Return one page that needs nothing else; it quotes rows that are named where `examples` has them."""
        sections = self.sections()
        if self.examples:
            items = [_example(where, group) for where, group in self.examples.items()]
            quoted = Examples("As they were read", items)
            sections.append(Section("Rows named above", "", "", [quoted]))
        short = short_names([_name(source) for source in self.sources])
        title = f"Preference data: {', '.join(short.values())}"
        facts = [self.title, *self.report.notes, datetime.now().strftime("%Y-%m-%d"), "rewardsmith data inspect"]
        return render_page(Page(title, sections, verdict=self.verdict(), facts=facts))

    def verdict(self) -> Verdict:
        """Return what the data are, in one line."""
        found, share = self.found, self.found.bias.longer_wins
        text = f"{times(found.comparisons, 'comparison')} on {times(found.prompts, 'prompt')}"
        if not math.isnan(share.value):
            text += f"; the longer answer wins in {share.value:.3f}"
        marked = sum(
            fact.tone in ("warn", "bad")
            for section in self.sections()
            for block in section.blocks
            if isinstance(block, Facts)
            for fact in block.items
        )
        return Verdict(f"{text}; {marked} figures to look at" if marked else text, "warn" if marked else "good")

    def plot_lengths(self) -> Figure:
        """Draw the lengths of prompts and completions side by side, as a matplotlib figure."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.4), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        charts = {"prompts": self.found.prompt_lengths, "completions": self.found.completion_lengths}
        for axes, (name, lengths) in zip(figure.subplots(1, 2), charts.items(), strict=True):
            if lengths.n:
                widths = [high - low for low, high in itertools.pairwise(lengths.edges)]
                axes.bar(lengths.edges[:-1], lengths.counts, widths, align="edge", color=BLUE, edgecolor="white")
            longest = lengths.quantiles.get("max", 0)
            beyond = f"; the last bin reaches to {longest:,}" if lengths.edges and longest >= lengths.edges[-1] else ""
            axes.set_title(f"{lengths.n:,} {name}", fontsize=11)
            axes.set_xlabel(f"{self.found.unit}{beyond}", fontsize=9)
            axes.tick_params(labelsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        return figure

    def __repr__(self) -> str:
        return f"<inspected {self.title}: {self.verdict().text}>"

    def _repr_html_(self) -> str:
        blocks: list[Block] = [self.verdict()]
        for section in self.sections():
            blocks += [Paragraph(section.title), *section.blocks]
        return render_blocks(blocks)


def inspect_sources(
    sources: Sequence[Any],
    *,
    encode: Callable[[PreferenceGroup], list[list[int]]] | None = None,
    quote: bool = False,
    watch: Callable[[Items], Iterable[tuple[str, PreferenceGroup]]] = iter,
    **options: Any,
) -> Inspected:
    """Look through sources once, as one set; see `rewardsmith.inspect`.

    Args:
        sources: paths, hub ids or lists of rows.
        encode: gives the token ids of every sequence of a group; None counts words.
        quote: read again for the texts of a few rows that are named.
        watch: wraps the groups as they pass, for a progress bar.
        options: of `iter_preferences`: reader, split, limit. Rows that cannot be read are counted.

    Raises:
        DataError: no row could be read.
    """
    report = LoadReport()
    options = {**options, "on_error": "count"}
    measure: Measure | None = None if encode is None else TokenMeasure(encode)
    found = inspect_groups(watch(locate_each(sources, report, **options)), measure)
    if not found.tally.rows:
        reasons = "; ".join(report.examples.values()) or "it holds no rows"
        raise DataError(f"{', '.join(map(_name, sources))}: nothing to inspect: {reasons}")
    examples = _fetch(sources, example_rows(found), options) if quote else {}
    return Inspected(sources, found, report, examples)


def _fetch(sources: Sequence[Any], wanted: set[str], options: Mapping[str, Any]) -> dict[str, PreferenceGroup]:
    """Read again until the rows that the page quotes are found; only their texts are held."""
    found: dict[str, PreferenceGroup] = {}
    if not wanted:
        return found
    for where, group in locate_each(sources, LoadReport(), **options):
        if where in wanted:
            found[where] = group
            if len(found) == len(wanted):
                break
    return found


def _name(source: object) -> str:
    """Name a source: its path, or how many rows it holds."""
    if not hasattr(source, "__len__") or isinstance(source, str):
        return str(source)
    return f"{times(len(source), 'row')} in memory"


def _example(where: str, group: PreferenceGroup) -> Example:
    answers = []
    for place, completion in enumerate(group.completions):
        judged = list(preferences(group))
        wins, losses = (any(getattr(j, side) == place for j in judged) for side in ("better", "worse"))
        verdict = "preferred" if wins and not losses else "not preferred" if losses and not wins else "undecided"
        answers.append((f"completion {place + 1}", verdict, plain_text(completion)))
    return Example(where, question_text(group) if group.prompt else "", answers)


def example_rows(found: Inspection) -> set[str]:
    """Name the rows that a page may quote: those of circles, contradictions, duplicates and identical sides."""
    rows = [*found.cycles.examples[:2], *found.contradictions.examples[:3]]
    rows += [[int(a), int(b)] for a, b in zip(found.duplicates.first[:2], found.duplicates.rows[:2], strict=True)]
    return {found.rows.decode(row) for group in rows for row in group} | set(
        found.checks.named(IDENTICAL, found.rows.decode, 3)["rows"]
    )
