"""A ledger of a long scoring job: what it belongs to, and which parts of it are done.

A folder holds `manifest.json` and one small Parquet file a part. A part is written to a temporary file, synced and
renamed, so it is there whole or not at all; it carries its row count and the hash of its content. Parts have fixed
borders, so it does not matter which process computes one, or how often.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.records import fingerprint

logger = logging.getLogger(__name__)

MODEL_KEYS = ("model", "template", "dtype")
MANIFEST = "manifest.json"
HASH_KEY = b"rewardsmith_sha256"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one row: its rewards, or the reason why there are none.

    Args:
        where: names the row, such as "answers.jsonl:row 12".
        rewards: one for each completion, None for one that has none; empty when the row could not be scored.
        reason: the short class of the failure, None when the row was scored.
        message: the failure in one line.
        parts: what each reward is made of, as a JSON list; None when that was not asked for.
        cut: completions whose prompt was cut at its start, on demand, to fit the model.
        row: hash of the row that was scored; an input that changed since is found by it.
        lost: [name, reason, message] of each completion without a reward in a row that has some, as a JSON list.
        outcomes: the probabilities of a comparison of the row's two answers, as a JSON object; None when that was not
            asked for.
    """

    where: str
    rewards: tuple[float | None, ...] = ()
    reason: str | None = None
    message: str | None = None
    parts: str | None = None
    cut: int = 0
    row: str = ""
    lost: str | None = None
    outcomes: str | None = None

    def lost_answers(self) -> list[list[str]]:
        """Return [name, reason, message] of each completion without a reward."""
        return [] if self.lost is None else list(json.loads(self.lost))


@dataclass(frozen=True, slots=True)
class Shard:
    """Which parts a process computes: those whose number leaves `index` when divided by `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "i/n" with i from 0 to n - 1. Raises ConfigError."""
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise ConfigError(f"--shard {text!r}: give i/n with i from 0 to n - 1, such as 0/4")
        return cls(int(index), int(count))

    def owns(self, part: int) -> bool:
        """Whether this shard computes part number `part`."""
        return part % self.count == self.index


@contextmanager
def writer_lock(folder: Path, out: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep other processes, also those of machines that share the disk, from the same output.

    The lock goes with its process, however that ends. `shared` lets the shards of one job in together.

    Raises:
        ConfigError: somebody else is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The folder itself is locked, so that no file is left behind.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{out}: another process is scoring into it; wait until it ends, or name another output"
            ) from error
        except OSError as error:
            # Some shared disks know no locks; names are unique, so nothing is mixed there either.
            logger.warning("%s: this disk has no locks (%s); run one job at a time", folder, error)
        yield
    finally:
        os.close(descriptor)
        if folder.is_dir() and not any(folder.iterdir()):
            # Nothing was begun here: leave no trace.
            folder.rmdir()


class Ledger:
    """The folder of one job.

    Args:
        folder: where manifest and parts lie.
        fingerprints: what the results depend on.
        num_rows: rows of the input.
        rows_per_part: border between parts.
    """

    def __init__(self, folder: Path, fingerprints: Mapping[str, str], num_rows: int, rows_per_part: int) -> None:
        self.folder, self.fingerprints = folder, dict(fingerprints)
        self.num_rows, self.rows_per_part = num_rows, rows_per_part
        self._key = fingerprint([f"{name}={value}" for name, value in sorted(self.fingerprints.items())])

    @classmethod
    def open(cls, folder: Path, fingerprints: Mapping[str, str], num_rows: int, rows_per_part: int) -> Ledger:
        """Start a ledger, or go on with the one that is there if it belongs to the same job.

        Raises:
            CheckpointError: the ledger was begun with another model, template or precision.
            ConfigError: it was begun with another input, option or version of the code.
        """
        ledger = cls(folder, {**fingerprints, "rows_per_part": str(rows_per_part)}, num_rows, rows_per_part)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / MANIFEST
        manifest = {"format_version": 1, "num_rows": num_rows, "fingerprints": ledger.fingerprints}
        temporary = folder / f".manifest-{uuid.uuid4().hex}.part"
        try:
            write_synced(temporary, (json.dumps(manifest, indent=2) + "\n").encode())
            # A link, unlike a rename, never replaces the manifest of a process that was faster.
            os.link(temporary, path)
        except FileExistsError:
            ledger._compare(path)
        finally:
            temporary.unlink(missing_ok=True)
        return ledger

    @property
    def num_parts(self) -> int:
        """How many parts the job has."""
        return -(-self.num_rows // self.rows_per_part)

    def size_of(self, part: int) -> int:
        """How many rows part number `part` has."""
        return min(self.rows_per_part, self.num_rows - part * self.rows_per_part)

    def path_of(self, part: int) -> Path:
        """Where part number `part` lies once it is done."""
        return self.folder / f"part-{part:06d}.parquet"

    def write(self, part: int, verdicts: Sequence[Verdict]) -> None:
        """Store a part, whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {
            "where": pa.array([v.where for v in verdicts], pa.string()),
            "rewards": pa.array([list(v.rewards) for v in verdicts], pa.list_(pa.float64())),
            "reason": pa.array([v.reason for v in verdicts], pa.string()),
            "message": pa.array([v.message for v in verdicts], pa.string()),
            "parts": pa.array([v.parts for v in verdicts], pa.string()),
            "cut": pa.array([v.cut for v in verdicts], pa.int64()),
            "row": pa.array([v.row for v in verdicts], pa.string()),
            "lost": pa.array([v.lost for v in verdicts], pa.string()),
            "outcomes": pa.array([v.outcomes for v in verdicts], pa.string()),
        }
        table = pa.table(columns).replace_schema_metadata({HASH_KEY: self._hash(part, verdicts).encode()})
        temporary = self.folder / f".part-{part:06d}-{uuid.uuid4().hex}.part"
        try:
            pq.write_table(table, temporary)
            publish(temporary, self.path_of(part))
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, part: int) -> list[Verdict] | None:
        """Return a part, or None when it is missing, damaged or not of this job."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(self.path_of(part)) as file:
                table = file.read()
            rows = table.to_pylist()
            found = [Verdict(**{**row, "rewards": tuple(row["rewards"])}) for row in rows]
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
            return None
        stored = (table.schema.metadata or {}).get(HASH_KEY, b"").decode()
        return found if len(found) == self.size_of(part) and stored == self._hash(part, found) else None

    def verdicts(self) -> Iterator[Verdict]:
        """Yield all verdicts in the order of the input.

        Raises:
            CheckpointError: a part is missing or damaged.
        """
        for part in range(self.num_parts):
            found = self.read(part)
            if found is None:
                raise CheckpointError(f"{self.path_of(part)}: missing or damaged; run the same command again")
            yield from found

    def missing(self) -> list[int]:
        """Number the parts that are not done."""
        return [part for part in range(self.num_parts) if self.read(part) is None]

    def _hash(self, part: int, verdicts: Sequence[Verdict]) -> str:
        rows = []
        for v in verdicts:
            rewards = [None if r is None else r.hex() for r in v.rewards]
            others = (v.reason, v.message, v.parts, v.cut, v.row, v.lost, v.outcomes)
            rows.append(json.dumps([v.where, rewards, *others]))
        return fingerprint([self._key, str(part), *rows])

    def _compare(self, path: Path) -> None:
        """Refuse a manifest of another job."""
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            before = dict(manifest["fingerprints"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: damaged manifest; start anew with --overwrite") from error
        names = {**before, **self.fingerprints}
        changed = [name for name in names if before.get(name) != self.fingerprints.get(name)]
        if not changed:
            return
        kind = CheckpointError if any(name in MODEL_KEYS for name in changed) else ConfigError
        raise kind(
            f"{path}: the job was begun with another {', '.join(changed)}; restore what was there, "
            "or start anew with --overwrite"
        )


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def publish(temporary: Path, path: Path) -> None:
    """Give a finished file its name, once the disk has its content."""
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
