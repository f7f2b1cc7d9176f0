"""Decide whether training on preference data would be wrong, and name the rows that say so. One pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from rewardsmith.blocks.html import render_blocks
from rewardsmith.blocks.kinds import FindingLine, Findings, Tone, Verdict
from rewardsmith.blocks.words import times
from rewardsmith.data.checks import faults as f
from rewardsmith.data.checks.faults import RowTally, make_finding
from rewardsmith.data.checks.inspection import Inspection, inspect_groups
from rewardsmith.data.formats import cells
from rewardsmith.data.loading import LAYOUT_REASONS, LoadReport, ReadOptions
from rewardsmith.data.sets import find
from rewardsmith.data.texts import as_sources, join_rows, locate, name_row
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.findings import Finding, Level, by_level
from rewardsmith.records import PreferenceGroup

Items = Iterator[tuple[str, PreferenceGroup]]
FEW_PREFERENCES = 100
# The longer answer wins in .51 to .77 of human data; see docs/data-check.md.
LONGER_WINS, SHORTER_WINS = 0.8, 0.35
MOST_TELLS = 3
# How a check of data says its levels: it knows nothing green, as a clean data set has no finding.
WORDS: dict[Level, str] = {"red": "error", "yellow": "warning", "green": "clean"}
_WHERE = re.compile(r".*?:row \d+|row \d+")


@dataclass(slots=True)
class RowReport(LoadReport):
    """A report that also keeps which rows were left out.

    Args:
        keep: rows kept for each reason.
        lost: reason to the names of the first rows.
        failures: (source, error) of files that could not be read to their end.
        name: turns the name of a row into the one to show.
        known_dirt: reasons under which the reader of a published data set leaves rows out on purpose.
    """

    keep: int = 1000
    lost: dict[str, list[str]] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    name: Callable[[str], str] = str
    known_dirt: set[str] = field(default_factory=set)

    def drop(self, error: Exception) -> None:
        """Count a row that is left out because of `error`, and keep its name."""
        LoadReport.drop(self, error)
        reason = getattr(error, "reason", "unusable row")
        rows = self.lost.setdefault(reason, [])
        match = _WHERE.match(str(error))
        if len(rows) < self.keep:
            rows.append(self.name(match[0] if match else self.where or "a row"))
        if self.readers and reason not in LAYOUT_REASONS:
            self.known_dirt.add(reason)


@dataclass(frozen=True, slots=True, repr=False)
class Check:
    """What was found.

    Args:
        findings: errors first, then warnings, the larger share first.
    """

    findings: list[Finding]
    inspection: Inspection
    report: RowReport

    @property
    def num_errors(self) -> int:
        """How many kinds of faults make training wrong."""
        return sum(finding.level == "red" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The conclusion in one line."""
        errors, warnings = self.num_errors, len(self.findings) - self.num_errors
        verdict = "training on this would be wrong" if errors else "nothing that makes training wrong"
        return f"{times(errors, 'error')}, {times(warnings, 'warning')}: {verdict}"

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __repr__(self) -> str:
        return f"<check: {self.verdict}>"

    def _repr_html_(self) -> str:
        lines = []
        for found in self.findings:
            count = f" ({found.count:,} of {found.total:,} {found.unit})" if (found.total or 0) > 1 else ""
            rows = f"; {join_rows(found.rows[:5])}" if found.rows else ""
            lines.append(FindingLine(found.level, f"{found.check}{count}: {found.message}", f"{found.remedy}{rows}"))
        tone: Tone = "bad" if self.num_errors else "warn" if self.findings else "good"
        return render_blocks([Verdict(self.verdict, tone), Findings(lines)])

    def to_dict(self, num_rows: int | None = None) -> dict[str, Any]:
        """Return the plain form for JSON, with at most so many rows a finding."""
        return {
            "verdict": "errors" if self.num_errors else "warnings" if self.findings else "clean",
            "rows_read": self.report.rows,
            "rows_left_out": self.report.dropped.total(),
            "comparisons": self.inspection.comparisons,
            "ties": self.inspection.ties,
            "reader": self.report.reader,
            "notes": list(dict.fromkeys(self.report.notes)),
            "findings": [to_plain(finding, num_rows) for finding in self.findings],
        }


def to_plain(finding: Finding, num_rows: int | None = None) -> dict[str, Any]:
    """Return a finding as `data check --json` writes it: "error" for red, "warning" for yellow."""
    return {
        "kind": finding.check,
        "level": WORDS[finding.level],
        "count": finding.count,
        "of": finding.total,
        "unit": finding.unit,
        "meaning": finding.message,
        "remedy": finding.remedy,
        "rows": list(finding.rows[:num_rows]),
    }


def check(data: object, test: object = None, *, keep: int = 1000, **options: Unpack[ReadOptions]) -> Check:
    """Say whether training on preference data would be wrong, and which rows say so.

    Args:
        data: what `load_preferences` takes, or a list of paths.
        test: test data of the same: a prompt of theirs in `data` is an error.
        keep: rows named for each fault; all are counted.
        options: of `iter_preferences`: reader, split, limit.

    Raises:
        DataError: a source is missing. What is wrong inside a file is a finding.

    Example:
        >>> check([{"prompt": "2+2?", "chosen": "4", "rejected": "4"}])
        <check: 1 error, 1 warning: training on this would be wrong>
    """
    return check_preferences(as_sources(data), () if test is None else as_sources(test), keep, **options)


def check_preferences(
    sources: Sequence[Any],
    tests: Sequence[Any] = (),
    keep: int = 1000,
    watch: Callable[[Items], Iterable[tuple[str, PreferenceGroup]]] = iter,
    **options: Unpack[ReadOptions],
) -> Check:
    """Read everything once and say what is wrong. Rows stream; see `checks.agreement` for what is held.

    Args:
        sources: paths, hub ids or lists of rows.
        tests: test data of the same: a prompt of theirs in `sources` is an error. Without them the names of files
            tell the splits apart (train.jsonl, test.jsonl).
        keep: rows named for each fault; all are counted.
        watch: wraps the groups as they pass, for a progress bar.
        options: of `iter_preferences`: reader, split, limit.

    Raises:
        DataError: a source is missing, or a folder whose split is to be named. What is wrong inside a
            file is a finding.

    Example:
        >>> row = {"prompt": "2+2?", "chosen": "4", "rejected": "4"}
        >>> [finding.check for finding in check_preferences([[row]]).findings]
        ['nothing to learn', 'identical sides']
    """
    if keep < 1:
        raise ConfigError(f"keep must be 1 or more, not {keep}")
    report, tally = RowReport(keep=keep), RowTally(keep)
    named = [(source, "train" if tests else None) for source in sources] + [(source, "test") for source in tests]
    inspection = inspect_groups(watch(_read(named, report, tally, options)), checks=tally)
    found = [
        *_unreadable(report),
        *_nothing(inspection, report),
        *_labels(inspection),
        *_rows(inspection),
        *_leaks(inspection),
    ]
    return Check(by_level(found), inspection, report)


def _read(named: Sequence[tuple[Any, str | None]], report: RowReport, tally: RowTally, options: ReadOptions) -> Items:
    """Read the sources one after the other; one that breaks off is noted and the next is read."""
    counting: ReadOptions = {**options, "on_error": "count"}
    for source, split in named:
        tally.split = split
        report.name = (lambda where, source=source: name_row(source, where)) if len(named) > 1 else str  # type: ignore[misc]
        read_before = report.rows
        try:
            for where, group in locate(source, report, **counting):
                yield report.name(where), group
        except DataError as error:
            # A missing file and a folder of several splits are questions to the user, not faults of the data.
            if report.rows == read_before and not Path(str(source)).is_file():
                raise
            report.failures.append((str(source), str(error)))


def _unreadable(report: RowReport) -> Iterator[Finding]:
    """Name files that break off and rows that cannot be read."""
    for source, message in report.failures:
        finding = make_finding(f.UNREADABLE_FILE, 1, 1, "file", [source])
        yield replace(finding, message=message)
    for reason, count in report.dropped.most_common():
        is_known = reason in report.known_dirt
        message = f"first: {report.examples[reason]}"
        remedy = "the reader of this data set leaves them out" if is_known else "repair or remove these rows"
        level: Level = "yellow" if is_known else "red"
        yield Finding(level, f"unreadable: {reason}", message, remedy, count, report.rows, "rows", report.lost[reason])


def _nothing(found: Inspection, report: RowReport) -> Iterator[Finding]:
    """Say so when no comparison prefers a side, and where a data set keeps its preferences."""
    if found.comparisons > found.ties or (report.failures and not report.rows):
        return
    finding = make_finding(f.NOTHING, 1, 1, "data set")
    if not report.rows:
        finding = replace(finding, message="no rows")
    elif found.comparisons:
        finding = replace(finding, message=f"ties alone: {found.comparisons:,} of {found.comparisons:,} comparisons")
    elif found.tally.rows:
        finding = replace(finding, message=f"no comparison in any of the {found.tally.rows:,} rows")
        if found.tally.ratings:
            rated = ", ".join(list(found.tally.ratings)[:8])
            remedy = "preferences come from ratings when a row holds completions with scores"
            finding = replace(finding, message=f"{finding.message}, but ratings: {rated}", remedy=remedy)
    variants = [f"{name}:{variant}" for name in report.readers for variant in find(name)[0].variants]
    if variants:
        finding = replace(finding, remedy=f"choose what is preferred: --reader {' or '.join(variants[:8])}")
    yield finding


def _labels(found: Inspection) -> Iterator[Finding]:
    """Look at the judgements as a whole."""
    strict = found.comparisons - found.ties
    name = found.rows.decode

    def names(rows: Iterable[int]) -> list[str]:
        return [name(row) for row in list(dict.fromkeys(rows))[: found.checks.keep]]

    if strict and strict < FEW_PREFERENCES:
        finding = make_finding(f.FEW, 1, 1, "data set")
        yield replace(finding, message=f"{strict:,} preference{'' if strict == 1 else 's'}; {finding.message}")
    both = found.contradictions
    if both.by_one:
        yield make_finding(f.BOTH_WAYS, both.by_one, strict, "preferences", names(both.rows_by_one.tolist()))
    if found.duplicates.count:
        rows = names(found.duplicates.rows.tolist())
        yield make_finding(f.REPEATED, found.duplicates.count, found.comparisons, "comparisons", rows)
    if found.cycles.prompts:
        yield make_finding(f.CIRCLE, found.cycles.prompts, found.prompts, "prompts", names(found.cycles.rows.tolist()))
    cut = found.checks.lengths.cut()
    if cut is not None:
        finding = make_finding(f.CUT, cut.count, cut.total, "answers")
        yield replace(finding, message=f"exactly {cut.length:,} {cut.unit}, the longest there are: {finding.message}")
    share = found.bias.longer_wins
    if share.n >= FEW_PREFERENCES and (share.low > LONGER_WINS or share.high < SHORTER_WINS):
        kind = f.LENGTH if share.low > LONGER_WINS else f.SHORTER
        count = round(share.value * share.n)
        yield make_finding(kind, count if kind == f.LENGTH else share.n - count, share.n, "preferences")


def _rows(found: Inspection) -> Iterator[Finding]:
    """Look at what single rows show."""
    tally, total = found.checks, found.tally.rows
    partly = (f.NO_PROMPT, f.NO_COMPARISON)
    kinds = [
        *(f.IDENTICAL, f.EMPTY, f.EMPTY_WINS, *partly, f.WEIGHTLESS, f.NEGATIVE_MARGIN),
        *(f.AGAINST_SCORES, *f.LEAKS, *f.TEXT_FAULTS),
        *(cells.EMPTY, cells.NO_ALTERNATION, cells.FIRST, cells.LAST, cells.LATE_SYSTEM, cells.STRAY_TOOL),
    ]
    for kind in kinds:
        count = tally.counts[kind]
        if not count or (kind in partly and count == total):
            continue
        per_row = kind not in f.PER_COMPARISON
        size, unit = (total, "rows") if per_row else (found.comparisons + found.tally.unweighted, "comparisons")
        if kind == f.AGAINST_SCORES:
            size, unit = tally.counts[f.SCORED], "comparisons with scores"
        finding = make_finding(kind, count, size, unit, _kept(found, kind))
        if kind == f.HOLDS_OTHER:
            share = f"; the longer is preferred in {tally.holder_wins / count:.2f}"
            finding = replace(finding, message=finding.message + share)
        yield finding
    forms = {form: tally.counts[form] for form in (f.AS_TEXT, f.AS_MESSAGES)}
    if all(forms.values()):
        fewer = min(forms, key=lambda form: forms[form])
        finding = make_finding(f.MIXED, forms[fewer], total, "rows", _kept(found, fewer))
        yield replace(finding, message=f"these are {fewer}, the others not: {finding.message}")


def _kept(found: Inspection, kind: str) -> list[str]:
    return [found.rows.decode(row) for row in found.checks.rows.get(kind, ())]


def _leaks(found: Inspection) -> Iterator[Finding]:
    """Look at prompts on two sides and at words that decide."""
    shared = found.several_splits
    if shared.count:
        rows = [found.rows.decode(row) for row in shared.rows[: found.checks.keep]]
        yield make_finding(f.ON_BOTH_SIDES, shared.count, found.prompts, "prompts", rows)
    for tell in found.tells[:MOST_TELLS]:
        total = found.checks.preferences
        # A bracketed mark comes from a tool; a plain word may be what the labels are about ("Yes" against "No").
        is_error = tell.count >= total / 2 and not tell.mark[0].isalnum() and not tell.mark[-1].isalnum()
        what = f"an answer that {tell.place} {tell.mark!r} and faces one that does not is preferred in"
        message = f"{what} {tell.preferred:.2f}: a model can learn this word alone"
        remedy = "remove it from both sides, unless it is what should be learnt"
        yield Finding("red" if is_error else "yellow", f.TELL, message, remedy, tell.count, total, "preferences")
