"""Rewards of models whose own code computes them: by attribute, by step, or one number.

Rows are batched with rows of their own length, so that nothing depends on how foreign code treats padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.packing import distinct
from rewardsmith.records import Completion

Groups = Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Reading:
    """One reward with what it was made of.

    Args:
        reward: the number.
        attributes: name -> score, for a head with several objectives.
        steps: score of each step, for a step model.
    """

    reward: float
    attributes: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[float, ...] = ()


class Reader(Protocol):
    """How to read rewards off a foreign model."""

    def prepare(self, completion: Completion) -> Completion:
        """Give the completion as the model wants it, such as with its step tokens."""

    def check(self, ids: Sequence[int]) -> None:
        """Refuse token ids that the model cannot judge. Raises ScoringError."""

    def read(self, model: Any, input_ids: Tensor) -> list[Reading]:
        """Score rows of one length. Shapes: input_ids [U, L] -> U readings."""


def compute_readings(model: Any, reader: Reader, groups: Groups, tokens_per_batch: int) -> list[list[Reading]]:
    """Read every sequence of every group, in input order; equal sequences are computed once.

    Raises:
        ScoringError: an empty sequence, or a reward that is not finite.
    """
    rows, index = distinct(sequence for group in groups for sequence in group)
    if any(not row for row in rows):
        raise ScoringError("a sequence without tokens was given; nothing can be scored in it")
    by_length: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(number)
    readings: dict[int, Reading] = {}
    for length, numbers in by_length.items():
        size = max(1, tokens_per_batch // length)
        for start in range(0, len(numbers), size):
            chunk = numbers[start : start + size]
            found = _read_rows(model, reader, [rows[number] for number in chunk])
            readings.update(zip(chunk, found, strict=True))
    stream = iter(index)
    return [[readings[next(stream)] for _ in group] for group in groups]


def _read_rows(model: Any, reader: Reader, rows: list[tuple[int, ...]]) -> list[Reading]:
    with torch.no_grad():
        readings = reader.read(model, torch.tensor(rows, device=model.device))
    for reading in readings:
        if not -float("inf") < reading.reward < float("inf"):
            raise ScoringError(f"the model gave {reading.reward}; check its weights, or load it in fp32")
    return readings
