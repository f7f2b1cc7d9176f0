"""What the head of a frozen backbone reads of every distinct sequence: computed once and kept in Parquet files.

A file holds a few thousand rows: the hash of a sequence and its features in fp32. It is written whole or not at all, so
an interrupted run loses one file at most, and processes that share the work write files of their own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rewardsmith.errors import ConfigError, one_line
from rewardsmith.files.progress import ProgressBar
from rewardsmith.files.writing import replace_when_done
from rewardsmith.models.contract import pooling_of
from rewardsmith.models.shared_prefix.forward import core_model, reward_head
from rewardsmith.models.shared_prefix.packing import Sequences
from rewardsmith.models.shared_prefix.plan import ForwardPlan, compute_features

logger = logging.getLogger(__name__)

# Sequences of one file: at a width of 1,024 they are 16 MB.
ROWS_PER_FILE = 4096
KEY_BYTES = 16
TOKENS_PER_FORWARD = 8192
# Groups of sequences with their keys.
Window = list[list[tuple[bytes, Sequence[int]]]]
# Of a config, what says nothing about how hidden states are computed.
NOT_OF_THE_BACKBONE = ("transformers_version", "architectures", "id2label", "label2id", "problem_type", "torch_dtype")


@dataclass(frozen=True)
class Features:
    """Features of distinct sequences, and where each one is.

    Args:
        table_UD: a row for every distinct sequence, in the order of first appearance.
        row_B: the row of every sequence, group by group.
        rows: the row of a sequence, by its key.
        store: computes keys.
        reused: how many of them were computed before.
        seconds: it took to gather them.
    """

    table_UD: Tensor
    row_B: Tensor
    rows: dict[bytes, int]
    store: FeatureStore
    reused: int
    seconds: float


class FeatureStore:
    """The features of one backbone, in a folder of their own.

    Args:
        model: a reward model; its head is not read.
        plan: how its prefixes are shared.
        folder: the cache; backbones, poolings and precisions are kept apart in it.
        accelerator: the processes that share the work.
        autocast: compute in this precision, as training does.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: ForwardPlan,
        folder: str | Path,
        accelerator: Accelerator,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.model, self.plan, self.accelerator, self.autocast = model, plan, accelerator, autocast
        self.identity = fingerprint_backbone(model, autocast)
        self.folder = Path(folder) / self.identity[:16]
        self._start = hashlib.blake2b(self.identity.encode(), digest_size=KEY_BYTES)

    def key(self, ids: Sequence[int]) -> bytes:
        """Return the hash of backbone, pooling, precision and token ids."""
        found = self._start.copy()
        found.update(array("I", ids).tobytes())
        return found.digest()

    def gather(self, groups: Iterable[Sequences], tokens_per_batch: int | None = None) -> Features:
        """Return the features of every sequence of the groups: those that are kept, and the rest computed now.

        Args:
            groups: read twice where something is missing.

        Raises:
            ConfigError: the head reads more than one vector of a sequence, or the disk does not take the features.
        """
        started = time.perf_counter()
        rows: dict[bytes, int] = {}
        numbers = [rows.setdefault(self.key(ids), len(rows)) for group in groups for ids in group]
        row_B = torch.tensor(numbers, dtype=torch.long)
        width = next(m.in_features for m in reward_head(core_model(self.model)).modules() if isinstance(m, nn.Linear))
        table_UD = torch.empty(len(rows), width)
        found = self._read(rows, table_UD, np.zeros(len(rows), dtype=bool))
        reused = int(found.sum())
        with ProgressBar("features", len(rows), "sequences") as bar:
            bar.update(reused, reused=True)
            for number, window in enumerate(
                self._missing(groups, {key for key, row in rows.items() if not found[row]})
            ):
                size = sum(map(len, window))
                if number % self.accelerator.num_processes == self.accelerator.process_index:
                    keys, part_UD = self._compute(window, tokens_per_batch or TOKENS_PER_FORWARD)
                    table_UD[[rows[key] for key in keys]] = part_UD
                    found[[rows[key] for key in keys]] = True
                bar.advance(size)
        if self.accelerator.num_processes > 1:
            self.accelerator.wait_for_everyone()
            found = self._read(rows, table_UD, found)
        if not found.all():
            raise ConfigError(f"{self.folder}: {int((~found).sum())} sequences of other processes cannot be read")
        logger.info("features: %d sequences, %d of them reused from %s", len(rows), reused, self.folder)
        return Features(table_UD, row_B, rows, self, reused, time.perf_counter() - started)

    def _missing(self, groups: Iterable[Sequences], missing: set[bytes]) -> Iterator[Window]:
        """Yield what is to be computed, a file's worth at a time, the sequences of a group together."""
        window: Window = []
        size = 0
        for group in groups if missing else ():
            own = {key: ids for ids in group if (key := self.key(ids)) in missing}
            if own:
                window.append(list(own.items()))
                missing.difference_update(own)
                size += len(own)
            if size >= ROWS_PER_FILE:
                yield window
                window, size = [], 0
        if window:
            yield window

    def _compute(self, window: Window, tokens: int) -> tuple[list[bytes], Tensor]:
        """Compute and keep the features of a few thousand sequences. Shapes: -> [U, D]."""
        device = core_model(self.model).device.type
        with torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None):
            found = compute_features(
                self.model, [[ids for _, ids in group] for group in window], tokens, plan=self.plan
            )
        keys = [key for group in window for key, _ in group]
        part_UD = torch.stack([row for group in found for row in group])
        values = pa.FixedSizeListArray.from_arrays(pa.array(part_UD.numpy().reshape(-1)), part_UD.shape[1])
        table = pa.table({"key": pa.array(keys, pa.binary(KEY_BYTES)), "features": values})
        try:
            with replace_when_done(self.folder / f"part-{uuid.uuid4().hex}.parquet") as temporary:
                # Random mantissas do not compress; checksums find what a disk has spoilt.
                pq.write_table(table, temporary, compression="none", use_dictionary=False, write_page_checksum=True)
        except OSError as error:
            raise ConfigError(
                f"{self.folder} does not take the features ({one_line(error)}): {len(keys) * part_UD.shape[1] * 4:,} "
                "bytes for these sequences; make room, or name another feature_cache"
            ) from error
        return keys, part_UD

    def _read(self, rows: dict[bytes, int], table_UD: Tensor, found: np.ndarray) -> np.ndarray:
        """Fill in what the files of the folder hold of the sequences that are not there yet. Returns what is there."""
        for path in sorted(self.folder.glob("part-*.parquet")):
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    keys = file.read(["key"])["key"].to_pylist()
                    wanted = [(i, rows[key]) for i, key in enumerate(keys) if key in rows and not found[rows[key]]]
                    if not wanted:
                        continue
                    column = file.read(["features"])["features"].combine_chunks()
                values = np.asarray(column.values).reshape(len(keys), table_UD.shape[1])
            except (OSError, ValueError, pa.ArrowException, KeyError) as error:
                logger.warning("%s cannot be read and is computed again: %s", path, one_line(error))
                path.unlink(missing_ok=True)
                continue
            here, there = (list(places) for places in zip(*wanted, strict=True))
            table_UD[there] = torch.from_numpy(values[here])
            found[there] = True
        return found


def fingerprint_backbone(model: nn.Module, autocast: torch.dtype | None = None) -> str:
    """Return a digest of everything that features depend on but the token ids: weights, config, pooling, precision."""
    core = core_model(model)
    config = core.config.get_text_config().to_dict()
    config = {k: v for k, v in config.items() if not k.startswith("_") and k not in NOT_OF_THE_BACKBONE}
    start = [type(core).__name__, pooling_of(core), str(autocast), json.dumps(config, sort_keys=True, default=str)]
    digest = hashlib.sha256("\n".join(start).encode())
    own = {id(value) for value in reward_head(core).parameters()}
    for name, value in sorted(core.state_dict(keep_vars=True).items()):
        if id(value) in own:
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
