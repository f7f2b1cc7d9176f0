"""Rows that are read one by one, from any place among them: files larger than memory, or an IterableDataset.

A stream is a file of groups: `read` goes on from a place, `tell` says the place behind the row that was read last. A
place is plain JSON, so that a checkpoint can hold it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
from torch.utils.data import IterableDataset

from rewardsmith.data.columns import Columns
from rewardsmith.data.detecting import choose_for_path, find_copy, parse_row
from rewardsmith.data.formats import FORMATS
from rewardsmith.data.formats.format import RATED
from rewardsmith.data.loading import LoadReport, ScoreMargin, iter_preferences
from rewardsmith.data.merging import with_score_margins
from rewardsmith.errors import ConfigError, DataError, RowError
from rewardsmith.files.reading import choose_split, data_files, read_rows, row_number
from rewardsmith.records import PreferenceGroup

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from rewardsmith.training.encoding import Encoder, EncodingReport

logger = logging.getLogger(__name__)

Place = Mapping[str, Any]
# A stream whose rows are all of another layout should not be read to its end before it says so.
LOOKED_AT = 1000
# Rows that tell what a file holds.
FIRST_ROWS = 20


class RowStream(ABC):
    """Rows or groups that can be read from any place among them, in the same order every time."""

    @abstractmethod
    def read(self, place: Place, epoch: int, report: LoadReport) -> Iterator[tuple[str, object]]:
        """Yield (where, row or group) from a place on; {} is the beginning. Rows left out are counted in `report`."""

    @abstractmethod
    def tell(self) -> dict[str, Any]:
        """Return the place behind the row that was yielded last."""

    def fingerprint(self) -> str | None:
        """Return what the rows can be told by without reading them; None where nothing tells."""
        return None

    def sample(self, count: int) -> list[PreferenceGroup]:
        """Return the first groups that can be read."""
        found = []
        for where, row in islice(self.read({}, 0, LoadReport()), count):
            # What cannot be read is counted where it is trained on.
            with suppress(DataError):
                group = row if isinstance(row, PreferenceGroup) else parse_row(row, where)  # type: ignore[arg-type]
                # The columns that are not read may be most of the row.
                found.append(replace(group, metadata={}))
        return found


class FileStream(RowStream):
    """Preference data in a file, or in the files of a folder, in any format that `load_preferences` reads.

    Lines of a file are skipped, not parsed, where reading goes on; rows of a published data set with a reader of its
    own, those whose columns are named, and rated answers are read again up to the place.

    Args:
        path: a file or folder.
        split: which files of a folder.
        reader: a format or data set, as of `load_preferences`.
        columns: which column is what.
        score_margin: makes margins of scores.

    Raises:
        DataError: nothing is there, or no file of a known kind.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = None,
        reader: str | None = None,
        columns: Columns | None = None,
        score_margin: ScoreMargin | None = None,
    ) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise DataError(f"{path}: no such file or folder; a stream of the hub is load_dataset(..., streaming=True)")
        self.split, self.columns, self.score_margin = split, columns, score_margin
        saved = any((self.path / name).exists() for name in ("dataset_dict.json", "state.json"))
        found = reader or choose_for_path(self.path, split) or find_copy(self.path)
        self.reader = found
        by_row = columns is None and not saved and (found is None or found in FORMATS)
        # Rated answers are joined by prompt before they compare anything.
        self._by_row = by_row and not _holds_rated(self.path, split, reader)
        whole = [self.path] if self.path.is_file() else data_files(self.path)
        self.files = whole if self.path.is_file() or not self._by_row else choose_split(self.path, whole, split)
        self._place: dict[str, Any] = {}

    def read(self, place: Place, epoch: int, report: LoadReport) -> Iterator[tuple[str, object]]:
        """Yield (where, group)."""
        groups = self._read_rows(place, report) if self._by_row else self._read_groups(place, report)
        for where, group in groups:
            if self.score_margin is not None and self._by_row:
                group = with_score_margins(group, self.score_margin)
            yield where, group

    def _read_rows(self, place: Place, report: LoadReport) -> Iterator[tuple[str, PreferenceGroup]]:
        def broken(error: RowError) -> None:
            report.rows += 1
            report.drop(error)

        for number in range(place.get("file", 0), len(self.files)):
            skip = place.get("row", 0) if number == place.get("file", 0) else 0
            self._place = {"file": number, "row": skip}
            for where, row in read_rows(self.files[number], on_broken=broken, skip=skip):
                self._place = {"file": number, "row": row_number(where)}
                report.rows += 1
                try:
                    group = parse_row(row, where, self.reader)
                except DataError as error:
                    report.drop(error)
                    continue
                yield where, group

    def _read_groups(self, place: Place, report: LoadReport) -> Iterator[tuple[str, PreferenceGroup]]:
        found = LoadReport()
        options = {"reader": self.reader, "columns": self.columns, "score_margin": self.score_margin}
        groups = iter_preferences(self.path, split=self.split, on_error="count", report=found, **options)  # type: ignore[arg-type]
        done = place.get("groups", 0)
        self._place = {"groups": done}
        for _ in islice(groups, done):
            pass
        found.rows = 0
        found.dropped.clear()
        for number, group in enumerate(groups, done + 1):
            self._place = {"groups": number}
            _move_counts(found, report)
            yield found.where, group
        _move_counts(found, report)

    def tell(self) -> dict[str, Any]:
        """Return the file and row, or the number of groups."""
        return dict(self._place)

    def fingerprint(self) -> str | None:
        """Return a digest of the names and sizes of the files; reading them would take as long as training."""
        sizes = [(path.name, path.stat().st_size) for path in self.files]
        return hashlib.sha256(json.dumps([sizes, self.split, self.reader]).encode()).hexdigest()


def _holds_rated(path: Path, split: str | None, reader: str | None) -> bool:
    """Whether one of the first rows is a single rated answer."""
    with suppress(DataError):
        for where, row in islice(read_rows(path, split=split, on_broken=lambda error: None), FIRST_ROWS):
            with suppress(DataError):
                return RATED in parse_row(row, where, reader).metadata
    return False


class DatasetStream(RowStream):
    """The rows of a `datasets.IterableDataset`, of torch's, or of any iterable that begins anew for every epoch.

    Args:
        rows: gives the same rows in the same order whenever it is iterated in the same epoch.
        name: stands in messages.

    Raises:
        ConfigError: it was split by process already.
    """

    def __init__(self, rows: Iterable[object], name: str = "train") -> None:
        if getattr(rows, "_distributed", None) is not None:
            raise ConfigError(
                f"{name}: the stream was split by split_dataset_by_node; pass the whole stream, whose steps are dealt "
                "to the processes by tokens"
            )
        self.rows, self.name = rows, name
        self._count = 0
        self._own_state: object = None

    def read(self, place: Place, epoch: int, report: LoadReport) -> Iterator[tuple[str, object]]:
        """Yield (where, row). Rows up to the place are skipped by the data set itself where it can, or else read."""
        rows, self._count = self.rows, place.get("rows", 0)
        if hasattr(rows, "set_epoch"):
            rows.set_epoch(epoch)
        state = place.get("state")
        if state is not None:
            rows.load_state_dict(state)  # type: ignore[attr-defined]
        iterator = iter(rows)
        if state is None:
            for _ in islice(iterator, self._count):
                pass
        for row in iterator:
            if isinstance(rows, datasets.IterableDataset):
                # Whoever iterates it next begins at the beginning.
                rows._starting_state_dict = None
                self._own_state = rows._state_dict
            where = f"{self.name} row {self._count}"
            self._count += 1
            report.rows += 1
            yield where, row

    def tell(self) -> dict[str, Any]:
        """Return how many rows were read, and the data set's own state where it is exact."""
        rows = self.rows
        # A second iteration of the same data set takes its state over.
        is_ours = isinstance(rows, datasets.IterableDataset) and rows._state_dict is self._own_state
        if not isinstance(rows, datasets.IterableDataset) or not is_ours or not _tells_exactly(rows):
            return {"rows": self._count}
        return {"rows": self._count, "state": rows.state_dict()}


def _tells_exactly(rows: datasets.IterableDataset) -> bool:
    """Whether the state of a data set leads back to the row: a shuffle buffer of its own is lost, formats skip rows."""
    parts: list[object] = [rows._ex_iterable]
    while parts:
        part = parts.pop()
        if "Shuffled" in type(part).__name__ or "Rebatched" in type(part).__name__:
            return False
        parts += [inner for inner in [getattr(part, "ex_iterable", None)] if inner is not None]
        parts += list(getattr(part, "ex_iterables", []))
    return rows._formatting is None


class EncodedStream(IterableDataset[dict[str, Any]]):
    """Groups of a stream as token ids, encoded while they are read, and counted.

    Rows that cannot be used are left out and counted by reason; the report names the first of each.

    Args:
        rows: where they come from.
        encoder: turns a group into token ids; None for rows that hold them.
        name: stands in messages ("train", "eval").
        report: counts what is read for training.
    """

    def __init__(self, rows: RowStream, encoder: Encoder | None, name: str, report: EncodingReport) -> None:
        self.rows, self.encoder, self.name, self.report = rows, encoder, name, report

    @property
    def column_names(self) -> list[str]:
        """The columns of an encoded group."""
        return ["ids", "better", "worse", "is_tie", "margin", "weight", "probability", "tie_share"]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield all groups from the beginning, without counting them again."""
        return self.read({}, 0, type(self.report)())

    def read(self, place: Place, epoch: int, report: EncodingReport | None = None) -> Iterator[dict[str, Any]]:
        """Yield the groups from a place on.

        Raises:
            DataError: none of the first thousand rows can be used; the first error is named.
        """
        report = self.report if report is None else report
        found = LoadReport()
        for where, row in self.rows.read(place, epoch, found):
            try:
                encoded = self._encode(where, row, report)
            except DataError as error:
                found.drop(error)
                encoded = None
            for reason in found.examples.keys() - report.first.keys():
                logger.warning("%s: a row is left out: %s", self.name, found.examples[reason])
            _move_counts(found, report)
            if encoded is not None:
                report.groups += 1
                report.comparisons += len(encoded["better"])
                yield encoded
            elif not report.groups and report.rows >= LOOKED_AT:
                raise DataError(f"{self.name}: nothing can be used of the first {report.rows} rows ({report})")
        _move_counts(found, report)
        if not report.groups:
            raise DataError(f"{self.name}: no rows are left ({report}); check the data and max_length")

    def _encode(self, where: str, row: object, report: EncodingReport) -> dict[str, Any] | None:
        if self.encoder is None:
            return dict(row)  # type: ignore[call-overload, no-any-return]
        encoded, counts = self.encoder.encode_row(row, where)  # type: ignore[arg-type]
        report.dropped += counts
        if encoded is not None and not report.groups:
            self.encoder.keep_template()
        return encoded


def _move_counts(found: LoadReport, report: LoadReport | EncodingReport) -> None:
    """Move what was counted of the last rows."""
    report.rows += found.rows
    report.dropped += found.dropped
    first = report.examples if isinstance(report, LoadReport) else report.first
    first.update({reason: error for reason, error in found.examples.items() if reason not in first})
    found.rows = 0
    found.dropped.clear()


# Of these, rows are read one by one.
STREAMS = (RowStream, EncodedStream, datasets.IterableDataset, IterableDataset)


def as_stream(data: object, name: str) -> RowStream:
    """Return the rows of a stream."""
    if isinstance(data, RowStream):
        return data
    assert isinstance(data, Iterable)
    return DatasetStream(data, name)


def require_steps(data: object, args: TrainingArguments) -> None:
    """Refuse a stream without a number of steps. Raises ConfigError."""
    if isinstance(data, STREAMS) and getattr(args, "max_steps", 1) <= 0:
        raise ConfigError("a stream needs max_steps: how many rows it has is not known before its end")
