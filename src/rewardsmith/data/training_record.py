"""What travels with a model of the data it was trained on: hashes of prompts and of runs of 13 words, no text.

The record answers one question later: is this evaluation prompt among the training data? It stays small whatever the
data: of more hashes than fit, those below a limit are kept, a sample that is uniform over distinct values (bottom-k,
Cohen and Kaplan 2007), so that shares computed from it are unbiased. A hash cannot be read back, but whoever holds a
text can ask whether it was in the training data; delete the file where that must not be known.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith.data.formats.cells import plain_text
from rewardsmith.data.merging import Hashes, ngram_hashes, text_hash, words_of
from rewardsmith.data.texts import question_text
from rewardsmith.errors import CheckpointError
from rewardsmith.files.writing import write_json
from rewardsmith.records import PreferenceGroup, TokenIds

FILE_NAME = "training_data.json"
FORMAT_VERSION = 1
NGRAM = 13
# 6 bytes a hash: 256 KiB of prompts and 128 KiB of n-grams in base64 at most.
HASH_BITS = 48
MAX_PROMPTS, MAX_NGRAMS = 32_768, 16_384
ALL = 1 << HASH_BITS


@dataclass(frozen=True, slots=True)
class HashSample:
    """Every distinct hash below `limit`, in ascending order; `limit` is `ALL` where none was left out."""

    hashes: Hashes
    limit: int = ALL

    @property
    def share(self) -> float:
        """Share of all distinct values that are held."""
        return self.limit / ALL

    def tells(self, hashes: Hashes) -> Hashes:
        """Return those hashes whose presence the sample decides."""
        return hashes[hashes < np.uint64(self.limit)]

    def count(self, hashes: Hashes) -> int:
        """Count how many of the hashes are held."""
        if not len(self.hashes) or not len(hashes):
            return 0
        places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return int(np.count_nonzero(self.hashes[places] == hashes))

    def to_dict(self) -> dict[str, Any]:
        """Return count, share, limit and the hashes in base64."""
        raw = np.ascontiguousarray(self.hashes.astype("<u8")).view(np.uint8).reshape(-1, 8)[:, : HASH_BITS // 8]
        text = base64.b64encode(raw.tobytes()).decode("ascii")
        return {"count": len(self.hashes), "share": self.share, "limit": self.limit, "hashes": text}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> HashSample:
        """Read what `to_dict` gave. Raises ValueError for bytes that are no hashes."""
        raw = np.frombuffer(base64.b64decode(values["hashes"], validate=True), dtype=np.uint8)
        rows = raw.reshape(-1, HASH_BITS // 8)
        whole = np.zeros((len(rows), 8), dtype=np.uint8)
        whole[:, : HASH_BITS // 8] = rows
        return cls(whole.view("<u8").reshape(-1).astype(np.uint64), int(values["limit"]))


class Sampler:
    """Collect hashes and keep the `most` lowest distinct ones."""

    def __init__(self, most: int) -> None:
        self.most, self.limit = most, ALL
        self._parts: list[Hashes] = []
        self._size = 0

    def add(self, hashes: Hashes) -> None:
        """Take up hashes; equal ones count once."""
        kept = hashes[hashes < np.uint64(self.limit)]
        self._parts.append(kept)
        self._size += len(kept)
        if self._size > 8 * self.most:
            self._shrink()

    def sample(self) -> HashSample:
        """Return what is kept."""
        self._shrink()
        return HashSample(self._parts[0], self.limit)

    def _shrink(self) -> None:
        every = np.unique(np.concatenate(self._parts)) if self._parts else np.zeros(0, dtype=np.uint64)
        if len(every) > self.most:
            self.limit = int(every[self.most])
            every = every[: self.most]
        self._parts, self._size = [every], len(every)


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """The hashes of a model's training data.

    Args:
        groups: prompts with their answers that were recorded.
        without_text: groups left out because they hold token ids only.
        prompts: hashes of prompts, folded in case, punctuation and blanks.
        ngrams: hashes of the runs of 13 words of prompts and answers.
    """

    groups: int
    without_text: int
    prompts: HashSample
    ngrams: HashSample

    @classmethod
    def of_groups(cls, groups: Iterable[PreferenceGroup]) -> TrainingRecord:
        """Record training data, group by group; memory does not grow with it.

        Example:
            >>> record = TrainingRecord.of_groups([PreferenceGroup("What is 2 + 2?", ("4", "5"))])
            >>> record.has_prompt(PreferenceGroup("what is 2 + 2", ("four", "five")))
            True
        """
        prompts, ngrams = Sampler(MAX_PROMPTS), Sampler(MAX_NGRAMS)
        count = without_text = 0
        for group in groups:
            if any(isinstance(completion, TokenIds) for completion in group.completions):
                without_text += 1
                continue
            count += 1
            words = words_of(question_text(group))
            prompts.add(_prompt_hash(words))
            for text in (words, *(words_of(plain_text(completion)) for completion in group.completions)):
                ngrams.add(_run_hashes(text))
        return cls(count, without_text, prompts.sample(), ngrams.sample())

    def after(self, before: TrainingRecord) -> TrainingRecord:
        """Return the record of a model that was trained on what `before` tells of, and then on this."""
        return TrainingRecord(
            before.groups + self.groups,
            before.without_text + self.without_text,
            _joined(self.prompts, before.prompts, MAX_PROMPTS),
            _joined(self.ngrams, before.ngrams, MAX_NGRAMS),
        )

    def has_prompt(self, group: PreferenceGroup) -> bool | None:
        """Whether the prompt was trained on; None where the record does not say (left out of it, or no prompt)."""
        told = self.prompts.tells(_prompt_hash(words_of(question_text(group))))
        return bool(self.prompts.count(told)) if len(told) else None

    def shared_runs(self, group: PreferenceGroup) -> tuple[int, int]:
        """Count the runs of 13 words of the prompt that were trained on, and those that the record tells of."""
        told = self.ngrams.tells(np.unique(_run_hashes(words_of(question_text(group)))))
        return self.ngrams.count(told), len(told)

    def save(self, folder: str | Path) -> Path:
        """Write `training_data.json`; returns its path."""
        path = Path(folder) / FILE_NAME
        values = {
            "format_version": FORMAT_VERSION,
            "about": "hashes of the training data, to find it in evaluation data; no text can be read from them",
            "groups": self.groups,
            "without_text": self.without_text,
            "ngram": NGRAM,
            "prompts": self.prompts.to_dict(),
            "ngrams": self.ngrams.to_dict(),
        }
        write_json(path, values, indent=1)
        return path


def _joined(one: HashSample, other: HashSample, most: int) -> HashSample:
    """Return the sample of the values of both; of what lies beyond either's limit it does not tell."""
    sampler = Sampler(most)
    sampler.limit = min(one.limit, other.limit)
    for sample in (one, other):
        sampler.add(sample.hashes)
    return sampler.sample()


def read_training_record(folder: str | Path) -> TrainingRecord | None:
    """Read a model folder's record; None when it has none. Raises CheckpointError for one that cannot be read."""
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format_version"] > FORMAT_VERSION or values["ngram"] != NGRAM:
            raise CheckpointError(f"{path} was written by a newer Rewardsmith; upgrade with pip install -U rewardsmith")
        samples = [HashSample.from_dict(values[name]) for name in ("prompts", "ngrams")]
        return TrainingRecord(int(values["groups"]), int(values["without_text"]), *samples)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise CheckpointError(
            f"{path} cannot be read ({str(error)[:80]}); delete it, or give the training data itself"
        ) from error


def _prompt_hash(words: list[str]) -> Hashes:
    """Return the hash of a prompt; nothing for a prompt without words."""
    if not words:
        return np.zeros(0, dtype=np.uint64)
    return np.array([text_hash(" ".join(words)) & (ALL - 1)], dtype=np.uint64)


def _run_hashes(words: list[str]) -> Hashes:
    return ngram_hashes(words, NGRAM, _word_hash) >> np.uint64(64 - HASH_BITS)


@lru_cache(maxsize=1 << 17)
def _word_hash(word: str) -> int:
    """Return a signed 64-bit number of a word that is the same in every process."""
    value = text_hash(word)
    return value - (1 << 64) if value >> 63 else value
