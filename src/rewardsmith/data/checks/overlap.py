"""Find what a test set shares with training data: the same prompt, nearly the same, or a run of 13 words.

The rule of Tulu 3 (Lambert et al. 2024, arXiv 2411.15124, section 3.2) and Skywork-Reward-V2: a training row that
shares any 13-gram with a prompt of the test set is contaminated. Here every test group is marked as well, so that
accuracy can be given on clean and on seen groups apart.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rewardsmith.data.columns import Columns
from rewardsmith.data.detecting import read_rows
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.loading import LoadReport, iter_preferences
from rewardsmith.data.merging import NgramIndex, ngram_hashes, text_digest, words_of
from rewardsmith.data.near import NearDuplicates
from rewardsmith.data.texts import locate, name_groups, question_text
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import PreferenceGroup, as_text

Kind = Literal["same pair", "same prompt", "near prompt", "n-gram"]
KINDS: tuple[Kind, ...] = ("same pair", "same prompt", "near prompt", "n-gram")
Side = Literal["train", "test"]
Watch = Callable[[Iterator[PreferenceGroup]], Iterable[PreferenceGroup]]
EXCERPT = 100
MEANING: dict[Kind, str] = {
    "same pair": "the same two completions of the same prompt",
    "same prompt": "case, punctuation and blanks aside",
    "near prompt": "byte 5-grams with Jaccard similarity >= {near:g}",
    "n-gram": "{ngram} words of the test prompt, in prompt or completions of the training row",
}


@dataclass(frozen=True, slots=True)
class Source:
    """One of the two sets: where it lies and how it is read.

    Args:
        path: a file, a folder or a hub id.
        reader: data set or row format.
        split: of a folder or hub data set.
        column: where the texts stand in rows that hold a prompt alone, such as those of a benchmark.
        columns: which of the file's columns is what, as `load_preferences` takes it.
    """

    path: str
    reader: str | None = None
    split: str | None = None
    column: str | None = None
    columns: Columns | None = None

    def read(self, report: LoadReport) -> Iterator[tuple[str, PreferenceGroup]]:
        """Yield (where, group); rows that cannot be read are counted in `report`."""
        if self.column is not None:
            return self._prompts(report, self.column)
        return locate(self.path, report, reader=self.reader, split=self.split, columns=self.columns, on_error="count")

    def _prompts(self, report: LoadReport, column: str) -> Iterator[tuple[str, PreferenceGroup]]:
        """Yield rows of prompts as groups without completions."""

        def left_out(error: DataError) -> None:
            report.rows += 1
            report.drop(error)

        for where, row in read_rows(self.path, split=self.split, on_broken=left_out):
            report.rows += 1
            try:
                if column not in row:
                    raise DataError(f"{where}: no column {column!r}; the row has: {', '.join(map(str, row)) or 'none'}")
                yield where, PreferenceGroup(as_text(row[column], f"{where}: column {column!r}"), ())
            except DataError as error:
                report.drop(error)


@dataclass(frozen=True, slots=True)
class Hit:
    """One test group and the first training group that shares something with it.

    Args:
        kind: what they share.
        test: where the test group stands, `test_number` its number from 0.
        train: where the training group stands, `train_number` its number from 0.
        excerpt: the shared run of words, or the beginning of the test prompt.
    """

    kind: Kind
    test: str
    train: str
    test_number: int
    train_number: int
    excerpt: str


@dataclass(slots=True)
class Overlap:
    """What two sets share.

    Args:
        ngram: words in a run.
        near: Jaccard similarity of near-duplicate prompts; 0 when they were not looked for.
        num_train: training groups read.
        num_test: test groups read.
        num_short: test groups whose prompt has fewer than `ngram` words, so that no run of them can be found.
        hits: at most one a test group and kind, in the order of the test groups.
        train_hits: kind to the number of training groups that share it with any test group.
        train_numbers: the numbers, from 0, of all training groups with a hit of any kind: what to take out.
    """

    ngram: int
    near: float
    num_train: int = 0
    num_test: int = 0
    num_short: int = 0
    hits: list[Hit] = field(default_factory=list)
    train_hits: Counter[str] = field(default_factory=Counter)
    train_numbers: set[int] = field(default_factory=set)

    def test_groups(self, *kinds: Kind) -> set[int]:
        """Return the numbers of the test groups with a hit of one of these kinds (of any kind when none is named)."""
        return {hit.test_number for hit in self.hits if not kinds or hit.kind in kinds}

    def share(self, *kinds: Kind) -> float:
        """Return the share of test groups with such a hit; NaN without test groups."""
        return len(self.test_groups(*kinds)) / self.num_test if self.num_test else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON, the hits left out: they are rows of their own."""
        any_share = self.share()
        return {
            "ngram": self.ngram,
            "near": self.near,
            "train_groups": self.num_train,
            "test_groups": self.num_test,
            "test_prompts_too_short": self.num_short,
            "test_groups_hit": len(self.test_groups()),
            "share": None if math.isnan(any_share) else any_share,
            "train_groups_hit": len(self.train_numbers),
            "kinds": {
                kind: {"test_groups": len(self.test_groups(kind)), "train_groups": self.train_hits[kind]}
                for kind in KINDS
            },
        }


def find_overlap(
    train: Iterable[Any], test: Iterable[Any], ngram: int = 13, near: float = 0.8, index: Side = "test"
) -> Overlap:
    """Find the test groups that the training data hold.

    A test group is hit by a training group that
    - compares the same two completions of the same prompt ("same pair"),
    - has the same prompt ("same prompt"; case, punctuation and blanks do not count),
    - has nearly the same prompt ("near prompt"; byte 5-grams with Jaccard similarity >= `near`),
    - holds a run of `ngram` words of the test prompt in its prompt or in a completion ("n-gram").

    System messages and marks of speakers are left out of prompts. The indexed side is held as numbers: 12 bytes a
    word of its prompts (of its completions too when it is the training side), and with `near` 2 KB and the text of
    each distinct prompt. The other side streams. Both ways find the same.

    Args:
        train: groups, or (where, group).
        test: groups, or (where, group).
        ngram: words in a run.
        near: similarity of near-duplicates, 0 to leave them out (they take most of the time).
        index: the side to hold in memory; the smaller one.

    Example:
        >>> group = PreferenceGroup("What is the capital of France?", ("Paris", "Lyon"))
        >>> find_overlap([group], [group]).share("same prompt")
        1.0
    """
    if ngram < 1 or not 0 <= near <= 1 or index not in ("train", "test"):
        raise ConfigError(f"ngram must be >= 1, near in [0, 1], index train or test; not {ngram}, {near}, {index!r}")
    result = Overlap(ngram, near)
    held = _Held(ngram, near, with_answers=index == "train")
    sides: dict[str, Iterator[tuple[str, PreferenceGroup]]] = {
        "train": name_groups(train, "train"),
        "test": name_groups(test, "test"),
    }
    for where, group in sides[index]:
        held.add(where, _Read.of(group))
        _count(result, index, group, ngram)
    other: Side = "train" if index == "test" else "test"
    for number, (where, group) in enumerate(sides[other]):
        _count(result, other, group, ngram)
        for found in held.look_up(_Read.of(group)):
            _record(result, held, found, (other, where, number))
    result.hits.sort(key=lambda hit: (hit.test_number, KINDS.index(hit.kind)))
    return result


def write_without(source: Source, numbers: set[int], path: Path, watch: Watch = iter) -> int:
    """Read a set again and write its groups but for those of `numbers`; returns how many were written.

    Args:
        watch: wraps the groups as they pass, for a progress bar.
    """
    groups = iter_preferences(source.path, reader=source.reader, split=source.split, on_error="count")
    kept = 0
    with open_groups(path) as write:
        for number, group in enumerate(watch(groups)):
            if number not in numbers:
                write(group)
                kept += 1
    return kept


def _count(result: Overlap, side: Side, group: PreferenceGroup, ngram: int) -> None:
    """Count a group as it passes."""
    if side == "train":
        result.num_train += 1
        return
    result.num_test += 1
    result.num_short += len(words_of(question_text(group))) < ngram


@dataclass(frozen=True, slots=True)
class _Read:
    """A group as words: its question, its answers, and a key for each compared pair."""

    question: str
    words: list[str]
    answers: list[list[str]]
    pairs: list[bytes]

    @classmethod
    def of(cls, group: PreferenceGroup) -> _Read:
        words = words_of(question_text(group))
        answers = [words_of(plain_text(completion)) for completion in group.completions]
        digests = [text_digest(" ".join(answer)) for answer in answers]
        question = " ".join(words)
        sides = [sorted((digests[c.better], digests[c.worse])) for c in group.comparisons if c.better != c.worse]
        pairs = [text_digest(question) + first + second for first, second in sides]
        return cls(question, words, answers, list(dict.fromkeys(pairs)))


@dataclass(frozen=True, slots=True)
class _Found:
    """What one look-up found: the first number of the held side, and (number, excerpt) of those found anew."""

    kind: Kind
    first: int | None
    excerpt: str
    fresh: list[tuple[int, str]]


class _Held:
    """The indexed side: names, keys of prompts and pairs, n-grams, and signatures of prompts."""

    def __init__(self, ngram: int, near: float, with_answers: bool) -> None:
        self.ngram, self.with_answers = ngram, with_answers
        self.names: list[str] = []
        self.prompts, self.pairs = _Keys(), _Keys()
        self.ngrams = NgramIndex()
        self.near = NearDuplicates(near) if near else None
        self.near_numbers: list[list[int]] = []
        self.near_given: set[int] = set()

    def add(self, where: str, read: _Read) -> None:
        """Enter one group."""
        number = len(self.names)
        self.names.append(where)
        for text in [read.words, *(read.answers if self.with_answers else ())]:
            self.ngrams.add(number, ngram_hashes(text, self.ngram))
        self.pairs.add(number, read.pairs)
        if not read.question:
            return
        self.prompts.add(number, [text_digest(read.question)])
        if self.near is None:
            return
        if read.question in self.near.exact:
            self.near_numbers[self.near.exact[read.question]].append(number)
        else:
            self.near.add(read.question)
            self.near_numbers.append([number])

    def look_up(self, read: _Read) -> Iterator[_Found]:
        """Return every kind of match of one group of the streamed side."""
        numbers: list[tuple[Kind, tuple[int | None, list[int]]]] = [("same pair", self.pairs.match(read.pairs))]
        if read.question:
            numbers.append(("same prompt", self.prompts.match([text_digest(read.question)])))
            numbers.append(("near prompt", self._near(read.question)))
        for kind, (first, fresh) in numbers:
            yield _Found(kind, first, read.question[:EXCERPT], [(n, read.question[:EXCERPT]) for n in fresh])
        yield self._runs(read)

    def _runs(self, read: _Read) -> _Found:
        """Look up the runs of words of a test prompt, or of a training prompt and its completions."""
        first, excerpt, fresh = None, "", []
        for words in [read.words] if self.with_answers else [read.words, *read.answers]:
            match = self.ngrams.match(ngram_hashes(words, self.ngram))
            if match.first is None:
                continue
            first = match.first if first is None else min(first, match.first)
            excerpt = excerpt or " ".join(words[match.place : match.place + self.ngram])
            fresh += [(number, " ".join(words[place : place + self.ngram])) for number, place in match.fresh]
        return _Found("n-gram", first, excerpt, fresh)

    def _near(self, question: str) -> tuple[int | None, list[int]]:
        """Find the prompts that are nearly, not exactly, this one."""
        if self.near is None:
            return None, []
        places = [p for p in self.near.find(question) if self.near.texts[p] != question]
        numbers = [number for place in places for number in self.near_numbers[place]]
        fresh = [number for number in numbers if number not in self.near_given]
        self.near_given.update(fresh)
        return min(numbers, default=None), fresh


class _Keys:
    """Which numbers hold a key; each number is fresh once."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, list[int]] = {}
        self.given: set[int] = set()

    def add(self, number: int, keys: list[bytes]) -> None:
        """Enter the keys of one group."""
        for key in keys:
            self.numbers.setdefault(key, []).append(number)

    def match(self, keys: list[bytes]) -> tuple[int | None, list[int]]:
        """Look up the keys of one group of the other side: the lowest number, and those found anew."""
        found = [key for key in keys if key in self.numbers]
        fresh = list(dict.fromkeys(n for key in found for n in self.numbers[key] if n not in self.given))
        self.given.update(fresh)
        for key in found:
            # The first alone answers later look-ups: a prompt that stands in a million rows is walked through once.
            del self.numbers[key][1:]
        return min((self.numbers[key][0] for key in found), default=None), fresh


def _record(result: Overlap, held: _Held, found: _Found, streamed: tuple[Side, str, int]) -> None:
    """Enter what one look-up found, from the view of the side that was streamed."""
    side, where, number = streamed
    if side == "train":
        if found.first is not None:
            result.train_hits[found.kind] += 1
            result.train_numbers.add(number)
        for owner, excerpt in found.fresh:
            result.hits.append(Hit(found.kind, held.names[owner], where, owner, number, excerpt))
        return
    result.train_hits[found.kind] += len(found.fresh)
    result.train_numbers.update(owner for owner, _ in found.fresh)
    if found.first is not None:
        result.hits.append(Hit(found.kind, where, held.names[found.first], number, found.first, found.excerpt))
