"""Judges as rewards: pairs of answers compared, and rubrics of named criteria.

A group of answers to one prompt plays a tournament, and a Bradley-Terry fit turns its results into one number each, in
log odds. Each pair is read in both orders, since judges favour a side; verdicts that differ are a tie.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, runtime_checkable

import numpy as np

from rewardsmith.clients.chat import ChatModel
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import Completion, ScoreRequest, Text, text_key
from rewardsmith.stats.rankings import bradley_terry

# Each pair that met counts as half a tie more than was judged: the rating of an unbeaten answer stays finite.
PRIOR_TIE = 0.5
MOST_KEPT = 100_000
PAIR_QUESTION = """Which answer to the prompt is better? Weigh correctness, helpfulness and honesty; neither length \
nor order counts. End with [[A]] if answer A is better, [[B]] if answer B is, [[C]] if they are equally good.

[Prompt]
{prompt}

[Answer A]
{first}

[Answer B]
{second}"""
RUBRIC_QUESTION = """Judge the answer to the prompt by each criterion. Give one line for each, NAME: VERDICT.

{criteria}

[Prompt]
{prompt}

[Answer]
{answer}"""
VERDICT = re.compile(r"\[\[\s*([ABC])\s*\]\]", re.IGNORECASE)
POINTS = {"A": 1.0, "B": 0.0, "C": 0.5}


@runtime_checkable
class Comparer(Protocol):
    """Anything that says how probably the first of two answers is the better one, whatever their order."""

    name: str

    def compare(self, prompt: Text, first: Completion, second: Completion) -> float: ...


class ChatComparer:
    """A chat model that compares two answers, asked in both orders.

    Args:
        chat: whom to ask.
        question: with {prompt}, {first} and {second}; the verdict is the last [[A]], [[B]] or [[C]] of what it says.

    `counts` holds how often it was asked, verdicts that could not be read, and pairs whose orders disagreed.
    """

    def __init__(self, chat: ChatModel, question: str = PAIR_QUESTION) -> None:
        self.chat, self.question, self.name = chat, question, f"judge({chat.name})"
        self.counts: Counter[str] = Counter()

    def compare(self, prompt: Text, first: Completion, second: Completion) -> float:
        """Return 1, 1/2 or 0. Raises ScoringError where neither order gives a verdict."""
        [found] = self.compare_all([(prompt, first, second)])
        if found is None:
            raise ScoringError(f"{self.name} gave no verdict in either order; it must end with [[A]], [[B]] or [[C]]")
        return found

    def compare_all(self, pairs: Sequence[tuple[Text, Completion, Completion]]) -> list[float | None]:
        """Return the probability that the first is better for each pair, None where no verdict could be read."""
        asked = [self._ask(*pair) for pair in pairs] + [self._ask(p, second, first) for p, first, second in pairs]
        texts = self.chat.ask_all(asked)
        self.counts["asked"] += len(texts)
        verdicts = [self._read(text) for text in texts]
        return [self._both(*orders) for orders in zip(verdicts[: len(pairs)], verdicts[len(pairs) :], strict=True)]

    def _ask(self, prompt: Text, first: Completion, second: Completion) -> list[dict[str, str]]:
        words = {"prompt": plain_text(prompt), "first": plain_text(first), "second": plain_text(second)}
        return [{"role": "user", "content": fill(self.question, words)}]

    def _read(self, text: str) -> float | None:
        found = VERDICT.findall(text)
        if not found:
            self.counts["parse_errors"] += 1
            return None
        return POINTS[found[-1].upper()]

    def _both(self, forth: float | None, back: float | None) -> float | None:
        """Join the two orders; one that could not be read leaves the other."""
        turned = None if back is None else 1.0 - back
        if forth is None or turned is None:
            return turned if forth is None else forth
        if forth != turned:
            self.counts["order_disagreements"] += 1
        return (forth + turned) / 2


def fill(template: str, words: Mapping[str, str]) -> str:
    """Put words in the place of {names}; braces inside the words stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda found: words.get(found[1], found[0]), template)


class GroupJudge:
    """A comparer as a scorer of all answers to a prompt: a tournament and a Bradley-Terry fit.

    Args:
        comparer: who compares two answers; a loaded PairRM is one, `ChatComparer` another.
        matches: how many others each answer meets, in a drawn order; None lets all meet.
        seed: of the draw.

    Example:
        ```python
        judge = GroupJudge(ChatComparer(ChatModel("http://127.0.0.1:8000", "judge")), matches=4)
        trainer = GRPOTrainer(..., reward_funcs=reward_function(judge))
        ```
    """

    def __init__(self, comparer: Comparer, matches: int | None = None, seed: int = 0) -> None:
        if matches is not None and matches < 1:
            raise ConfigError(f"matches must be 1 or more, not {matches}; leave it out to let all answers meet")
        self.comparer, self.matches, self.name = comparer, matches, comparer.name
        self._random, self._known = random.Random(seed), dict[tuple[str, str, str], float | None]()
        self._own: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """What the comparer counts, and pairs and ties of all tournaments."""
        counted = self.comparer.counts if isinstance(self.comparer, ChatComparer) else {}
        return {**counted, **self._own}

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return the rating of each answer in log odds, centred on 0.

        Raises:
            ScoringError: fewer than two answers, or an answer none of whose pairs gave a verdict.
        """
        if any(len(request.completions) < 2 for request in requests):
            raise ScoringError(f"{self.name} compares answers; a prompt needs two or more (num_generations)")
        drawn = [draw_pairs(len(request.completions), self.matches, self._random) for request in requests]
        self._judge(requests, drawn)
        return [self._rate(request, pairs) for request, pairs in zip(requests, drawn, strict=True)]

    def _judge(self, requests: Sequence[ScoreRequest], drawn: Sequence[Sequence[tuple[int, int]]]) -> None:
        """Ask for the verdicts that are not known yet, all together."""
        new: dict[tuple[str, str, str], tuple[Text, Completion, Completion]] = {}
        for request, pairs in zip(requests, drawn, strict=True):
            for one, other in pairs:
                key = _pair_key(request, one, other)
                if key not in self._known and key[1] != key[2]:
                    new.setdefault(key, (request.prompt, *sorted_pair(request, one, other)))
        if len(self._known) > MOST_KEPT:
            self._known.clear()
        if isinstance(self.comparer, ChatComparer):
            found = self.comparer.compare_all(list(new.values()))
        else:
            found = [self.comparer.compare(*pair) for pair in new.values()]
        self._known.update(zip(new, found, strict=True))

    def _rate(self, request: ScoreRequest, pairs: Sequence[tuple[int, int]]) -> list[float]:
        """Fit the ratings of one prompt's answers."""
        size = len(request.completions)
        wins, met = np.zeros((size, size)), np.zeros(size)
        for one, other in pairs:
            key = _pair_key(request, one, other)
            # Two answers of one text are a tie that nobody needs to be asked about.
            first = 0.5 if key[1] == key[2] else self._known[key]
            if first is None:
                continue
            share = first if text_key(request.completions[one]) == key[1] else 1.0 - first
            self._own.update(pairs=1, ties=int(share == 0.5))
            wins[one, other] += share + PRIOR_TIE / 2
            wins[other, one] += 1.0 - share + PRIOR_TIE / 2
            met[[one, other]] += 1
        if not met.all():
            raise ScoringError(f"{self.name} gave no verdict on any pair of {int((met == 0).sum())} of {size} answers")
        ratings = bradley_terry(wins)
        return [float(value) for value in ratings - ratings.mean()]


def sorted_pair(request: ScoreRequest, one: int, other: int) -> tuple[Completion, Completion]:
    """Return two answers in the order of their texts, by which verdicts are kept."""
    pair = request.completions[one], request.completions[other]
    return pair if text_key(pair[0]) <= text_key(pair[1]) else (pair[1], pair[0])


def _pair_key(request: ScoreRequest, one: int, other: int) -> tuple[str, str, str]:
    first, second = sorted_pair(request, one, other)
    return text_key(request.prompt), text_key(first), text_key(second)


def draw_pairs(size: int, matches: int | None, generator: random.Random) -> list[tuple[int, int]]:
    """Return who meets whom: all, or a ring in a drawn order with chords, so that all answers are connected.

    Each answer meets `matches` others, one more where that is odd.

    Example:
        >>> len(draw_pairs(8, 4, random.Random(0))), len(draw_pairs(8, None, random.Random(0)))
        (16, 28)
    """
    if matches is None or matches >= size - 1:
        return list(combinations(range(size), 2))
    order = generator.sample(range(size), size)
    found = {
        tuple(sorted((order[place], order[(place + step) % size])))
        for step in range(1, math.ceil(matches / 2) + 1)
        for place in range(size)
    }
    return [(one, other) for one, other in sorted(found)]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of a rubric.

    Args:
        name: what its line begins with.
        question: what is asked.
        weight: how much it counts; negative for what shall not be.
        scale: None takes yes or no; a number asks for 0 to that number. Either way it counts from 0 to 1.
    """

    name: str
    question: str
    weight: float = 1.0
    scale: int | None = None

    @property
    def line(self) -> str:
        """What the judge is told."""
        return f"{self.name}: {self.question} ({'yes or no' if self.scale is None else f'0 to {self.scale}'})"

    def read(self, text: str) -> float | None:
        """Return the last verdict on it as 0 to 1, None where there is none or it is off the scale."""
        found = re.findall(rf"^\W*{re.escape(self.name)}\W*?[:=]\W*(yes|no|\d+(?:\.\d+)?)\b", text, re.I | re.M)
        if not found:
            return None
        word = found[-1].lower()
        if self.scale is None:
            return {"yes": 1.0, "no": 0.0}.get(word)
        value = math.nan if word in ("yes", "no") else float(word) / self.scale
        return value if 0 <= value <= 1 else None


class RubricJudge:
    """A chat model that judges each answer by named criteria; the reward is the weighted mean of its verdicts.

    Args:
        chat: whom to ask.
        criteria: the rubric.
        question: with {criteria}, {prompt} and {answer}.
    """

    def __init__(self, chat: ChatModel, criteria: Sequence[Criterion], question: str = RUBRIC_QUESTION) -> None:
        names = [criterion.name for criterion in criteria]
        if not names or len(set(names)) < len(names) or not any(criterion.weight for criterion in criteria):
            raise ConfigError(f"a rubric needs criteria of different names, and a weight that is not 0; it has {names}")
        self.chat, self.criteria, self.question = chat, tuple(criteria), question
        self.name, self.counts = f"rubric({chat.name})", Counter[str]()
        self._known: dict[tuple[str, str], float | None] = {}

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return the weighted mean of each answer. Raises ScoringError where a criterion got no verdict."""
        asked = {
            (text_key(request.prompt), text_key(completion)): self._ask(request.prompt, completion)
            for request in requests
            for completion in request.completions
        }
        new = {key: question for key, question in asked.items() if key not in self._known}
        if len(self._known) > MOST_KEPT:
            self._known.clear()
            new = asked
        texts = self.chat.ask_all(list(new.values()))
        self.counts["asked"] += len(texts)
        self._known.update({key: self._read(text) for key, text in zip(new, texts, strict=True)})
        return [[self._of(request.prompt, completion) for completion in request.completions] for request in requests]

    def _ask(self, prompt: Text, completion: Completion) -> list[dict[str, str]]:
        words = {"criteria": "\n".join(criterion.line for criterion in self.criteria)}
        words |= {"prompt": plain_text(prompt), "answer": plain_text(completion)}
        return [{"role": "user", "content": fill(self.question, words)}]

    def _read(self, text: str) -> float | None:
        verdicts = [criterion.read(text) for criterion in self.criteria]
        known = [verdict for verdict in verdicts if verdict is not None]
        if len(known) < len(verdicts):
            self.counts["parse_errors"] += 1
            return None
        weights = [criterion.weight for criterion in self.criteria]
        return math.fsum(w * v for w, v in zip(weights, known, strict=True)) / math.fsum(map(abs, weights))

    def _of(self, prompt: Text, completion: Completion) -> float:
        found = self._known[text_key(prompt), text_key(completion)]
        if found is None:
            raise ScoringError(f"{self.name} gave no verdict on every criterion; it must write one line for each")
        return found
