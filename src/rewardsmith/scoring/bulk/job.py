"""Score a file of any size: in bounded memory, in order, and so that it can be killed at any moment and run again."""

from __future__ import annotations

import errno
import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rewardsmith.blocks.html import render_facts
from rewardsmith.data.columns import Columns, map_columns
from rewardsmith.errors import CheckpointError, ConfigError, DataError, RowError
from rewardsmith.files.progress import ProgressBar
from rewardsmith.files.tables import check_output, write_rows
from rewardsmith.records import fingerprint
from rewardsmith.scoring.bulk.entries import Wanted, row_hash, score_entries
from rewardsmith.scoring.bulk.ledger import MANIFEST, Ledger, Shard, Verdict, publish, writer_lock
from rewardsmith.scoring.bulk.rows import (
    Entry,
    HubInput,
    Source,
    add_rewards,
    code_fingerprint,
    hash_source,
    read_source,
)
from rewardsmith.scoring.scorer import RewardScorer

ROWS_PER_PART = 512
# What a full disk, a quota and a limit of the file size say.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Folders of a Ray job that was killed begin so.
ATTEMPTS = ".attempts-"
# Output and errors while they are written.
RESULTS = "output-"
# Called with the rows of a part, the rows of the input, and whether the part was done before.
OnProgress = Callable[[int, int, bool], None]


@dataclass(frozen=True)
class BulkJob:
    """What is scored and where the result goes.

    Args:
        source: file or folder that `rewardsmith.files.reading.read_rows` reads, or a data set of the hub.
        out: output file; `OUT.ledger` beside it keeps what is done.
        split: split of a folder that holds several.
        column: name of the reward's column.
        rows_per_part: rows between two points from which a killed job goes on.
        shard: which parts this process computes; only a whole job writes `out`.
        overwrite: throw away an output or ledger that is there.
        with_parts: also write what each reward is made of.
        probabilities: also write the probabilities that one answer is preferred, the other, or neither; rows have two.
        limit: read at most so many rows of the input.
        columns: which of the input's columns is what, as in `load_preferences`; the output has our names.
    """

    source: Source
    out: Path
    split: str | None = None
    column: str = "reward"
    rows_per_part: int = ROWS_PER_PART
    shard: Shard = field(default_factory=Shard)
    overwrite: bool = False
    with_parts: bool = False
    probabilities: bool = False
    limit: int | None = None
    columns: Columns | None = None

    def __post_init__(self) -> None:
        check_output(self.out)
        if self.rows_per_part < 1:
            raise ConfigError(f"rows per part is {self.rows_per_part}; give 1 or more")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit is {self.limit}; give 1 or more")
        out = self.out.resolve()
        source = None if isinstance(self.source, HubInput) else self.source.resolve()
        if source is not None and (out == source or source in out.parents):
            raise ConfigError(f"{self.out}: the output would change the input; write it elsewhere")
        if self.overwrite and self.shard.count > 1:
            raise ConfigError("--overwrite in a shard would erase the others' work; remove output and ledger first")

    @property
    def wanted(self) -> Wanted:
        """What is kept beside rewards."""
        return Wanted(self.with_parts, self.probabilities)

    @property
    def ledger_folder(self) -> Path:
        """Where manifest and parts lie."""
        return self.out.with_name(f"{self.out.name}.ledger")

    @property
    def errors_file(self) -> Path:
        """Where rows go that could not be scored."""
        return self.out.with_name(f"{self.out.name}.errors.jsonl")

    def entries(self) -> Iterator[Entry]:
        """Return every row in order, one that cannot be read as its error; `limit` ends it."""
        return islice(self._all_entries(), self.limit)

    def _all_entries(self) -> Iterator[Entry]:
        broken: list[RowError] = []
        rows: Iterator[tuple[str, Any]] = read_source(self.source, self.split, broken.append)
        if self.columns is not None:
            rows = map_columns(rows, self.columns, broken.append)
        for where, row in rows:
            yield from ((str(error).split(": ")[0], error) for error in broken)
            broken.clear()
            yield where, row
        yield from ((str(error).split(": ")[0], error) for error in broken)

    def fingerprints(self) -> dict[str, str]:
        """Return what the result depends on, beside the model."""
        chosen = (self.split, self.column, self.wanted, self.limit, json.dumps(self.columns))
        options = fingerprint(map(str, chosen))
        return {"input": hash_source(self.source), "code": code_fingerprint(), "options": options}


@dataclass(repr=False)
class BulkReport:
    """What became of the rows.

    Args:
        rows: rows of the input.
        scored: rows with a reward in the output.
        failed: rows in the errors file, by reason.
        answers_lost: single answers without a reward in rows that are scored, by reason; their rewards are null.
        first: the first message of each reason.
        cut: scored rows with a prompt that was cut, on demand, to fit the model.
        reused: rows that an earlier run had done.
        waiting: parts that other shards have to compute; the output is not written before.
    """

    rows: int = 0
    scored: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    answers_lost: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    reused: int = 0
    waiting: int = 0

    def lines(self, errors_file: Path) -> list[str]:
        """Say what has no reward and why, one line a reason, and how many prompts were cut."""
        found = [
            f"not scored: {count} rows ({reason}); see {errors_file}; first: {self.first[reason]}"
            for reason, count in self.failed.items()
        ]
        found += [
            f"not scored: {count} single answers ({reason}), their rewards are null; see {errors_file}; first: "
            f"{self.first[reason]}"
            for reason, count in self.answers_lost.items()
        ]
        return found + ([f"prompt cut at its start to fit the model: {self.cut} rows"] if self.cut else [])

    def __repr__(self) -> str:
        failed = f", {self.failed.total()} failed ({', '.join(self.failed)})" if self.failed else ""
        lost = f", {self.answers_lost.total()} single answers lost" if self.answers_lost else ""
        return f"<scored {self.scored} of {self.rows} rows{failed}{lost}; {self.reused} were done before>"

    def _repr_html_(self) -> str:
        counts = {"rows": self.rows, "scored": self.scored, "prompts cut to fit": self.cut}
        counts |= {f"failed: {reason}": count for reason, count in self.failed.items()}
        counts |= {f"single answers lost: {reason}": count for reason, count in self.answers_lost.items()}
        return render_facts({**counts, "done before": self.reused, "parts left to other shards": self.waiting})


def advance(bar: ProgressBar, shard: Shard) -> OnProgress:
    """Return what moves a progress bar by the rows of each part; rows of other shards are none of its total."""
    return lambda rows, total, is_reused: bar.update(bar.done + rows, total=-(-total // shard.count), reused=is_reused)


class PartReader:
    """Reads the rows of parts from the input; in rising order the input is read only once.

    Args:
        job: names input and borders of the parts.
    """

    def __init__(self, job: BulkJob) -> None:
        self._job, self._next = job, 0
        self._entries = job.entries()

    def read(self, part: int) -> list[Entry]:
        """Return the rows of part number `part`."""
        if part < self._next:
            self._next, self._entries = 0, self._job.entries()
        start = (part - self._next) * self._job.rows_per_part
        self._next = part + 1
        return list(islice(self._entries, start, start + self._job.rows_per_part))


def score_file(
    model: RewardScorer, job: BulkJob, fingerprints: Mapping[str, str], on_progress: OnProgress = lambda *_: None
) -> BulkReport:
    """Score every row of a file and write it with its rewards, in the order of the input.

    Killed at any moment and run again, it gives the output of an uninterrupted run.

    Args:
        model: a loaded reward model.
        fingerprints: of the model, its template and precision; see `spec_fingerprints`.

    Raises:
        CheckpointError, ConfigError: a job with another model, input or options was begun here.
        DataError: the input cannot be read.
    """
    with explained_lack_of_room(job), only_writer(job):
        ledger = open_ledger(job, {**job.fingerprints(), **fingerprints})
        reader, report = PartReader(job), BulkReport(rows=ledger.num_rows)
        for part in parts_to_do(job, ledger, report, on_progress):
            ledger.write(part, score_entries(model, reader.read(part), job.wanted))
            on_progress(ledger.size_of(part), ledger.num_rows, False)
        return finish(job, ledger, report)


def open_ledger(job: BulkJob, fingerprints: Mapping[str, str]) -> Ledger:
    """Count the rows of the input and start the job's ledger, or go on with it.

    Raises:
        CheckpointError, ConfigError: a job with another model, input or options was begun here.
    """
    if job.overwrite:
        _remove(job)
    elif job.out.exists() and not (job.ledger_folder / MANIFEST).exists():
        raise ConfigError(f"{job.out}: exists already, and no ledger says that it is of this job; --overwrite it")
    num_rows = sum(1 for _ in job.entries())
    return Ledger.open(job.ledger_folder, fingerprints, num_rows, job.rows_per_part)


def parts_to_do(job: BulkJob, ledger: Ledger, report: BulkReport, on_progress: OnProgress) -> list[int]:
    """Return the parts that the job's shard has to compute; those that are done are counted in `report`."""
    left: list[int] = []
    for part in filter(job.shard.owns, range(ledger.num_parts)):
        if ledger.read(part) is None:
            left.append(part)
            continue
        report.reused += ledger.size_of(part)
        on_progress(ledger.size_of(part), ledger.num_rows, True)
    return left


def finish(job: BulkJob, ledger: Ledger, report: BulkReport) -> BulkReport:
    """Write output and errors once everything is done; a shard only counts what is left to others."""
    if job.shard.count > 1:
        report.waiting = len(ledger.missing())
    else:
        _write_output(job, ledger, report)
    return report


@contextmanager
def explained_lack_of_room(job: BulkJob) -> Iterator[None]:
    """Turn the error of a full disk into one that says what is kept and what to do. Raises CheckpointError."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        parts = len(list(job.ledger_folder.glob("part-*.parquet")))
        raise CheckpointError(
            f"{job.out}: no room left to write ({' '.join(str(error).split())}); {parts} finished parts are kept: free "
            "space and run the same command again"
        ) from error


def _write_output(job: BulkJob, ledger: Ledger, report: BulkReport) -> None:
    """Join input and ledger; the errors get their name first, so that an output is never there without them."""
    for pattern in (".*.part", f"{RESULTS}*"):
        for leftover in job.ledger_folder.glob(pattern):
            leftover.unlink(missing_ok=True)
    for leftover in job.ledger_folder.glob(f"{ATTEMPTS}*"):
        shutil.rmtree(leftover, ignore_errors=True)

    def scored() -> Iterator[Mapping[str, Any]]:
        for row, verdict in _joined(job, ledger):
            if verdict.reason is None and not isinstance(row, RowError):
                parts = None if verdict.parts is None else json.loads(verdict.parts)
                outcomes = json.loads(verdict.outcomes or "{}") if job.probabilities else None
                yield add_rewards(row, verdict.rewards, job.column, parts, outcomes)

    def failed() -> Iterator[Mapping[str, Any]]:
        for row, verdict in _joined(job, ledger):
            content = {} if isinstance(row, RowError) else {"row": row}
            if verdict.reason is not None:
                report.failed[verdict.reason] += 1
                report.first.setdefault(verdict.reason, verdict.message or "")
                yield {"where": verdict.where, "reason": verdict.reason, "message": verdict.message, **content}
            for name, reason, message in verdict.lost_answers():
                report.answers_lost[reason] += 1
                report.first.setdefault(reason, message)
                yield {"where": verdict.where, "answer": name, "reason": reason, "message": message, **content}

    # Names of this process alone: machines that share a disk without locks still write whole files.
    unique = uuid.uuid4().hex
    results = job.ledger_folder / f"{RESULTS}{unique}-{job.out.name}"
    errors = job.ledger_folder / f"{RESULTS}{unique}-errors.jsonl"
    report.scored = write_rows(results, scored)
    report.cut = sum(verdict.cut > 0 for verdict in ledger.verdicts())
    if write_rows(errors, failed):
        publish(errors, job.errors_file)
    else:
        errors.unlink()
        job.errors_file.unlink(missing_ok=True)
    publish(results, job.out)


def _joined(job: BulkJob, ledger: Ledger) -> Iterator[tuple[Mapping[str, Any] | RowError, Verdict]]:
    for (where, row), verdict in zip(job.entries(), ledger.verdicts(), strict=True):
        if where != verdict.where or row_hash(row) != verdict.row:
            raise DataError(f"{job.source}: changed while it was scored, at {where}; run again with --overwrite")
        yield row, verdict


def only_writer(job: BulkJob) -> AbstractContextManager[None]:
    """Keep other jobs from this output; the shards of one job work side by side."""
    return writer_lock(job.ledger_folder, job.out, shared=job.shard.count > 1)


def _remove(job: BulkJob) -> None:
    for path in job.ledger_folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in (job.out, job.errors_file):
        path.unlink(missing_ok=True)
