"""Score a file of any size: in bounded memory, in order, and so that it can be killed at any moment and run again."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from rewardsmith._version import __version__
from rewardsmith.errors import ConfigError, DataError, RewardsmithError, ScoringError
from rewardsmith.preferences.files import read_rows
from rewardsmith.preferences.row_values import RowError
from rewardsmith.records import ScoreRequest, fingerprint, text_key
from rewardsmith.scoring.ledger import Ledger, Shard, Verdict, hash_files, publish
from rewardsmith.scoring.scored_rows import add_rewards, read_request
from rewardsmith.scoring.tables import check_output, write_rows

Entry = tuple[str, Mapping[str, Any] | RowError]
ROWS_PER_PART = 512


class EncodedScorer(Protocol):
    """What bulk scoring asks of a model; `RewardModel` is one."""

    @property
    def max_length(self) -> int | None: ...

    def encode(self, request: ScoreRequest) -> list[list[int]]: ...

    def score_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]: ...


@dataclass(frozen=True)
class BulkJob:
    """What is scored and where the result goes.

    Args:
        source: file or folder that `rewardsmith.preferences.files.read_rows` reads.
        out: output file; `OUT.ledger` beside it keeps what is done.
        split: split of a folder that holds several.
        column: name of the reward's column.
        rows_per_part: rows between two points from which a killed job goes on.
        shard: which parts this process computes; only a whole job writes `out`.
        overwrite: throw away an output or ledger that is there.
    """

    source: Path
    out: Path
    split: str | None = None
    column: str = "reward"
    rows_per_part: int = ROWS_PER_PART
    shard: Shard = field(default_factory=Shard)
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_output(self.out)
        if self.rows_per_part < 1:
            raise ConfigError(f"rows per part is {self.rows_per_part}; give 1 or more")
        source, out = self.source.resolve(), self.out.resolve()
        if out == source or source in out.parents:
            raise ConfigError(f"{self.out}: the output would change the input; write it elsewhere")
        if self.overwrite and self.shard.count > 1:
            raise ConfigError("--overwrite in a shard would erase the others' work; remove output and ledger first")

    @property
    def ledger_folder(self) -> Path:
        """Where manifest and parts lie."""
        return self.out.with_name(f"{self.out.name}.ledger")

    @property
    def errors_file(self) -> Path:
        """Where rows go that could not be scored."""
        return self.out.with_name(f"{self.out.name}.errors.jsonl")


@dataclass
class BulkReport:
    """What became of the rows.

    Args:
        rows: rows of the input.
        scored: rows with a reward in the output.
        failed: rows in the errors file, by reason.
        reused: rows that an earlier run had done.
        waiting: parts that other shards have to compute; the output is not written before.
    """

    rows: int = 0
    scored: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    waiting: int = 0


def score_file(
    model: EncodedScorer,
    job: BulkJob,
    fingerprints: Mapping[str, str],
    on_progress: Callable[[int, int, bool], None] = lambda done, rows, reused: None,
) -> BulkReport:
    """Score every row of a file and write it with its rewards, in the order of the input.

    Killed at any moment and run again, it gives the output of an uninterrupted run.

    Args:
        model: a loaded reward model.
        fingerprints: of the model, its template and precision; see `model_fingerprints`.
        on_progress: called after each part with its rows, the rows of the input, and whether it was done before.

    Raises:
        CheckpointError, ConfigError: a job with another model, input or options was begun here.
        DataError: the input cannot be read.
    """
    if job.overwrite:
        _remove(job)
    elif job.out.exists() and not job.ledger_folder.exists():
        raise ConfigError(f"{job.out}: exists already, and no ledger says that it is of this job; --overwrite it")
    own = {"input": hash_files(job.source), "code": __version__, "options": fingerprint([str(job.split), job.column])}
    num_rows = sum(1 for _ in _entries(job))
    ledger = Ledger.open(job.ledger_folder, {**own, **fingerprints}, num_rows, job.rows_per_part)
    report = BulkReport(rows=num_rows)
    entries = _entries(job)
    for part in range(ledger.num_parts):
        chunk = list(islice(entries, job.rows_per_part))
        if not job.shard.owns(part):
            continue
        is_done = ledger.read(part) is not None
        if is_done:
            report.reused += len(chunk)
        else:
            ledger.write(part, score_entries(model, chunk))
        on_progress(len(chunk), num_rows, is_done)
    if job.shard.count > 1:
        report.waiting = len(ledger.missing())
        return report
    _write_output(job, ledger, report)
    return report


def score_entries(model: EncodedScorer, entries: Sequence[Entry]) -> list[Verdict]:
    """Score some rows together; one that cannot be scored gets its reason and does not hurt the others."""
    verdicts: list[Verdict] = [Verdict(where) for where, _ in entries]
    encoded: dict[int, tuple[str, list[list[int]]]] = {}
    for index, (where, row) in enumerate(entries):
        try:
            if isinstance(row, RowError):
                raise row
            request = read_request(row, where)
            encoded[index] = text_key(request.prompt), _encode(model, request, where)
        except (RewardsmithError, TypeError, ValueError, KeyError) as error:
            verdicts[index] = _failure(where, error)
    for index, result in _score_rows(model, encoded).items():
        where = entries[index][0]
        verdicts[index] = _failure(where, result) if isinstance(result, Exception) else Verdict(where, tuple(result))
    return verdicts


def model_fingerprints(model: Any, path: str) -> dict[str, str]:
    """Give what the rewards of a `RewardModel` depend on, beside the input: weights, template, precision, batches."""
    from rewardsmith.modeling.contract import package_versions, template_hash

    folder = Path(path)
    commit = getattr(model.model.config, "_commit_hash", None)
    weights = model.model.dtype, model.device.type, model.tokens_per_batch, model.plan.share
    return {
        "model": hash_files(folder) if folder.is_dir() else f"{path}@{commit}",
        "template": fingerprint([str(template_hash(model.tokenizer)), str(model.renderer.policy.to_dict())]),
        "dtype": " ".join(map(str, weights)),
        "packages": " ".join(f"{name}={version}" for name, version in sorted(package_versions().items())),
    }


def _entries(job: BulkJob) -> Iterator[Entry]:
    """Give every row in order, one that cannot be read as its error."""
    broken: list[RowError] = []
    for where, row in read_rows(job.source, split=job.split, on_broken=broken.append):
        yield from ((str(error).split(": ")[0], error) for error in broken)
        broken.clear()
        yield where, row
    yield from ((str(error).split(": ")[0], error) for error in broken)


def _encode(model: EncodedScorer, request: ScoreRequest, where: str) -> list[list[int]]:
    sequences = model.encode(request)
    limit = model.max_length
    longest = max(map(len, sequences))
    if limit is not None and longest > limit:
        error = RowError(f"{where}: {longest} tokens, the model reads {limit}; shorten the text")
        error.reason = "too long"
        raise error
    return sequences


def _score_rows(
    model: EncodedScorer, encoded: Mapping[int, tuple[str, list[list[int]]]]
) -> dict[int, list[float] | Exception]:
    """Score rows, those with one prompt as one group; halve the rows until what fails stands alone."""
    if not encoded:
        return {}
    groups: dict[str, list[int]] = {}
    for index, (prompt, _) in encoded.items():
        groups.setdefault(prompt or f"\x01{index}", []).append(index)
    try:
        rewards = model.score_encoded([[s for i in members for s in encoded[i][1]] for members in groups.values()])
    except ScoringError as error:
        if len(encoded) == 1:
            return dict.fromkeys(encoded, error)
        rows, middle = list(encoded.items()), len(encoded) // 2
        return {**_score_rows(model, dict(rows[:middle])), **_score_rows(model, dict(rows[middle:]))}
    results: dict[int, list[float] | Exception] = {}
    for members, values in zip(groups.values(), rewards, strict=True):
        stream = iter(values)
        results.update((i, list(islice(stream, len(encoded[i][1])))) for i in members)
    return results


def _failure(where: str, error: Exception) -> Verdict:
    message = " ".join(str(error).split()) or type(error).__name__
    reason = error.reason if isinstance(error, RowError) else "cannot be scored"
    return Verdict(where, (), reason, message if message.startswith(where) else f"{where}: {message}")


def _write_output(job: BulkJob, ledger: Ledger, report: BulkReport) -> None:
    """Join input and ledger; the errors get their name first, so that an output is never there without them."""
    for leftover in job.ledger_folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)

    def scored() -> Iterator[Mapping[str, Any]]:
        for row, verdict in _joined(job, ledger):
            if verdict.reason is None and not isinstance(row, RowError):
                yield add_rewards(row, verdict.rewards, job.column)

    def failed() -> Iterator[Mapping[str, Any]]:
        for row, verdict in _joined(job, ledger):
            if verdict.reason is not None:
                report.failed[verdict.reason] += 1
                fields = {"where": verdict.where, "reason": verdict.reason, "message": verdict.message}
                yield fields if isinstance(row, RowError) else {**fields, "row": row}

    results, errors = job.ledger_folder / f"output-{job.out.name}", job.ledger_folder / "errors.jsonl"
    report.scored = write_rows(results, scored)
    if write_rows(errors, failed):
        publish(errors, job.errors_file)
    else:
        errors.unlink()
        job.errors_file.unlink(missing_ok=True)
    publish(results, job.out)


def _joined(job: BulkJob, ledger: Ledger) -> Iterator[tuple[Mapping[str, Any] | RowError, Verdict]]:
    for (where, row), verdict in zip(_entries(job), ledger.verdicts(), strict=True):
        if where != verdict.where:
            raise DataError(f"{job.source}: changed while it was scored, at {where}; run again with --overwrite")
        yield row, verdict


def _remove(job: BulkJob) -> None:
    if job.ledger_folder.exists():
        shutil.rmtree(job.ledger_folder)
    for path in (job.out, job.errors_file):
        path.unlink(missing_ok=True)
