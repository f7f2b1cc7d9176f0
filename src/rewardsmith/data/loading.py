"""Load preference data from wherever it lies: files, folders, the hub, lists of rows, `datasets`.

Nothing is dropped uncounted: the result carries a report of the rows read and of those left out, by reason.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, overload

from rewardsmith.data import detecting
from rewardsmith.data.columns import Columns, map_columns
from rewardsmith.data.detecting import plan_row, read_rows
from rewardsmith.data.formats import FORMATS
from rewardsmith.data.formats.cells import find_group_faults
from rewardsmith.data.formats.format import RATED, data_frame
from rewardsmith.data.formats.pairs import to_trl_rows
from rewardsmith.data.formats.rankings import LEFT_OUT
from rewardsmith.data.formats.rated import join_rated, rows_follow
from rewardsmith.data.merging import deduplicate, merge_groups, with_score_margins
from rewardsmith.data.opening import open_rows, read_groups
from rewardsmith.data.sets import find
from rewardsmith.errors import ConfigError, DataError, RowError, require_known
from rewardsmith.files.tables import read_hub, rows_of_frame
from rewardsmith.records import PreferenceGroup

OnError = Literal["raise", "count"]
ScoreMargin = float | Mapping[str, float]
# Reasons that say a row is not of the layout its reader knows; every other reason is dirt of the published set.
LAYOUT_REASONS = ("missing column", "wrong type", "unknown columns", "unusable row")


@dataclass(slots=True)
class LoadReport:
    """What was read and what was left out.

    Args:
        rows: rows read, the dropped ones included.
        groups: groups that came of them.
        comparisons: comparisons in these groups.
        dropped: reason to number of rows left out.
        examples: reason to the first error of that kind, which names file and row.
        readers: the data sets of the catalogue whose readers were used, named or chosen by the columns.
        answers_left_out: reason to number of single answers left out of rows that were read.
        warnings: fault of a conversation to the number of groups that have it; they are kept (see `roles`).
        notes: what the user should know about the choice of the reader.
        where: the row that was read last, like "pairs.jsonl:row 12"; "" before the first.
    """

    rows: int = 0
    groups: int = 0
    comparisons: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    readers: list[str] = field(default_factory=list)
    answers_left_out: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    where: str = ""

    @property
    def reader(self) -> str | None:
        """The reader that was used, None when general formats read all rows; several are joined by "+"."""
        return "+".join(dict.fromkeys(self.readers)) or None

    def drop(self, error: Exception) -> None:
        """Count a row that is left out because of `error`."""
        reason = getattr(error, "reason", "unusable row")
        self.dropped[reason] += 1
        self.examples.setdefault(reason, str(error))

    def lines(self) -> list[str]:
        """Return one line for the reader that was used, each note, and each reason of dropped rows with the first."""
        lines = [f"read as {self.reader}"] if self.reader else []
        lines += [f"note: {note}" for note in dict.fromkeys(self.notes)]
        drops = self.dropped.items()
        lines += [f"left out {n} single answers ({reason})" for reason, n in self.answers_left_out.items()]
        return lines + [f"dropped {count} ({reason}), first: {self.examples[reason]}" for reason, count in drops]

    def __str__(self) -> str:
        text = f"{self.rows} rows, {self.groups} groups, {self.comparisons} comparisons"
        if self.dropped:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in self.dropped.most_common())
            text += f"; dropped {sum(self.dropped.values())} ({reasons})"
        if self.answers_left_out:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in self.answers_left_out.most_common())
            text += f"; left out {sum(self.answers_left_out.values())} single answers ({reasons})"
        if self.readers:
            text += f"; reader {self.reader}"
        return text


class PreferenceSet(Sequence[PreferenceGroup]):
    """A sequence of groups with the report of how they were read. Slices share the report."""

    def __init__(self, groups: Iterable[PreferenceGroup], report: LoadReport) -> None:
        self.groups = list(groups)
        self.report = report

    @overload
    def __getitem__(self, index: int) -> PreferenceGroup: ...
    @overload
    def __getitem__(self, index: slice) -> PreferenceSet: ...
    def __getitem__(self, index: int | slice) -> PreferenceGroup | PreferenceSet:
        if isinstance(index, slice):
            return PreferenceSet(self.groups[index], self.report)
        return self.groups[index]

    def __len__(self) -> int:
        return len(self.groups)

    def __repr__(self) -> str:
        return f"PreferenceSet({self.report})"

    def to_pandas(self) -> Any:
        """Return a DataFrame with a row a comparison: prompt, chosen, rejected and what the comparison says besides.

        `load_preferences` reads it back to the same comparisons. Groups without a comparison are not in it.
        """
        return data_frame(row for group in self.groups for row in to_trl_rows(group))


class ReadOptions(TypedDict, total=False):
    """How rows are read; every one may be left out.

    Args:
        reader: a data set of the catalogue (`rewardsmith data list`), perhaps with a variant ("summeval:fluency"),
            or a row format such as "ranking"; None chooses the data set from the columns of the first row, or else
            the format from the columns of each row. The report says which reader was chosen.
        split: which split of a folder or hub data set ("train" on the hub when None).
        limit: read at most so many groups, counted before merging.
        on_error: "raise" stops at the first bad row; "count" leaves it out and counts it in the report. Rows that
            are known to be dirty in a published data set are always left out and counted.
        columns: which of the file's columns is what, such as {"question": "prompt"} or {"answer_a": "left", "answer_b":
            "right", "winner": "vote"}; see `rewardsmith.data.columns`. A list reads these columns alone.
        score_margin: scores give the order of answers; with this factor, the difference of two scores is their margin
            as well, in units of the reward. {"helpfulness": 0.5} names the rating where there are several.
    """

    reader: str | None
    split: str | None
    limit: int | None
    on_error: OnError
    columns: Columns | None
    score_margin: ScoreMargin | None


def load_preferences(source: object, *, merge_prompts: bool = True, **options: Unpack[ReadOptions]) -> PreferenceSet:
    """Load preference data into memory.

    Args:
        source: a path, a list of paths, a hub id ("owner/name"), a list of rows or groups, a pandas DataFrame, or a
            `datasets.Dataset`.
        merge_prompts: merge the groups of one prompt into one graph.
        options: reader, split, limit, on_error, columns and score_margin, as `ReadOptions` describes them.

    Raises:
        DataError: a row, file or data set cannot be used; the message names it and says what to do.

    Example:
        >>> data = load_preferences([{"prompt": "2+2?", "chosen": "4", "rejected": "5"}])
        >>> len(data), data.report.rows
        (1, 1)
    """
    report = LoadReport()
    lazy = _iterate(source, report, options, whole=True)
    groups = merge_groups(lazy) if merge_prompts else list(lazy)
    report.groups = len(groups)
    return PreferenceSet(groups, report)


def iter_preferences(
    source: object, *, report: LoadReport | None = None, **options: Unpack[ReadOptions]
) -> Iterator[PreferenceGroup]:
    """Return groups one by one, in order, without merging prompts; memory does not grow with the data.

    Rated answers are joined by prompt, one prompt at a time where a first pass over a file finds that rows follow each
    other, else in memory. Arguments are those of `load_preferences`; `report` is filled while reading.
    """
    return _iterate(source, LoadReport() if report is None else report, options, whole=False)


def _iterate(source: object, report: LoadReport, options: ReadOptions, whole: bool) -> Iterator[PreferenceGroup]:
    require_known("reading preferences", options, ReadOptions.__annotations__)
    on_error, margin = options.get("on_error", "raise"), options.get("score_margin")
    if on_error not in ("raise", "count"):
        raise ConfigError(f"on_error must be 'raise' or 'count', not {on_error!r}")
    request = _Request(
        options.get("reader"), options.get("split"), on_error == "count", report, options.get("columns"), margin
    )
    groups = _with_joined(source, request, whole)
    if margin is not None:
        groups = (with_score_margins(group, margin) for group in groups)
    return _counted(itertools.islice(groups, options.get("limit")), report)


def _with_joined(source: object, request: _Request, whole: bool) -> Iterator[PreferenceGroup]:
    """Yield groups, from the first rated row on those of one prompt as one; `whole` holds all rated rows."""
    groups = _read_source(source, request)
    for group in groups:
        if RATED in group.metadata:
            rereads = not isinstance(source, Iterator) and not (isinstance(source, str) and not _is_path(Path(source)))
            streams = not whole and (not rereads or rows_follow(_read_source(source, request.quiet())))
            yield from join_rated(itertools.chain([group], groups), streams, request.report.notes.append)
        else:
            yield group


@dataclass(frozen=True, slots=True)
class _Request:
    """How to read, whatever the kind of source."""

    reader: str | None
    split: str | None
    counts_errors: bool
    report: LoadReport
    columns: Columns | None = None
    score_margin: ScoreMargin | None = None

    def quiet(self) -> _Request:
        """Return the same with a report of its own, which counts errors."""
        return replace(self, counts_errors=True, report=LoadReport())

    def left_out(self, error: DataError) -> None:
        """Count the error of a row, or raise it."""
        if not self.counts_errors:
            raise error
        self.report.drop(error)

    def broken(self, error: RowError) -> None:
        """Count, or raise, the error of a row that its file cannot even hand out."""
        self.left_out(error)
        self.report.rows += 1


def _counted(groups: Iterable[PreferenceGroup], report: LoadReport) -> Iterator[PreferenceGroup]:
    """Count groups and comparisons as they pass."""
    for group in groups:
        report.groups += 1
        report.comparisons += len(group.comparisons)
        yield group


def _read_source(source: Any, request: _Request) -> Iterator[PreferenceGroup]:
    """Choose how to read by the kind of source."""
    if isinstance(source, str | Path):
        return _read_path(source, request)
    if isinstance(source, Mapping):
        raise DataError(f"the source holds the splits {', '.join(map(str, source))}; give one of them")
    if isinstance(source, PreferenceSet):
        return _parse_rows(((f"row {index}", group) for index, group in enumerate(source)), request, None)
    if isinstance(source, Sequence) and source and all(isinstance(item, str | Path) for item in source):
        return itertools.chain.from_iterable(_read_path(item, request) for item in source)
    source = rows_of_frame(source)
    if isinstance(source, Iterable):
        rows: Iterator[tuple[str, Any]] = ((f"row {index}", row) for index, row in enumerate(source))
        if request.columns is not None:
            return _read_named(map_columns(rows, request.columns, request.broken), request)
        return _read_unnamed(rows, request, None) if request.reader is None else _read_named(rows, request)
    raise DataError(f"cannot read preferences from {type(source).__name__}; give a path, a hub id, rows or a Dataset")


def _read_path(source: str | Path, request: _Request) -> Iterator[PreferenceGroup]:
    """Read a path or a hub id, with a reader of the catalogue or by rows."""
    path = Path(source)
    is_path = source != "" and _is_path(path)
    if request.columns is not None:
        found: Iterator[tuple[str, Any]] = (
            read_rows(path, split=request.split, on_broken=request.broken)
            if is_path
            else read_hub(str(source), request.split)
        )
        title = path.stem.split(".")[0] if is_path else str(source)
        yield from _read_named(map_columns(found, request.columns, request.broken), request, title)
        return
    name = request.reader
    if name is None:
        by_columns = detecting.choose_for_path(path, request.split) if is_path else None
        name = by_columns or (detecting.find_copy(path) if is_path else detecting.find_name(str(source)))
    if name is not None and name not in FORMATS:
        entry, _ = find(name)
        place = path if is_path else str(source)
        published = open_rows(entry, place, request.split, request.broken, request.report.notes)
        yield from _read_published(name, published, request)
        return
    if is_path:
        rows = read_rows(path, split=request.split, on_broken=request.broken)
        yield from _parse_hinted(rows, request, path.stem.split(".")[0])
    elif name is None:
        yield from _read_unnamed(read_hub(str(source), request.split), request, str(source))
    else:
        yield from _parse_rows(read_hub(str(source), request.split), request, str(source))


def _is_path(path: Path) -> bool:
    """Whether something lies at a path; text that cannot be a path is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _read_named(
    rows: Iterable[tuple[str, Any]], request: _Request, source: str | None = None
) -> Iterator[PreferenceGroup]:
    """Read rows with the format or the data set that is named, or by their columns where none is."""
    if request.reader is None or request.reader in FORMATS:
        return _parse_rows(rows, request, source)
    unfold = find(request.reader)[0].unfold
    return _read_published(request.reader, unfold(rows) if unfold else rows, request)


def _read_unnamed(rows: Iterator[tuple[str, Any]], request: _Request, source: str | None) -> Iterator[PreferenceGroup]:
    """Choose the data set by the columns of the first row; the general formats read what is of none."""
    first = list(itertools.islice(rows, 1))
    rows = itertools.chain(first, rows)
    name = detecting.choose(first[0][1]) if first and isinstance(first[0][1], Mapping) else None
    if name is None:
        yield from _parse_hinted(rows, request, source)
        return
    unfold = find(name)[0].unfold
    yield from _read_published(name, unfold(rows) if unfold else rows, request)


def _read_published(name: str, rows: Iterable[tuple[str, Any]], request: _Request) -> Iterator[PreferenceGroup]:
    """Read rows with a data set's own reader.

    Rows that are dirty in the published set are always left out and counted; only rows that are not of its layout
    are errors, and a set of which nothing remains.
    """
    report = request.report
    report.readers.append(name)
    entry, read = find(name)
    num_groups = 0
    for item in read_groups(entry, read, _count_rows(rows, report)):
        if isinstance(item, RowError):
            if item.reason in LAYOUT_REASONS:
                request.left_out(item)
            else:
                report.drop(item)
            continue
        num_groups += 1
        if not item.where:
            object.__setattr__(item, "where", report.where)
        yield item
    if not num_groups and report.dropped and not request.counts_errors:
        raise DataError(f"reader {name!r} left out every row ({report}); first: {next(iter(report.examples.values()))}")


def _count_rows(rows: Iterable[tuple[str, Any]], report: LoadReport) -> Iterator[tuple[str, Any]]:
    for where, row in rows:
        report.rows += 1
        report.where = where
        yield where, row


def _parse_hinted(rows: Iterator[tuple[str, Any]], request: _Request, source: str | None) -> Iterator[PreferenceGroup]:
    """Parse rows; note in the report which reader would make more of them."""
    first = list(itertools.islice(rows, 1))
    hint = detecting.find_hint(first[0][1]) if first and isinstance(first[0][1], Mapping) else None
    if hint and request.reader is None:
        request.report.notes.append(hint)
    return _parse_rows(itertools.chain(first, rows), request, source)


def _parse_rows(rows: Iterable[tuple[str, Any]], request: _Request, source: str | None) -> Iterator[PreferenceGroup]:
    """Parse rows by a general format; groups that are handed in pass as they are."""
    last, seen = None, set[str]()
    for where, row in _count_rows(rows, request.report):
        if isinstance(row, PreferenceGroup):
            yield deduplicate(row)
            continue
        try:
            plan = plan_row(row, where, request.reader)
            group = plan.read(row, where)
        except DataError as error:
            request.left_out(error)
            continue
        if plan is not last:
            request.report.notes += [note for note in plan.notes if note not in request.report.notes]
            last = plan
        if new := [column for column in group.metadata if column not in seen]:
            seen.update(new)
            if unread := [column for column in detecting.unread_columns(row, group, plan) if column in new]:
                request.report.notes.append(detecting.unread_note(group, unread))
        if group.source is None and source is not None:
            object.__setattr__(group, "source", source)
        request.report.answers_left_out.update(group.metadata.get(LEFT_OUT, {}).values())
        request.report.warnings.update(find_group_faults(group))
        yield group
