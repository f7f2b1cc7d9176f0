"""What an audit reads: data sets, `[NAME=]PATH[:READER]`, each a source of its own, and the samples of a policy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith.audit.caching import CachingScorer
from rewardsmith.audit.sampled_answers import CORRECT, SampledAnswers, rate_final_numbers, read_samples
from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import ConfigError
from rewardsmith.records import PreferenceGroup, Scorer

RATING = "rating:"
FINAL_NUMBER = "final-number:"
SIMULATOR = re.compile(r"simulator(?::(\d+)x(\d+))?$")
SUFFIXES = (".gz", ".zst", ".jsonl", ".json", ".parquet", ".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Reading:
    """How data are read.

    Args:
        reader: of data sets that name none.
        options: of `load_preferences`.
        draw: how many groups of each data set are drawn; None takes all.
        seed: of the drawing.
    """

    reader: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    draw: int | None = None
    seed: int = 0


@dataclass(slots=True)
class AuditData:
    """Groups of all data sets; each group's source is the name of its data set.

    Args:
        names: of the data sets, in order.
        groups: of all of them.
        dropped: rows left out, by reason.
        notes: one line for each reason of each data set.
    """

    names: list[str] = field(default_factory=list)
    groups: list[PreferenceGroup] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the whole."""
        return ", ".join(self.names)


def load_data(wanted: Sequence[str], how: Reading) -> AuditData:
    """Load every data set: `[NAME=]PATH[:READER]` of each.

    Raises:
        ConfigError: two data sets have the same name.
    """
    data = AuditData()
    for text in wanted:
        name, path, reader = parse_data(text)
        if name in data.names:
            raise ConfigError(f"two data sets are named {name!r}; name them apart: --data NAME=PATH")
        data.names.append(name)
        groups, dropped = _load(path, reader or how.reader, how.options)
        if how.draw is not None and len(groups) > how.draw:
            data.notes.append(f"{name}: drew {how.draw} of {len(groups)} groups")
            groups = draw_groups(groups, how.draw, how.seed)
        sourced = len(wanted) > 1
        data.groups += [replace(group, source=name) for group in groups] if sourced else groups
        data.dropped.update(dropped)
        data.notes += [f"{name}: dropped {count} rows ({reason})" for reason, count in dropped.items()]
    return data


def load_samples(
    name: str, gold: str | None, how: Reading, open_scorer: Callable[[str], Scorer]
) -> tuple[SampledAnswers, list[str]]:
    """Load answers that were sampled from a policy, and what judges them. Returns notes, too.

    Args:
        name: a file of samples or of preference data, `PATH[:READER]`; or "simulator:100x64", 64 answers of 100
            prompts of the simulator.
        gold: "rating:NAME", "final-number:COLUMN", what `open_scorer` opens, or None for the variance alone.
        how: how they are read; the seed also draws the simulator's answers.
        open_scorer: opens the gold scorer by its name.
    """
    simulated = SIMULATOR.match(name)
    if simulated:
        from rewardsmith.data.simulate import sample_groups

        prompts, answers = (
            int(number) if number else default for number, default in zip(simulated.groups(), (100, 64), strict=True)
        )
        groups, gold = sample_groups(prompts, answers, how.seed), gold or "simulator:gold"
        notes: list[str] = []
    else:
        groups, notes = _read_samples(name, how)
    if gold is not None and gold.startswith(FINAL_NUMBER):
        return SampledAnswers(rate_final_numbers(groups, gold.removeprefix(FINAL_NUMBER)), CORRECT), notes
    if gold is not None and gold.startswith(RATING):
        return SampledAnswers(groups, gold.removeprefix(RATING)), notes
    return SampledAnswers(groups, CachingScorer(open_scorer(gold)) if gold else None), notes


def _read_samples(name: str, how: Reading) -> tuple[list[PreferenceGroup], list[str]]:
    """Read samples: with repeated answers where the file is one of samples, else as preference data are read."""
    if how.reader is None and Path(name).is_file():
        groups = read_samples(name, how.options.get("limit"))
        if groups is not None:
            return draw_groups(groups, how.draw, how.seed), []
    data = load_data([name], how)
    return data.groups, [f"samples: {line}" for line in data.notes]


def draw_groups(groups: list[PreferenceGroup], number: int | None, seed: int) -> list[PreferenceGroup]:
    """Draw `number` groups by `seed`, in their order; all of them where there are no more."""
    if number is None or len(groups) <= number:
        return groups
    chosen = np.random.default_rng(seed).choice(len(groups), number, replace=False)
    return [groups[index] for index in sorted(chosen)]


def parse_data(text: str) -> tuple[str, str, str | None]:
    """Split `[NAME=]PATH[:READER]`; a path that exists as it is written is not split.

    Example:
        >>> parse_data("hh=no-such-file.jsonl:hh-rlhf")
        ('hh', 'no-such-file.jsonl', 'hh-rlhf')
    """
    name, sign, rest = text.partition("=")
    if not sign or Path(text).exists() or "/" in name:
        name, rest = "", text
    path, reader = rest, ""
    if ":" in rest and not Path(rest).exists():
        path, _, reader = rest.partition(":")
    return name or _short(path), path, reader or None


def _short(path: str) -> str:
    """Name a data set after its file."""
    name = Path(path).name or path
    while name.endswith(SUFFIXES):
        name = name[: name.rindex(".")]
    return name


def _load(path: str, reader: str | None, options: Mapping[str, Any]) -> tuple[list[PreferenceGroup], Mapping[str, int]]:
    """Read preference data, or a benchmark in its published layout where the reader is a benchmark's name."""
    from rewardsmith.data.sets import CATALOGUE
    from rewardsmith.evaluation.benchmarks.running import BENCHMARKS

    # A reader of preference data comes before the benchmark in the same layout.
    if reader in BENCHMARKS and reader not in CATALOGUE:
        benchmark = BENCHMARKS[reader]
        groups = [
            group for where, row in benchmark.rows(path, options["split"]) for group in benchmark.read(where, row)
        ]
        return groups[: options["limit"]], {}
    loaded = load_preferences(path, reader=reader, **options)
    return list(loaded), loaded.report.dropped
