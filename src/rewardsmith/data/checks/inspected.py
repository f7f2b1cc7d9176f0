"""`inspect`: everything that one pass knows of preference data, for the terminal, a notebook, JSON and one page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rewardsmith.blocks.figures import new_figure
from rewardsmith.blocks.html import render_blocks, render_page
from rewardsmith.blocks.kinds import (
    Block,
    Cell,
    Example,
    Examples,
    Fact,
    Facts,
    Histogram,
    Page,
    Paragraph,
    Section,
    Table,
    Tone,
    Value,
    Verdict,
)
from rewardsmith.blocks.words import short_names, times
from rewardsmith.data.checks.faults import EMPTY, HOLDS_OTHER, IDENTICAL, LEAKS, NO_PROMPT, TEXT_FAULTS, TURN_FAULTS
from rewardsmith.data.checks.inspection import Inspection
from rewardsmith.data.checks.lengths import Distribution
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.data.loading import LoadReport
from rewardsmith.data.texts import join_rows, question_text
from rewardsmith.records import Estimate, PreferenceGroup, preferences
from rewardsmith.stats.agreement import LEVELS

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
        return ", ".join(map(source_name, self.sources))

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
        short = short_names([source_name(source) for source in self.sources])
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
        figure = new_figure(9, 3.4, 150)
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


def source_name(source: object) -> str:
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
    is_judged = [verdict for _, verdict, _ in answers] == ["preferred", "not preferred"]
    return Example(where, question_text(group) if group.prompt else "", answers, is_judged)


def example_rows(found: Inspection) -> set[str]:
    """Name the rows that a page may quote: those of circles, contradictions, duplicates and identical sides."""
    rows = [*found.cycles.examples[:2], *found.contradictions.examples[:3]]
    rows += [[int(a), int(b)] for a, b in zip(found.duplicates.first[:2], found.duplicates.rows[:2], strict=True)]
    return {found.rows.decode(row) for group in rows for row in group} | set(
        found.checks.named(IDENTICAL, found.rows.decode, 3)["rows"]
    )


MOST = 12
# What the numbers of a section are for; the page says it below the title.
MEANS = {
    "Size": "How much there is, and what was left out.",
    "What to look at": "Rows that are broken, repeated or judged both ways. rewardsmith data check names all of them.",
    "What gives the label away": "What a model could learn instead of the quality of an answer.",
    "Lengths": '"The longer wins" is the accuracy of preferring the longer text. A model must beat it.',
    "Where the labels come from": "The largest sources, annotators and authors of answers.",
    "Agreement": "How far people agree, and so how accurate a model can be against their labels.",
    "What sharing prompts saves": "Training here computes every distinct token once; rows of pairs repeat them.",
}


def make_sections(found: Inspection, report: LoadReport) -> list[Section]:
    """Say what was found."""
    built = [_size(found, report), _trouble(found, report), _leaks(found), _lengths(found), _labels(found)]
    return [*built, _agreement(found), _saving(found)]


def bins(distribution: Distribution) -> list[tuple[str, int]]:
    """Label the bins of a histogram; the last also holds what is longer."""
    edges = distribution.edges
    labels = [f"{low:,}" if high - low == 1 else f"{low:,}-{high - 1:,}" for low, high in itertools.pairwise(edges)]
    if labels and distribution.quantiles["max"] >= edges[-1]:
        labels[-1] = f"{edges[-2]:,} or more"
    return list(zip(labels, distribution.counts, strict=True))


def _section(title: str, lines: list[Fact], more: Sequence[Block] = ()) -> Section:
    return Section(title, MEANS[title], "", [Facts(lines), *more])


def _histogram(name: str, unit: str, lengths: Distribution) -> Histogram:
    labels = [label for label, _ in bins(lengths)]
    return Histogram(f"{name}, {unit}", unit, lengths.edges, lengths.counts, y_title=name, labels=labels)


def _size(found: Inspection, report: LoadReport) -> Section:
    left_out = sum(report.dropped.values())
    sizes = [f"{size}: {count:,}" for size, count in list(found.sizes.items())[:MOST]]
    sizes += [f"and {len(found.sizes) - MOST} more sizes"] if len(found.sizes) > MOST else []
    lines = [
        Fact("rows read", f"{report.rows:,}", f"{left_out:,} of them left out" if left_out else "all of them usable"),
        Fact("prompts", f"{found.prompts:,}", f"{found.repeated_prompts:,} of them in several rows"),
        Fact("completions", f"{found.completions:,}", "each counted once a prompt"),
        Fact("comparisons", f"{found.comparisons:,}", f"{found.ties:,} of them ties"),
        Fact("completions a prompt", f"{found.completions / max(1, found.prompts):.1f}", "; ".join(sizes)),
    ]
    if found.several_files.count:
        lines.append(Fact("prompts in several files", f"{found.several_files.count:,}", "case and punctuation aside"))
    if report.reader:
        lines.insert(0, Fact("reader", report.reader))
    if found.checks.counts[NO_PROMPT]:
        note = "their completions hold the whole dialogue; rows with an empty prompt never merge"
        lines.append(Fact("rows without a prompt", f"{found.checks.counts[NO_PROMPT]:,}", note))
    if found.tally.soft:
        lines.append(Fact("soft labels", f"{found.tally.soft:,}", "comparisons with a probability"))
    if found.tally.unweighted:
        lines.append(Fact("weight 0", f"{found.tally.unweighted:,}", "comparisons that count for nothing below"))
    return _section("Size", lines)


def _trouble(found: Inspection, report: LoadReport) -> Section:
    name = found.rows.decode
    lines = [
        Fact(f"left out: {reason}", f"{count:,}", f"first: {report.examples[reason]}", "bad")
        for reason, count in report.dropped.most_common()
    ]
    same = f"count as ties; {_some(found, IDENTICAL)}" if found.identical else ""
    lines.append(_count("identical sides", found.identical, same))
    lines.append(_count("rows with an empty completion", found.checks.counts[EMPTY], _some(found, EMPTY)))
    again = found.duplicates
    first = f"first: {name(int(again.rows[0]))} repeats {name(int(again.first[0]))}" if again.count else ""
    lines.append(_count("repeated judgements", again.count, first))
    both = found.contradictions
    note = ""
    if both.pairs:
        example = "".join(f"; first: {name(a)} and {name(b)}" for a, b in both.examples[:1])
        note = f"on {times(both.prompts, 'prompt')}; {both.pairs - both.by_one:,} between named annotators{example}"
    lines.append(_count("pairs judged both ways", both.pairs, note))
    note = times(found.cycles.comparisons, "comparison") if found.cycles.prompts else ""
    for circle in found.cycles.examples[:1]:
        note += f"; first: {join_rows(list(dict.fromkeys(map(name, circle))))}"
    lines.append(_count("prompts with a circle", found.cycles.prompts, note))
    for fault in (*TURN_FAULTS, *TEXT_FAULTS):
        if found.checks.counts[fault]:
            lines.append(_count(fault, found.checks.counts[fault], _some(found, fault)))
    return _section("What to look at", lines)


def _leaks(found: Inspection) -> Section:
    """What gives the label away, or the test set."""
    several = found.several_splits
    example = "".join(f"first: {found.rows.decode(a)} and {found.rows.decode(b)}" for a, b in several.examples[:1])
    both = Fact("prompts on both sides", f"{several.count:,}", example, "bad" if several.count else "good")
    both = both if several.count else Fact(both.label, "0", "of a split that the names of files tell", "")
    lines = [both]
    for fault in LEAKS:
        count, note = found.checks.counts[fault], _some(found, fault)
        if fault == HOLDS_OTHER and count:
            note += f"; the longer is preferred in {found.checks.holder_wins / count:.2f}"
        lines.append(_count(fault, count, note))
    grids = []
    if found.tells:
        rows = [(f"{t.place} {t.mark!r}", f"{t.count:,}", f"{t.preferred:.3f}") for t in found.tells[:MOST]]
        grids.append(Table("Words that one side alone has", ("words", "preferences", "preferred"), rows))
    lines.append(_count("words that tell the label", len(found.tells), "in a tenth of the preferences, 98% one way"))
    return _section("What gives the label away", lines, grids)


def _count(label: str, count: int, note: str) -> Fact:
    return Fact(label, f"{count:,}", note, "warn" if count else "good")


def _some(found: Inspection, fault: str) -> str:
    """Name the first rows of a fault."""
    named = found.checks.named(fault, found.rows.decode, 3)
    return f"first: {join_rows(named['rows'])}{', ...' if named['count'] > 3 else ''}" if named["rows"] else ""


def _lengths(found: Inspection) -> Section:
    unit = found.unit
    what = "tokens of the sequences that are scored" if unit == "tokens" else "words; give --tokenizer for tokens"
    chosen, rejected = found.side_means()
    share = found.bias.longer_wins
    lines = [
        Fact("counted in", unit, what),
        Fact("prompts", *_spread(found.prompt_lengths)),
        Fact("completions", *_spread(found.completion_lengths)),
    ]
    if not math.isnan(chosen):
        lines.append(Fact("preferred, other", f"{chosen:.1f}, {rejected:.1f}", "mean length, over preferences"))
    note = (
        f"95% interval {_interval(share)} over {share.n:,} preferences; {found.bias.equal:,} of equal length left out"
    )
    is_biased = share.low > 0.6 or share.high < 0.4
    lines.append(Fact("the longer wins", _number(share), note, "warn" if is_biased else ""))
    if 0 < found.first_wins.value < 1:
        note = f"95% interval {_interval(found.first_wins)}; of the two as they stand in their rows"
        lines.append(Fact("the first wins", _number(found.first_wins), note))
    charts = {"prompts": found.prompt_lengths, "completions": found.completion_lengths}
    return _section("Lengths", lines, [_histogram(name, unit, d) for name, d in charts.items() if d.n])


def _spread(lengths: Distribution) -> tuple[str, str]:
    """Return the median, and the rest as a note."""
    if not lengths.n:
        return "none", ""
    q = lengths.quantiles
    return f"{q['50%']:,}", f"median; 5% {q['5%']:,}, 95% {q['95%']:,}, 99% {q['99%']:,}, longest {q['max']:,}"


def _labels(found: Inspection) -> Section:
    rows: list[Sequence[Value | Cell]]
    rows = [(s.name, f"{s.comparisons:,}", f"{s.ties:,}", s.longer_wins) for s in found.sources[:MOST]]
    tables = [Table("Sources", ("source", "comparisons", "ties", "longer wins"), rows)]
    lines = [Fact("sources", f"{len(found.sources):,}", _cut(len(found.sources)))]
    unnamed = f"; {found.unnamed:,} comparisons name none" if found.annotators and found.unnamed else ""
    lines.append(Fact("annotators", f"{len(found.annotators):,}", (_cut(len(found.annotators)) + unnamed).strip("; ")))
    rows = [(name, f"{count:,}") for name, count in list(found.annotators.items())[:MOST]]
    tables.append(Table("Annotators", ("annotator", "comparisons"), rows))
    games = found.tally.games
    if games:
        lines.append(Fact("models", f"{len(games):,}", "authors of completions" + _cut(len(games), "; ")))
        rows = [(m, f"{n:,}", f"{found.tally.wins[m] / n:.2f}") for m, n in games.most_common(MOST)]
        tables.append(Table("Models", ("model", "comparisons", "share preferred"), rows))
    if found.tally.ratings:
        rated = ", ".join(f"{name} ({count:,})" for name, count in found.tally.ratings.most_common(MOST))
        lines.append(Fact("ratings", f"{len(found.tally.ratings):,}", rated))
    return _section("Where the labels come from", lines, [table for table in tables if table.rows])


def _cut(count: int, before: str = "") -> str:
    return f"{before}the {MOST} largest are shown" if count > MOST else ""


def _agreement(found: Inspection) -> Section:
    a = found.agreement
    if not a.units:
        lines = [Fact("pairs judged by several", "0", "so agreement is not known")]
        return _section("Agreement", lines + _soft_lines(a.soft_ceiling))
    who = f"{a.raters:,} named annotators" if a.raters else "no annotator is named: copies of one judgement raise it"
    level: Tone = "" if a.raters else "warn"
    lines = [Fact("pairs judged by several", f"{a.units:,}", f"{a.judgements:,} judgements; {who}", level)]
    for scale in LEVELS:
        note = f"95% interval {_interval(a.alpha[scale])}" if not math.isnan(a.alpha[scale].low) else ""
        lines.append(Fact(f"alpha, {scale}", _number(a.alpha[scale]), note))
    note = f"95% interval {_interval(a.agreement)}; chance that two judgements agree, ties left out"
    lines.append(Fact("agreement", _number(a.agreement), note))
    note = "highest accuracy against one rater if all pairs are equally hard; else between agreement and this"
    lines.append(Fact("ceiling by agreement", _number(a.ceiling), note))
    return _section("Agreement", lines + _soft_lines(a.soft_ceiling))


def _soft_lines(ceiling: Estimate) -> list[Fact]:
    if math.isnan(ceiling.value):
        return []
    note = f"95% interval {_interval(ceiling)}; mean share of the majority; too high where a label holds few votes"
    return [Fact("ceiling by soft labels", _number(ceiling), note)]


def _saving(found: Inspection) -> Section:
    saving = found.saving
    how = "exact" if saving.is_exact else "an estimate by characters; give --tokenizer for tokens"
    unit = saving.unit
    return _section(
        "What sharing prompts saves",
        [
            Fact("as pair rows", f"{saving.logical:,}", f"{unit}: both sequences of every comparison"),
            Fact("distinct", f"{saving.distinct:,}", f"{unit}: every prompt and completion once"),
            Fact("saving", "undefined" if math.isnan(saving.factor) else f"{saving.factor:.2f} x", how),
        ],
    )


def _number(estimate: Estimate) -> str:
    return "undefined" if math.isnan(estimate.value) else f"{estimate.value:.3f}"


def _interval(estimate: Estimate) -> str:
    return "none" if math.isnan(estimate.low) else f"[{estimate.low:.3f}, {estimate.high:.3f}]"
