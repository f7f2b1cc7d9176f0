"""The face that every scorer of texts shares, and the rewards that it gives: one prompt or many, lists or streams."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rewardsmith.capabilities import Capabilities, OutcomeReader, Outcomes, PrefixCounts
from rewardsmith.errors import ConfigError, TooLongError
from rewardsmith.records import Completion, Message, ScoreRequest, Text, as_text
from rewardsmith.scoring.answers import as_completion, make_request, score_answers

logger = logging.getLogger(__name__)
TRUNCATIONS = ("error", "truncate_prompt")
LOOK_AHEAD = 256
# May raise TooLongError for a text that certainly has more tokens than it is given.
Encode = Callable[[Text], list[int]]
EncodeBoth = Callable[[Text, Completion], list[int]]
Truncate = Callable[[Encode, Text, Completion, int], list[int]]


class Fitted(NamedTuple):
    """The token ids of a request's texts as the model reads them, and which of them lost the start of their prompt."""

    sequences: list[list[int]]
    cut: list[bool]


@runtime_checkable
class IdScorer(Protocol):
    """What bulk scoring and the server ask of a model that scores single sequences of token ids."""

    name: str
    truncation: str

    @property
    def capabilities(self) -> Capabilities: ...

    def encode(self, request: ScoreRequest, *, whole: bool = False) -> list[list[int]]: ...

    def fit(self, request: ScoreRequest, truncation: str | None = None, limit: int | None = None) -> Fitted: ...

    def read_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[RewardParts]]: ...

    def score_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]: ...


class RewardScorer(ABC):
    """Scores texts; a `rewardsmith.records.Scorer`. What differs is how requests become `RewardParts`.

    `truncation` is what happens to a text that is too long where a call does not say: one of TRUNCATIONS.
    `gives_spread` says whether rewards have a standard deviation, of several members or of a head that knows its own;
    `has_head` whether they are those of a head, whose differences are log odds; `has_distribution` whether that head
    has a normal distribution, of `rewardsmith.scoring.laplace`, beside its weights.
    """

    name: str
    model: Any
    tokenizer: Any
    contract: Any
    rule: object
    tokens_per_batch: int
    truncation: str = "error"
    gives_spread: bool = False
    has_head: bool = False
    has_distribution: bool = False
    keeps_prefixes: bool = False

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What can be asked of it beside rewards of texts."""

    @property
    def members(self) -> tuple[RewardScorer, ...]:
        """The models that answer together; itself when it is one model."""
        return (self,)

    def keep_prefixes(self, max_tokens: int) -> None:
        """Keep what texts begin with from call to call, up to `max_tokens` of them. Raises ConfigError if it cannot."""
        if max_tokens:
            raise ConfigError(f"{self.name} cannot keep prefixes")

    @contextmanager
    def keeping_prefixes(self, max_tokens: int) -> Iterator[None]:
        """Keep prefixes for a while: each member that can and does not yet, up to `max_tokens` each."""
        own = [member for member in self.members if not member.keeps_prefixes]
        for member in own:
            with suppress(ConfigError):
                member.keep_prefixes(max_tokens)
        try:
            yield
        finally:
            for member in own:
                member.keep_prefixes(0)

    @property
    def prefix_counts(self) -> PrefixCounts:
        """What kept prefixes saved; zeros where none are kept."""
        return PrefixCounts()

    def num_kept(self, key: bytes) -> int:
        """Return how many first tokens of a text, as its `sort_key`, are kept and not computed again."""
        return 0

    def compile(self, how: str = "on", tokens: float = 0.0) -> str:
        """Compile the layers, see `rewardsmith.models.compiling`. Returns what was done in one line, if anything.

        Args:
            how: "on", "off" or "auto".
            tokens: about how many will be scored, for "auto"; 0 where nobody knows.
        """
        return "" if how == "off" else "layers are not compiled: its own code computes the rewards"

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, revision: str | None = None) -> str:
        """Push the folder that was opened, members too, and return the commit's address. Raises HubError."""
        from rewardsmith.models.hub import Place, push_folder

        return push_folder(self.name, Place(repo_id, revision=revision), "Upload of a reward model", private).commit_url

    @property
    @abstractmethod
    def text_rule(self) -> str:
        """How a text becomes token ids, beside tokenizer and chat template, in a form that can be compared."""

    @abstractmethod
    def score_parts(
        self, requests: Sequence[ScoreRequest], *, truncation: str | None = None, normalized: bool = False
    ) -> list[list[RewardParts]]:
        """Score requests in order, with the parts of every reward; `truncation` None takes the scorer's own."""

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Score requests in order; the prompt of each is computed once."""
        return [[part.reward for part in row] for row in self.score_parts(requests)]

    def score(
        self,
        prompt: Any,
        completions: Any,
        *,
        normalized: bool = False,
        return_parts: bool = False,
        truncation: str | None = None,
        partial: bool = False,
    ) -> Any:
        """Return the rewards of K completions of one prompt, or of a list of prompts with a list of completions each.

        Args:
            prompt: text, messages (dictionaries with role and content), or a list of prompts when `completions` is
                a list of lists.
            completions: K texts, message lists or token-id tuples; one text gives one number. None among them is an
                answer that is missing, and has None as its reward.
            normalized: subtract the mean and divide by the standard deviation that the checkpoint names.
            return_parts: give a `RewardParts` instead of a number: spread, members, attributes, steps.
            truncation: "error", or "truncate_prompt": where a text is too long the start of its prompt is cut, never
                the answer. None takes what the model was opened with.
            partial: give None for an answer that cannot be read or scored, as files have it, and log why, in place of
                an error.

        Raises:
            ScoringError: a text that is too long, empty or gives a reward that is not finite, unless `partial`.
        """
        if isinstance(completions, str):
            completions, is_one = [completions], True
        else:
            is_one = False
        is_many = _is_list_of_prompts(prompt, completions)
        asked = zip(prompt, completions, strict=True) if is_many else [(prompt, completions)]
        requests = [make_request(p, c, partial) for p, c in asked]

        def score(requests: Sequence[ScoreRequest]) -> list[list[RewardParts]]:
            return self.score_parts(requests, truncation=truncation, normalized=normalized)

        rows = shown(score_answers(score, requests, partial), return_parts)
        if is_many:
            return rows
        return rows[0][0] if is_one else rows[0]

    def outcome_probabilities(self, prompt: object, first: object, second: object) -> Outcomes:
        """Return the probabilities that the first answer is preferred, the second, and neither."""
        reader = self.outcome_reader()
        request = ScoreRequest(as_text(prompt) if prompt else "", (as_completion(first), as_completion(second)))
        [[one, two]] = self.score_parts([request])
        return reader.of(one, two)

    def outcome_reader(self) -> OutcomeReader:
        """Return what says how comparisons end. Raises ConfigError for a model that gives no probabilities."""
        from rewardsmith.scoring.outcomes import read_outcomes

        return read_outcomes(self)

    def preference_probability(self, prompt: object, first: object, second: object) -> float:
        """Return the probability that the first answer is preferred where one of the two is.

        The logistic function of the difference of rewards, divided by the contract's temperature, which `rewardsmith
        evaluate --save-temperature` fits; less sure where members disagree or a head's distribution is wide.
        """
        return self.outcome_probabilities(prompt, first, second).preference

    def score_stream(
        self,
        requests: Iterable[ScoreRequest | tuple[Any, Sequence[Any]]],
        *,
        look_ahead: int = LOOK_AHEAD,
        return_parts: bool = False,
        truncation: str | None = None,
        normalized: bool = False,
    ) -> Iterator[list[Any]]:
        """Score a stream in the order of the input; never more than `look_ahead` requests are read ahead.

        Args:
            requests: `ScoreRequest`s or (prompt, completions) pairs.
        """
        if look_ahead < 1:
            raise ConfigError(f"look_ahead is {look_ahead}; give 1 or more")
        check_truncation(truncation or self.truncation)
        stream = iter(requests)
        while chunk := list(islice(stream, look_ahead)):
            asked = [r if isinstance(r, ScoreRequest) else make_request(*r) for r in chunk]

            def score(requests: Sequence[ScoreRequest]) -> list[list[RewardParts]]:
                return self.score_parts(requests, truncation=truncation, normalized=normalized)

            yield from shown(score_answers(score, asked, False), return_parts)


def check_truncation(name: str) -> str:
    """Return a way of truncating that is known. Raises ConfigError."""
    if name not in TRUNCATIONS:
        raise ConfigError(f"truncation {name!r} is not known; give one of {', '.join(TRUNCATIONS)}")
    return name


def fit_completions(
    encode: EncodeBoth, request: ScoreRequest, limit: int | None, truncate: Truncate | None = None
) -> Fitted:
    """Return the ids of every completion with its prompt, of at most `limit` tokens.

    Args:
        truncate: shortens the prompt of a text that is too long; None cuts nothing.

    Raises:
        TooLongError: a text is too long, or what cannot be cut of it.
    """
    rows: list[list[int]] = []
    cut: list[bool] = []
    long: dict[int, TooLongError] = {}
    for index, completion in enumerate(request.completions):
        ids, tokens = sized(lambda p, c=completion: encode(p, c), request.prompt)  # type: ignore[misc]
        is_long = ids is None or (limit is not None and len(ids) > limit)
        if is_long and truncate is not None:
            try:
                ids = truncate(lambda p, c=completion: encode(p, c), request.prompt, completion, limit or 0)  # type: ignore[misc]
            except TooLongError as error:
                long[index] = error
        elif is_long:
            long[index] = TooLongError(f"completion {index} has {tokens} tokens", tokens)
        rows.append(ids or [])
        cut.append(is_long)
    if long:
        longest = max((error.tokens for error in long.values()), key=lambda text: (not text.isdigit(), len(text), text))
        raise TooLongError(str(next(iter(long.values()))), longest, long)
    return Fitted(rows, cut)


def sized(encode: Encode, prompt: Text) -> tuple[list[int] | None, str]:
    """Return ids and their number in words; no ids of what has certainly too many."""
    try:
        ids = encode(prompt)
    except TooLongError as error:
        return None, error.tokens
    return ids, str(len(ids))


def require_ids(scorer: RewardScorer) -> IdScorer:
    """Return a scorer of single sequences. Raises ConfigError for one that needs all answers of a prompt."""
    if isinstance(scorer, IdScorer) and scorer.capabilities.scores_ids:
        return scorer
    why = "its members tokenise differently" if len(scorer.members) > 1 else "it compares answers"
    raise ConfigError(f"{scorer.name} gives no reward to one sequence alone: {why}; ask for all answers of a prompt")


def scale_of(scorer: object) -> tuple[float, float]:
    """Return the mean and standard deviation of rewards that a checkpoint names, by which normalised ones are made.

    Raises:
        ConfigError: neither its contract nor its importer names them.
    """
    source = getattr(scorer, "contract", None) or getattr(scorer, "imported", None)
    mean, std = getattr(source, "reward_mean", None), getattr(source, "reward_std", None)
    if mean is None or not std:
        name = getattr(scorer, "name", "the model")
        raise ConfigError(f"{name} names no mean and standard deviation of rewards; ask for raw rewards")
    return mean, std


def shown(rows: Sequence[Sequence[RewardParts | None]], parts: bool) -> list[list[Any]]:
    """Return rewards, or their parts where they are asked for."""
    return [[part if parts or part is None else part.reward for part in row] for row in rows]


def _is_list_of_prompts(prompt: object, completions: Any) -> bool:
    """Whether a list of prompts came with a list of completions each."""
    if not isinstance(prompt, Sequence) or isinstance(prompt, str) or not completions:
        return False
    if prompt and isinstance(prompt[0], dict | Message):
        return False
    return len(prompt) == len(completions) and all(isinstance(c, list | tuple) for c in completions)


@dataclass(frozen=True, slots=True)
class RewardParts:
    """One reward and its parts; what a model does not have is empty.

    Args:
        reward: the number that `score` gives.
        spread: standard deviation over the members of an ensemble (their number as divisor), or of a head that knows
            its own; NaN without either.
        members: the reward of each member, in their order.
        attributes: name -> score of a head with several objectives; "gate/NAME" is the weight of one.
        steps: score of each step of a solution.
        columns: what the head of each model gave before anything was combined: the reward, then that of each of its own
            heads. Nothing where the rewards are not those of a head.
    """

    reward: float
    spread: float = math.nan
    members: tuple[float, ...] = ()
    attributes: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[float, ...] = ()
    columns: tuple[Sequence[float], ...] = field(default=(), repr=False, compare=False)

    def rescaled(self, mean: float, std: float) -> RewardParts:
        """Subtract `mean` and divide by `std`; attributes and steps keep their own scales."""
        members = tuple((value - mean) / std for value in self.members)
        return replace(self, reward=(self.reward - mean) / std, spread=self.spread / std, members=members)

    def to_dict(self) -> dict[str, Any]:
        """Return the parts that are there, beside the reward, for JSON and extra columns."""
        found: dict[str, Any] = {}
        if not math.isnan(self.spread):
            found["spread"] = self.spread
        if self.members:
            found["members"] = list(self.members)
        if self.attributes:
            found["attributes"] = dict(self.attributes)
        if self.steps:
            found["steps"] = list(self.steps)
        return found


def probability(reward: float) -> float:
    """Return the logistic function of a reward, without overflow.

    Not scipy's: adapters inside other trainers import this and must not load numpy.
    """
    if reward >= 0:
        return 1 / (1 + math.exp(-reward))
    return math.exp(reward) / (1 + math.exp(reward))
