"""Judges as rewards: pairs of answers compared, and rubrics of named criteria.

A group of answers to one prompt plays a tournament, and a Bradley-Terry fit turns its results into one number each, in
log odds. Each pair is read in both orders, since judges favour a side; verdicts that differ are a tie. A question that
fails, or a verdict that cannot be read, costs the answers that it was about and no other.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rewardsmith.clients.chat import ChatModel, fill, require_places
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.errors import ConfigError, ScoringError, UnreachableError, calling
from rewardsmith.records import Completion, Message, ScoreRequest, Text, TokenIds, text_key
from rewardsmith.rl.tournament import draw_pairs, rate_answers

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
# Between 0 and 1; None where a judge was asked and could not be understood, an error where it could not be asked.
Verdict = float | None | ScoringError
# A line's verdict; no number with thousands, and no echo of the question ("yes or no", "0 to 10").
NUMBER = r"[-\u2212]?(?:\d+(?:\.\d+|,\d{1,2})?|[.,]\d+)(?![.,]?\d)"
VERDICT_WORD = rf"(yes|no|{NUMBER})\b(?!\s+(?:or|to)\s+(?:no\b|\d))(?!/no\b)"


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

    `counts` holds how often it was asked, verdicts that could not be read, questions that failed, and pairs whose
    orders disagreed.
    """

    def __init__(self, chat: ChatModel, question: str = PAIR_QUESTION) -> None:
        require_places(question, ("prompt", "first", "second"))
        self.chat, self.question, self.name = chat, question, f"judge({chat.name})"
        self.counts: Counter[str] = Counter()

    def compare(self, prompt: Text, first: Completion, second: Completion) -> float:
        """Return 1, 1/2 or 0. Raises ScoringError where neither order gives a verdict."""
        [found] = self.compare_all([(prompt, first, second)])
        if isinstance(found, ScoringError):
            raise found
        if found is None:
            raise ScoringError(f"{self.name} gave no verdict in either order; it must end with [[A]], [[B]] or [[C]]")
        return found

    def compare_all(self, pairs: Sequence[tuple[Text, Completion, Completion]]) -> list[Verdict]:
        """Return the probability that the first is better for each pair; one order is enough."""
        asked = [self._ask(*pair) for pair in pairs] + [self._ask(p, second, first) for p, first, second in pairs]
        verdicts = [self._read(text) for text in self.chat.ask_each(asked)]
        return [self._both(*orders) for orders in zip(verdicts[: len(pairs)], verdicts[len(pairs) :], strict=True)]

    def _ask(self, prompt: Text, first: Completion, second: Completion) -> list[dict[str, str]]:
        words = {"prompt": transcript(prompt), "first": transcript(first), "second": transcript(second)}
        return [{"role": "user", "content": fill(self.question, words)}]

    def _read(self, text: str | ScoringError) -> Verdict:
        if isinstance(text, ScoringError):
            self.counts["failed"] += 1
            return text
        self.counts["asked"] += 1
        found = VERDICT.findall(text)
        if not found:
            self.counts["parse_errors"] += 1
            return None
        return POINTS[found[-1].upper()]

    def _both(self, forth: Verdict, back: Verdict) -> Verdict:
        """Join the two orders; one that could not be read or asked leaves the other, unless waiting may help."""
        turned = 1.0 - back if isinstance(back, float) else back
        if isinstance(forth, float) and isinstance(turned, float):
            if forth != turned:
                self.counts["order_disagreements"] += 1
            return (forth + turned) / 2
        kinds = (UnreachableError, float, ScoringError)
        found = [one for kind in kinds for one in (forth, turned) if isinstance(one, kind)]
        return found[0] if found else None


def transcript(text: Completion) -> str:
    """Return what a judge reads: one message as its text, several or calls of tools under their roles.

    Raises:
        ScoringError: token ids, which say nothing to a judge.
    """
    if isinstance(text, str):
        return text
    if isinstance(text, TokenIds):
        raise ScoringError("a judge reads texts and messages, not token ids")
    if len(text) == 1 and not _calls(text[0]):
        return plain_text(text)
    return "\n\n".join(f"{message.role}: {plain_text((message,))}{_calls(message)}" for message in text)


def _calls(message: Message) -> str:
    found = message.extra.get("tool_calls") or message.extra.get("function_call")
    return f" calls {json.dumps(found, ensure_ascii=False, default=str)}" if found else ""


class GroupJudge:
    """A comparer as a scorer of all answers to a prompt: a tournament and a Bradley-Terry fit.

    Args:
        comparer: who compares two answers; a loaded PairRM is one, `ChatComparer` another.
        matches: how many others each answer meets, in an order drawn for each group; None lets all meet.
        seed: of the draw; with it and the answers the draw is the same in every run.

    Example:
        ```python
        judge = GroupJudge(ChatComparer(ChatModel("http://127.0.0.1:8000", "judge")), matches=4)
        trainer = GRPOTrainer(..., reward_funcs=reward_function(judge))
        ```
    """

    def __init__(self, comparer: Comparer, matches: int | None = None, seed: int = 0) -> None:
        if matches is not None and matches < 1:
            raise ConfigError(f"matches must be 1 or more, not {matches}; leave it out to let all answers meet")
        if not isinstance(comparer, Comparer):
            raise ConfigError(
                f"{type(comparer).__name__} is no comparer; it needs name and compare(prompt, first, second)"
            )
        self.comparer, self.matches, self.name, self.seed = comparer, matches, comparer.name, seed
        self._known: dict[tuple[str, str, str], Verdict] = {}
        self._own: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """What the comparer counts, and pairs and ties of all tournaments."""
        counted = self.comparer.counts if isinstance(self.comparer, ChatComparer) else {}
        return {**counted, **self._own}

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return the rating of each answer in log odds, centred on 0. Raises ScoringError where one gets none."""
        return require_all(self.judge(requests))

    def judge(self, requests: Sequence[ScoreRequest]) -> list[list[float | ScoringError]]:
        """Return the rating of each answer in log odds, centred on 0, or why it has none.

        Rated are the answers that verdicts connect: of two parts that never met nothing tells which is better, so the
        larger one is taken.

        Raises:
            UnreachableError: the comparer's server does not answer; the verdicts that it gave are kept.
        """
        drawn = [self._draw(request) for request in requests]
        failed = self._compare_new(requests, drawn)
        return [self._rate(request, pairs, failed) for request, pairs in zip(requests, drawn, strict=True)]

    def _draw(self, request: ScoreRequest) -> list[tuple[int, int]]:
        """Draw who meets whom by what is judged, so that a run that goes on draws what a whole one does."""
        keys = "\x00".join(map(text_key, (request.prompt, *request.completions)))
        return draw_pairs(len(request.completions), self.matches, random.Random(f"{self.seed} {keys}"))

    def _compare_new(
        self, requests: Sequence[ScoreRequest], drawn: Sequence[Sequence[tuple[int, int]]]
    ) -> dict[tuple[str, str, str], ScoringError]:
        """Ask for the verdicts that are not known yet, all together; return those that could not be asked for."""
        new: dict[tuple[str, str, str], tuple[Text, Completion, Completion]] = {}
        if len(self._known) > MOST_KEPT:
            self._known.clear()
        for request, pairs in zip(requests, drawn, strict=True):
            for one, other in pairs:
                key = _pair_key(request, one, other)
                if key not in self._known and key[1] != key[2]:
                    new.setdefault(key, (request.prompt, *sorted_pair(request, one, other)))
        if isinstance(self.comparer, ChatComparer):
            found = self.comparer.compare_all(list(new.values()))
        else:
            found = [self._compare(pair) for pair in new.values()]
        verdicts = dict(zip(new, found, strict=True))
        failed = {key: verdict for key, verdict in verdicts.items() if isinstance(verdict, ScoringError)}
        self._known |= {key: verdict for key, verdict in verdicts.items() if key not in failed}
        for error in failed.values():
            if isinstance(error, UnreachableError):
                raise error
        return failed

    def _compare(self, pair: tuple[Text, Completion, Completion]) -> Verdict:
        """Ask a comparer that is no chat model. None is no verdict, what is no probability an error."""
        try:
            with calling(self.name):
                share = self.comparer.compare(*pair)
                found = None if share is None else float(share)
        except ScoringError as error:
            return error
        if found is None or 0 <= found <= 1:
            return found
        return ScoringError(f"{self.name} gave {found:g}; a comparer gives the probability that the first is better")

    def _rate(
        self,
        request: ScoreRequest,
        pairs: Sequence[tuple[int, int]],
        failed: Mapping[tuple[str, str, str], ScoringError],
    ) -> list[float | ScoringError]:
        """Fit the ratings of one prompt's answers."""
        size = len(request.completions)
        if size < 2:
            return [ScoringError(f"{self.name} compares answers; a prompt needs two or more (num_generations)")] * size
        silent = ScoringError(f"{self.name} gave no verdict that connects an answer with the others of its prompt")
        results: list[tuple[int, int, float]] = []
        equal: list[tuple[int, int, str]] = []
        met: set[str] = set()
        for one, other in pairs:
            key = _pair_key(request, one, other)
            silent, first = failed.get(key, silent), self._known.get(key)
            if key[1] == key[2]:
                equal.append((one, other, key[1]))
            elif isinstance(first, float):
                results.append((one, other, first if text_key(request.completions[one]) == key[1] else 1.0 - first))
                met |= set(key[1:])
        # Two answers of one text are a tie that nobody is asked about; it says nothing of a text without a verdict.
        is_one_text = len(equal) == len(pairs)
        results += [(one, other, 0.5) for one, other, text in equal if text in met or is_one_text]
        self._own.update(pairs=len(results), ties=sum(share == 0.5 for *_, share in results))
        return [silent if rating is None else rating for rating in rate_answers(size, results)]


def require_all(rows: Sequence[Sequence[float | ScoringError]]) -> list[list[float]]:
    """Return rows of rewards. Raises the first error among them."""
    for row in rows:
        for value in row:
            if isinstance(value, ScoringError):
                raise value
    return [[float(value) for value in row if not isinstance(value, ScoringError)] for row in rows]


def sorted_pair(request: ScoreRequest, one: int, other: int) -> tuple[Completion, Completion]:
    """Return two answers in the order of their texts, by which verdicts are kept."""
    pair = request.completions[one], request.completions[other]
    return pair if text_key(pair[0]) <= text_key(pair[1]) else (pair[1], pair[0])


def _pair_key(request: ScoreRequest, one: int, other: int) -> tuple[str, str, str]:
    first, second = sorted_pair(request, one, other)
    return text_key(request.prompt), text_key(first), text_key(second)


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

    def __post_init__(self) -> None:
        if not re.search(r"\w", self.name) or len(self.name.splitlines()) > 1:
            raise ConfigError(f"a criterion needs a name on one line, not {self.name!r}")
        if not math.isfinite(self.weight) or (self.scale is not None and not self.scale > 0):
            raise ConfigError(
                f"criterion {self.name!r}: weight must be a finite number and scale above 0, not {self.weight} and "
                f"{self.scale}"
            )

    @property
    def line(self) -> str:
        """What the judge is told."""
        return f"{self.name}: {self.question} ({'yes or no' if self.scale is None else f'0 to {self.scale}'})"

    def read(self, text: str) -> float | None:
        """Return the last verdict on it as 0 to 1, None where there is none or it is off the scale."""
        between = r"[^\w\n]*?"
        line = rf"^\W*(?:\d+[.)]\W*)?{re.escape(self.name)}{between}[:=|\u2013\u2014-]{between}{VERDICT_WORD}"
        found = re.findall(line, text, re.I | re.M)
        if not found:
            return None
        word = found[-1].lower().replace(",", ".").replace("\u2212", "-")
        if self.scale is None:
            return {"yes": 1.0, "no": 0.0}.get(word)
        value = math.nan if word in ("yes", "no") else float(word) / self.scale
        return value if 0 <= value <= 1 else None


class RubricJudge:
    """A chat model that judges each answer by named criteria.

    The reward is the sum of weight times verdict over the sum of the weights' sizes: the weighted mean, where no weight
    is negative. `counts` holds how often it was asked, questions that failed, and answers with a verdict missing,
    which have no reward unless the criterion's weight is 0.

    Args:
        chat: whom to ask.
        criteria: the rubric.
        question: with {criteria}, {prompt} and {answer}.
    """

    def __init__(self, chat: ChatModel, criteria: Sequence[Criterion], question: str = RUBRIC_QUESTION) -> None:
        names = [criterion.name.lower() for criterion in criteria]
        if not names or len(set(names)) < len(names) or not any(criterion.weight for criterion in criteria):
            raise ConfigError(f"a rubric needs criteria of different names, and a weight that is not 0; it has {names}")
        require_places(question, ("criteria", "prompt", "answer"))
        self.chat, self.criteria, self.question = chat, tuple(criteria), question
        self.name, self.counts = f"rubric({chat.name})", Counter[str]()
        self._known: dict[tuple[str, str], float | None] = {}

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return the reward of each answer. Raises ScoringError where a criterion got no verdict."""
        return require_all(self.judge(requests))

    def judge(self, requests: Sequence[ScoreRequest]) -> list[list[float | ScoringError]]:
        """Return the reward of each answer, or why it has none.

        Raises:
            UnreachableError: the server does not answer; the verdicts that it gave are kept.
        """
        if len(self._known) > MOST_KEPT:
            self._known.clear()
        keys = [[(text_key(r.prompt), text_key(completion)) for completion in r.completions] for r in requests]
        new = {
            key: self._ask(request.prompt, completion)
            for request, row in zip(requests, keys, strict=True)
            for key, completion in zip(row, request.completions, strict=True)
            if key not in self._known
        }
        texts = dict(zip(new, self.chat.ask_each(list(new.values())), strict=True))
        failed = {key: text for key, text in texts.items() if isinstance(text, ScoringError)}
        self.counts["asked"] += len(texts) - len(failed)
        if failed:
            self.counts["failed"] += len(failed)
        self._known |= {key: self._read(text) for key, text in texts.items() if isinstance(text, str)}
        for error in failed.values():
            if isinstance(error, UnreachableError):
                raise error
        return [[self._of(key, failed) for key in row] for row in keys]

    def _ask(self, prompt: Text, completion: Completion) -> list[dict[str, str]]:
        words = {"criteria": "\n".join(criterion.line for criterion in self.criteria)}
        words |= {"prompt": transcript(prompt), "answer": transcript(completion)}
        return [{"role": "user", "content": fill(self.question, words)}]

    def _read(self, text: str) -> float | None:
        verdicts = [(criterion.weight, criterion.read(text)) for criterion in self.criteria]
        missing = [weight for weight, verdict in verdicts if verdict is None]
        if missing:
            self.counts["parse_errors"] += 1
        # A criterion of weight 0 is only looked at: no reward is lost by it.
        if any(missing):
            return None
        known = [(weight, verdict) for weight, verdict in verdicts if verdict is not None]
        return math.fsum(w * v for w, v in known) / math.fsum(abs(w) for w, _ in known)

    def _of(self, key: tuple[str, str], failed: Mapping[tuple[str, str], ScoringError]) -> float | ScoringError:
        if key in failed:
            return failed[key]
        found = self._known[key]
        if found is None:
            return ScoringError(f"{self.name} gave no verdict on every criterion; it must write one line for each")
        return found
