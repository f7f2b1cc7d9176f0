"""The one record: a preference graph per prompt, and what is said about it.

A pair is a group of two completions with one comparison. A ranking of K is a group with K(K-1)/2 comparisons.
Pairs that share a prompt become one group, so a completion that stands in ten pairs is stored, and later
computed, once. Nothing here imports anything heavy.
"""

from __future__ import annotations

import hashlib
import json
import math
import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from rewardsmith.errors import DataError, describe

SYSTEM_ROLES = ("system", "developer")
Outcome = Literal["better", "tie"]
# What shares of votes may be off by, as rounded decimals and as float32.
ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Args:
        role: "system", "user", "assistant" or "tool" (the reader decides what it accepts).
        content: the text, or the list of parts or None that chat templates also take.
        extra: every other key of the original message (`tool_calls`, `name`, ...), kept for the template.
    """

    role: str
    content: Any
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, message: Mapping[str, Any]) -> Message:
        """Read `{"role": ..., "content": ..., ...}`. Raises DataError when the role is missing."""
        if "role" not in message:
            raise DataError(f"a message needs a 'role'; this one has the keys {sorted(message)}")
        extra = {k: v for k, v in message.items() if k not in ("role", "content") and v is not None}
        return cls(str(message["role"]), without_nulls(message.get("content")), without_nulls(extra))

    def to_dict(self) -> dict[str, Any]:
        """Return the plain dictionary that chat templates read."""
        return {"role": self.role, "content": self.content, **self.extra}


class TokenIds(tuple[int, ...]):
    """A completion that was tokenised beforehand (TRL's `chosen_ids`); it holds the prompt's tokens too."""

    __slots__ = ()


Text = str | tuple[Message, ...]
Completion = str | tuple[Message, ...] | TokenIds


@dataclass(frozen=True, slots=True)
class Comparison:
    """One judgement between two completions of a group: an edge of the graph.

    Args:
        better: index of the preferred completion (for a tie: either).
        worse: index of the other. `better == worse` records a comparison of two identical texts: it holds no
            information, is counted as a tie and is never silently dropped.
        outcome: "better" or "tie".
        margin: how much better, in units of the source (rating points, Llama 2 margins); None when unknown.
        weight: how much this comparison counts, >= 0.
        probability: soft label P(better is preferred), in [0, 1], such as a vote share; None means certain.
        annotator: who judged, when known.
        time: ISO 8601 time of the judgement, when known.
        rationale: why, in the annotator's words, when they said it.
        tie_share: share of votes for a tie, which `probability` counts half for each side; None where it is not known.
    """

    better: int
    worse: int
    outcome: Outcome = "better"
    margin: float | None = None
    weight: float = 1.0
    probability: float | None = None
    annotator: str | None = None
    time: str | None = None
    rationale: str | None = None
    tie_share: float | None = None

    def __post_init__(self) -> None:
        if self.outcome not in ("better", "tie"):
            raise DataError(f"outcome must be 'better' or 'tie', not {self.outcome!r}")
        if self.margin is not None and not math.isfinite(self.margin):
            raise DataError(f"margin must be a finite number, not {self.margin!r}; remove it where it is unknown")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise DataError(f"weight must be finite and >= 0, not {self.weight!r}")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise DataError(f"probability must lie in [0, 1], not {self.probability!r}")
        if why := wrong_tie_share(self.tie_share, self.probability, self.is_tie):
            raise DataError(why)

    @property
    def is_tie(self) -> bool:
        """Whether no side is preferred: judged so, or because both sides are the same text."""
        return self.outcome == "tie" or self.better == self.worse

    @property
    def tie_votes(self) -> float:
        """The share of votes for a tie: as recorded; else 1 for a tie and a soft label of 1/2, 0 for the rest."""
        return self.tie_share if self.tie_share is not None else float(self.is_tie or self.probability == 0.5)


def wrong_tie_share(share: float | None, probability: float | None, is_tie: bool) -> str | None:
    """Return why a share of votes for a tie cannot stand beside a soft label; None where it can."""
    likely = 0.5 if is_tie else 1.0 if probability is None else probability
    if share is None or 0 <= share <= 2 * min(likely, 1 - likely) + ROUNDING:
        return None
    return (
        f"tie_share is {share} beside a probability of {likely:g}, which counts votes for a tie half for each side; "
        "give at least 0 and at most 2 min(probability, 1 - probability)"
    )


@dataclass(frozen=True, slots=True)
class PreferenceGroup:
    """All completions of one prompt and every comparison among them.

    Args:
        prompt: what was asked, as text or messages; "" when there is none or it is not known apart.
        completions: K answers; comparisons name them by index.
        comparisons: the judgements.
        ratings: attribute name to one score per completion (None where not rated).
        models: which model or person wrote each completion, or empty.
        source: name of the data set or file.
        group_id: stable name of the group inside its source.
        tools: tool definitions that the chat template reads.
        chat_template_kwargs: further arguments of the chat template.
        metadata: anything else the source says, such as subset or language.
        where: the first row that it came from, such as "pairs.jsonl:row 12"; says nothing about the group itself.
    """

    prompt: Text
    completions: tuple[Completion, ...]
    comparisons: tuple[Comparison, ...] = ()
    ratings: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    models: tuple[str | None, ...] = ()
    source: str | None = None
    group_id: str | None = None
    tools: Sequence[Any] | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    where: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("prompt", "completions", "comparisons"):
            value = getattr(self, name)
            if not isinstance(value, Sequence) or (isinstance(value, str) and name != "prompt"):
                raise DataError(
                    f"{name} is {describe(value)}; give {'text or messages' if name == 'prompt' else 'a list'}"
                )
        object.__setattr__(self, "tools", without_nulls(self.tools))
        size = len(self.completions)
        for comparison in self.comparisons:
            if not (0 <= comparison.better < size and 0 <= comparison.worse < size):
                raise DataError(
                    f"a comparison names completions {comparison.better} and {comparison.worse}, "
                    f"but the group has {size} (indices from 0)"
                )
        for name, scores in self.ratings.items():
            if len(scores) != size:
                raise DataError(f"rating {name!r} has {len(scores)} scores for {size} completions")
        if self.models and len(self.models) != size:
            raise DataError(f"models has {len(self.models)} entries for {size} completions")

    def __len__(self) -> int:
        return len(self.completions)

    @property
    def num_ties(self) -> int:
        """How many comparisons prefer no side."""
        return sum(comparison.is_tie for comparison in self.comparisons)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one comparison says, read by the one rule of `judgements`.

    Args:
        better: the completion that people prefer; for a tie either.
        worse: the other one.
        is_tie: whether no side is preferred.
        probability: share of raters who prefer `better`: 1 where the label is certain, 1/2 for a tie, never less.
        comparison: the edge as it is recorded, for its margin, annotator and time.
    """

    better: int
    worse: int
    is_tie: bool
    probability: float
    comparison: Comparison

    @property
    def shares(self) -> tuple[float, float, float]:
        """The shares of raters who say "better", "worse" and "tie"; they add up to 1."""
        tie = self.comparison.tie_votes
        worse = max(0.0, 1.0 - self.probability - tie / 2)
        return max(0.0, 1.0 - worse - tie), worse, tie

    @property
    def is_soft(self) -> bool:
        """Whether the label is a share of raters."""
        return self.comparison.probability is not None


def judgements(group: PreferenceGroup) -> Iterator[Judgement]:
    """Yield what the labels of a group say; every table, metric and check reads labels through this.

    Weight 0 does not count. A soft label below 1/2 turns the pair. A tie, a soft label of 1/2 and two identical
    completions prefer no side. `objectives.Comparisons.judged` is the same rule over tensors.

    Example:
        >>> [one] = judgements(PreferenceGroup("q", ("a", "b"), (Comparison(0, 1, probability=0.25),)))
        >>> one.better, one.worse, one.probability
        (1, 0, 0.75)
    """
    for edge in group.comparisons:
        if edge.weight == 0:
            continue
        probability = 1.0 if edge.probability is None else edge.probability
        if edge.is_tie or probability == 0.5:
            yield Judgement(edge.better, edge.worse, True, 0.5, edge)
        elif probability < 0.5:
            yield Judgement(edge.worse, edge.better, False, 1.0 - probability, edge)
        else:
            yield Judgement(edge.better, edge.worse, False, probability, edge)


def preferences(group: PreferenceGroup) -> Iterator[Judgement]:
    """Yield the judgements of a group that prefer a side."""
    return (judgement for judgement in judgements(group) if not judgement.is_tie)


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """What a scorer is asked: one prompt with K completions. Either may be text, messages or token ids."""

    prompt: Text
    completions: tuple[Completion, ...]
    tools: Sequence[Any] | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tools", without_nulls(self.tools))

    @classmethod
    def of_group(cls, group: PreferenceGroup) -> ScoreRequest:
        """Ask for the rewards of every completion of `group`."""
        return cls(group.prompt, group.completions, group.tools, group.chat_template_kwargs)


@runtime_checkable
class Scorer(Protocol):
    """Anything that gives rewards: a local model, a server, a file of scores, a function.

    Evaluation and serving know nothing else about a model. `score_requests` returns one list per request with one
    finite reward per completion, in order. What cannot be scored raises ScoringError.
    """

    name: str

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]: ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value that travels with how many observations it rests on and its 95% interval.

    An undefined value is NaN with its n, never 0. `low` and `high` are NaN when no interval can be given.
    """

    value: float
    n: int
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.3f} (n={self.n})"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n})"

    def __neg__(self) -> Estimate:
        return Estimate(-self.value, self.n, -self.high, -self.low)

    def to_dict(self) -> dict[str, Any]:
        """Return `value, n, low, high`, with None for NaN, for JSON."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {"n": self.n, **{k: None if math.isnan(v) else v for k, v in numbers.items()}}


# Python recurses about four times as deep, templates less.
MAX_NESTING = 200


def without_nulls(value: object) -> Any:
    """Return tools, calls or parts without the fields that are null, at any depth; what holds none comes back as it is.

    Arrow gives all objects of a column the same fields, null where the row has none: templates would write them out,
    and one row would have another text from Parquet than from JSON Lines.

    Raises:
        DataError: nested more deeply than a template can write.
    """
    return _without_nulls(value, MAX_NESTING)


def _without_nulls(value: object, levels: int) -> Any:
    if not levels:
        raise DataError(f"tools, calls and parts may be nested {MAX_NESTING} deep and no deeper")
    if isinstance(value, Mapping):
        kept = {k: _without_nulls(v, levels - 1) for k, v in value.items() if v is not None}
        return value if len(kept) == len(value) and all(kept[k] is value[k] for k in kept) else kept
    if isinstance(value, list | tuple):
        items = [_without_nulls(item, levels - 1) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)
    return value


def as_text(value: object, where: str = "text") -> Text:
    """Turn a string or a list of message dictionaries into the record's form. `where` names it in errors."""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and all(isinstance(m, Message) for m in value) and value:
        return tuple(value)
    if isinstance(value, Sequence) and all(isinstance(m, Mapping) for m in value) and value:
        try:
            return tuple(Message.from_dict(m) for m in value)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
    raise DataError(f"{where} must be a string or a non-empty list of messages, not {describe(value)}")


def as_plain(value: Completion) -> str | list[dict[str, Any]] | list[int]:
    """Turn a record's text, messages or token ids back into what JSON and data sets hold."""
    if isinstance(value, str):
        return value
    if isinstance(value, TokenIds):
        return list(value)
    return [message.to_dict() for message in value]


def text_key(value: Completion) -> str:
    """Return a string that is equal exactly when two texts are equal; used to merge and to deduplicate."""
    return value if isinstance(value, str) else "\x00" + json.dumps(as_plain(value), sort_keys=True, default=str)


def prompt_key(group: PreferenceGroup) -> str:
    """Return the exact key of what was asked, by which judgements are clustered: equal prompts, equal keys.

    The prompt, or for whole dialogues in text the turns that all completions share. Empty where there is no prompt
    and nothing marks where answers begin: what was asked is then not known, and no two groups share it.
    """
    if group.prompt:
        return text_key(group.prompt)
    texts = [completion for completion in group.completions if isinstance(completion, str)]
    if not texts or len(texts) < len(group):
        return ""
    start = os.path.commonprefix(texts)  # noqa: RUF071 - character by character is what is meant
    return start[: max(0, start.rfind("\n\nAssistant:"))]


def number_prompts(groups: Sequence[PreferenceGroup]) -> list[int]:
    """Number groups by their exact prompt, for intervals; each group whose prompt is not known is its own cluster."""
    numbers: dict[str, int] = {}
    keys = (prompt_key(group) or f"\x00empty {index}" for index, group in enumerate(groups))
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def graph_key(group: PreferenceGroup) -> tuple[str, str]:
    """Return what must be equal for two groups to be merged into one: prompt, tools and template arguments.

    Stricter than `prompt_key`: the template reads tools, so other tools are another input to the model.
    """
    if not group.tools and not group.chat_template_kwargs:
        return (text_key(group.prompt), "")
    settings = [group.tools or None, group.chat_template_kwargs or None]
    return (text_key(group.prompt), json.dumps(settings, sort_keys=True, default=str))


def fingerprint(values: Iterator[str] | Sequence[str]) -> str:
    """Return the SHA-256 hex digest of a series of strings, in order, with unambiguous borders."""
    digest = hashlib.sha256()
    for value in values:
        encoded = value.encode("utf-8", "surrogatepass")
        # The length first, so that "ab", "c" and "a", "bc" differ.
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()
