"""Choose how much of each source goes into a mixture: by cap or by weight, always the same groups for a seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rewardsmith.data.merging import hash_share
from rewardsmith.errors import ConfigError
from rewardsmith.files.settings import read_settings
from rewardsmith.records import PreferenceGroup, text_key


@dataclass(frozen=True, slots=True)
class Portion:
    """How much of one source goes into a mixture.

    Args:
        weight: its size in the mixture relative to the other weights; None takes all of it.
        cap: at most so many groups; None for no limit.
    """

    weight: float | None = None
    cap: int | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not self.weight > 0:
            raise ConfigError(f"a weight must be above 0, not {self.weight}; leave the source out instead")
        if self.cap is not None and self.cap < 1:
            raise ConfigError(f"a cap must be 1 or more, not {self.cap}; leave the source out instead")


def group_rank(group: PreferenceGroup, seed: int) -> float:
    """Return the number in [0, 1) by which groups are chosen: those with the lowest go into the mixture.

    It depends on prompt and completions only, so a larger cap adds groups and removes none.
    """
    return hash_share("\x1f".join([text_key(group.prompt), *map(text_key, group.completions)]), seed)


def plan_counts(sizes: Sequence[int], portions: Sequence[Portion]) -> list[int]:
    """Return how many groups each source contributes.

    Caps come first. Among the sources with a weight, counts are in the ratio of the weights and as large as the
    scarcest of them allows, without taking any group twice. Sources without a weight give all they have.
    """
    limits = [
        size if portion.cap is None else min(size, portion.cap) for size, portion in zip(sizes, portions, strict=True)
    ]
    weighted = [limit / portion.weight for limit, portion in zip(limits, portions, strict=True) if portion.weight]
    unit = min(weighted, default=0.0)
    return [
        limit if portion.weight is None else min(limit, round(unit * portion.weight))
        for limit, portion in zip(limits, portions, strict=True)
    ]


def rank_threshold(ranks: Iterable[float], count: int) -> float:
    """Return the rank up to which (inclusive) `count` groups are taken; -1 for none."""
    values = np.fromiter(ranks, dtype=np.float64)
    if count <= 0 or not len(values):
        return -1.0
    return float(np.partition(values, min(count, len(values)) - 1)[min(count, len(values)) - 1])


def choose_groups(
    groups: Iterable[PreferenceGroup], count: int, threshold: float, seed: int
) -> Iterator[PreferenceGroup]:
    """Yield the `count` groups whose rank is at most `threshold` (of `rank_threshold`), in order."""
    for group in groups:
        # Equal groups have equal ranks: the count keeps it exact even when they stand at the threshold.
        if count > 0 and group_rank(group, seed) <= threshold:
            count -= 1
            yield group


def mix_groups(
    sources: Sequence[Sequence[PreferenceGroup]], portions: Sequence[Portion], seed: int = 0
) -> list[list[PreferenceGroup]]:
    """Return what each source contributes to a mixture, in its order."""
    counts = plan_counts([len(source) for source in sources], portions)
    chosen = []
    for source, count in zip(sources, counts, strict=True):
        threshold = rank_threshold((group_rank(group, seed) for group in source), count)
        chosen.append(list(choose_groups(source, count, threshold, seed)))
    return chosen


def describe_mixture(
    names: Sequence[str], sources: Sequence[Sequence[object]], chosen: Sequence[Sequence[object]]
) -> list[str]:
    """Say how many groups of each source are in a mixture; nothing where all of them are."""
    parts = [
        f"{len(taken)} of {len(source)} groups of {name}"
        for name, source, taken in zip(names, sources, chosen, strict=True)
    ]
    cut = any(len(taken) < len(source) for source, taken in zip(sources, chosen, strict=True))
    return [f"mixture by fractions: {', '.join(parts)}"] if cut else []


class MixtureSource(BaseModel):
    """One data set of a mixture, as a recipe writes it: the keys of `trl reward`.

    Args:
        path: a file, a folder or a hub id.
        name: configuration of a hub data set.
        data_dir: folder inside `path`.
        data_files: a name, a pattern, a list of them, or a mapping of splits to them.
        split: which split is read.
        columns: the only columns that are read, or a mapping of columns to ours.
        fraction: its size in the mixture relative to the other fractions.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str = Field(min_length=1)
    name: str | None = None
    data_dir: str | None = None
    data_files: str | list[str] | dict[str, str | list[str]] | None = None
    split: str = "train"
    columns: list[str] | dict[str, str] | None = None
    fraction: float | None = Field(None, gt=0, allow_inf_nan=False)

    @classmethod
    def read(cls, value: object, where: str) -> MixtureSource:
        """Read a mapping, or a path alone. Raises ConfigError that names the nearest key."""
        return read_settings(cls, {"path": value} if isinstance(value, str) else value, where)
