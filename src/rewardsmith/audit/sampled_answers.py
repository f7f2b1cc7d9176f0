"""Answers that were sampled from a policy, and the gold reward that judges them.

An answer given twice counts twice: preference data keep each answer once, a best-of-n estimate must not, since a policy
does repeat itself. The gold reward may be checked: the last number of a solution against the known one.

Also what an audit reads: data sets, `[NAME=]PATH[:READER]`, each a source of its own, and the samples of a policy.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith.audit.plan import CachingScorer
from rewardsmith.data.detecting import read_rows
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import PreferenceGroup, Scorer, ScoreRequest, Text, as_text, text_key

LISTS = ("completions", "responses", "answers")
SINGLES = ("completion", "response", "answer")
NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?|[-+]?\.\d+")
# What stands after the last of these is the answer, as in GSM8K ("#### 18", "A: 18") and MATH ("\boxed{18}").
MARKS = ("####", "\\boxed{", "A:", "answer is", "Answer:")
CORRECT = "correct"
RATING = "rating:"
FINAL_NUMBER = "final-number:"
SIMULATOR = re.compile(r"simulator(?::(\d+)x(\d+))?$")
SUFFIXES = (".gz", ".zst", ".jsonl", ".json", ".parquet", ".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class SampledAnswers:
    """Sampled answers and what judges them.

    Args:
        groups: of prompts with their answers.
        gold: a scorer, the name of a rating, or None for the variance alone.
    """

    groups: Sequence[PreferenceGroup]
    gold: Scorer | str | None = None

    def score(self, scorer: CachingScorer) -> list[tuple[PreferenceGroup, list[float]]]:
        """Return the groups all of whose answers can be scored, with their rewards."""
        rows = scorer.try_requests([ScoreRequest.of_group(group) for group in self.groups])
        scored = []
        for group, row in zip(self.groups, rows, strict=True):
            rewards = [reward for reward in row if reward is not None]
            if len(rewards) == len(row):
                scored.append((group, rewards))
        return scored


def read_samples(path: str | Path, limit: int | None = None) -> list[PreferenceGroup] | None:
    """Read a file of sampled answers; None where its rows have another layout, such as that of preference data.

    Two layouts, told apart by the first row:
    - `prompt` and `completions` (a list), perhaps with `scores` or `ratings` (name to a list);
    - `prompt` and `completion`, one answer a row, its numeric columns being ratings; rows of one prompt belong
      together wherever they stand.
    `responses` or `answers` are read as `completions` is. Prompts and answers are text or messages. Other columns, such
    as the known answer, are kept in `metadata`.

    Args:
        limit: read at most so many rows.

    Raises:
        DataError: a row lacks what the first row has, or its lists differ in length.
    """
    rows = read_rows(path)
    first = next(rows, None)
    if first is None or "prompt" not in first[1]:
        return None
    column = next((name for name in (*LISTS, *SINGLES) if name in first[1]), None)
    is_list = column in LISTS and isinstance(first[1][column], list)
    if column is None or (column in LISTS and not is_list) or (is_list and _is_other_layout(first[1][column])):
        return None
    every = islice(_chain(first, rows), limit)
    if is_list:
        return [_read_list(where, row, column) for where, row in every]
    return _gather(every, column)


def _chain(first: tuple[str, Any], rows: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    yield first
    yield from rows


def _is_other_layout(values: list[Any]) -> bool:
    """Whether completions are objects with ranks or scores inside, which the readers of preference data know."""
    return bool(values) and isinstance(values[0], Mapping)


def _read_list(where: str, row: Mapping[str, Any], column: str) -> PreferenceGroup:
    """Read a prompt with all its answers."""
    values = _need(where, row, column)
    if not isinstance(values, list):
        raise DataError(f"{where}: column {column!r} must be a list of answers, not {type(values).__name__}")
    completions = tuple(as_text(value, f"{where} {column}[{place}]") for place, value in enumerate(values))
    ratings = dict(row.get("ratings") or {})
    if row.get("scores") is not None:
        ratings.setdefault("score", row["scores"])
    for name, scores in ratings.items():
        if not isinstance(scores, list | tuple) or len(scores) != len(completions):
            raise DataError(
                f"{where}: rating {name!r} needs a list with one number for each of {len(completions)} answers"
            )
    return PreferenceGroup(
        _prompt(where, row),
        completions,
        ratings={name: tuple(_number(where, name, score) for score in scores) for name, scores in ratings.items()},
        group_id=where,
        metadata={k: v for k, v in row.items() if k not in ("prompt", column, "ratings", "scores")},
    )


def _gather(rows: Iterator[tuple[str, Any]], column: str) -> list[PreferenceGroup]:
    """Put the answers of one prompt together."""
    buckets: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for where, row in rows:
        buckets.setdefault(text_key(_prompt(where, row)), []).append((where, row))
    groups = []
    for own in buckets.values():
        where, row = own[0]
        texts = tuple(as_text(_need(place, item, column), f"{place} {column}") for place, item in own)
        others = [name for name in row if name not in ("prompt", column)]
        numeric = [name for name in others if all(_is_number(item.get(name)) for _, item in own)]
        ratings = {name: tuple(_number(place, name, item.get(name)) for place, item in own) for name in numeric}
        metadata = {name: row[name] for name in others if name not in numeric}
        groups.append(PreferenceGroup(_prompt(where, row), texts, ratings=ratings, group_id=where, metadata=metadata))
    return groups


def _prompt(where: str, row: Mapping[str, Any]) -> Text:
    return as_text(_need(where, row, "prompt"), f"{where} prompt")


def _need(where: str, row: Mapping[str, Any], column: str) -> Any:
    if row.get(column) is None:
        raise DataError(f"{where}: column {column!r} is missing or empty; every row of samples needs it")
    return row[column]


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _number(where: str, name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{where}: rating {name!r} holds {str(value)[:40]!r}, which is no number") from None


def final_number(text: str) -> float | None:
    """Return the number that a solution ends with: the first after the last mark of an answer, else the last of all.

    Example:
        >>> final_number("3 x 6 = 18, so she earns $1,018.00. #### 1,018")
        1018.0
    """
    place = max((text.rfind(mark) + len(mark) for mark in MARKS if mark in text), default=None)
    found = NUMBER.findall(text[place:]) if place is not None else []
    if found:
        return _number_of(found[0])
    found = NUMBER.findall(text)
    return _number_of(found[-1]) if found else None


def rate_final_numbers(groups: Sequence[PreferenceGroup], column: str) -> list[PreferenceGroup]:
    """Add the rating "correct": 1 where an answer's final number is that of `metadata[column]`, else 0.

    Groups without such an entry are left as they are, and so without a gold reward.

    Raises:
        DataError: no group has the entry with a number.
    """
    rated, num_checked = [], 0
    for group in groups:
        truth = _truth(group.metadata.get(column))
        if truth is None:
            rated.append(group)
            continue
        num_checked += 1
        found = [final_number(plain_text(completion)) for completion in group.completions]
        correct = tuple(
            float(value is not None and abs(value - truth) <= 1e-6 * max(1.0, abs(truth))) for value in found
        )
        rated.append(replace(group, ratings={**group.ratings, CORRECT: correct}))
    if not num_checked:
        known = sorted({name for group in groups for name in group.metadata})
        raise DataError(f"no row has a number in the column {column!r} (columns found: {', '.join(known) or 'none'})")
    return rated


def _truth(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return final_number(value) if isinstance(value, str) else None


def _number_of(text: str) -> float | None:
    top, _, bottom = text.replace(",", "").partition("/")
    if bottom and float(bottom) == 0:
        return None
    return float(top) / float(bottom or 1)


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
        groups, dropped, notes = _load(path, reader or how.reader, how.options)
        data.notes += [f"{name}: {note}" for note in notes]
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


def _load(
    path: str, reader: str | None, options: Mapping[str, Any]
) -> tuple[list[PreferenceGroup], Mapping[str, int], Sequence[str]]:
    """Read preference data, or a benchmark in its published layout where the reader is a benchmark's name.

    Returns the groups, how many rows were left out by reason, and what the user should know of the reading.
    """
    from rewardsmith.data.sets import CATALOGUE
    from rewardsmith.evaluation.benchmarks.running import BENCHMARKS

    # A reader of preference data comes before the benchmark in the same layout.
    if reader in BENCHMARKS and reader not in CATALOGUE:
        if options.get("columns"):
            raise ConfigError(f"{reader} is a benchmark, read as its authors publish it: leave --columns out")
        benchmark = BENCHMARKS[reader]
        groups = [
            group for where, row in benchmark.rows(path, options["split"]) for group in benchmark.read(where, row)
        ]
        return groups[: options["limit"]], {}, ()
    loaded = load_preferences(path, reader=reader, **options)
    return list(loaded), loaded.report.dropped, tuple(dict.fromkeys(loaded.report.notes))
