"""Rewards of multi-turn traces: conversations in which the assistant speaks several times, tool calls included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal, overload

from rewardsmith.errors import ConfigError, DataError, ScoringError, describe
from rewardsmith.models.shared_prefix.packing import fill_batches
from rewardsmith.rl.rewards import RewardFunction, Source, reward_function
from rewardsmith.scoring.scorer import RewardScorer

Trace = Sequence[Mapping[str, Any]]
Tools = Sequence[Any] | None
Turn = tuple[int, int]  # which trace, and which of its messages
# Of prefixes that one call leaves to the next. More than that only makes a trace be computed anew.
KEPT_TOKENS = 16384
CHARACTERS_A_TOKEN = 3


@overload
def score_trace(source: Source, messages: Trace, turns: Literal["last"] = ..., *, tools: Tools = None) -> float: ...
@overload
def score_trace(source: Source, messages: Trace, turns: Literal["each"], *, tools: Tools = None) -> list[float]: ...
def score_trace(
    source: Source, messages: Trace, turns: Literal["last", "each"] = "last", *, tools: Tools = None
) -> float | list[float]:
    """Return the reward of a trace's last assistant turn, or of each; see `score_traces`, which takes many at once.

    Example:
        ```python
        score_trace(model, messages, turns="each")
        ```
    """
    [rewards] = _score(source, [messages], turns, None if tools is None else [tools])
    return rewards if turns == "each" else rewards[0]


@overload
def score_traces(
    source: Source, traces: Sequence[Trace], turns: Literal["last"] = ..., *, tools: Sequence[Tools] | None = None
) -> list[float]: ...
@overload
def score_traces(
    source: Source, traces: Sequence[Trace], turns: Literal["each"], *, tools: Sequence[Tools] | None = None
) -> list[list[float]]: ...
def score_traces(
    source: Source,
    traces: Sequence[Trace],
    turns: Literal["last", "each"] = "last",
    *,
    tools: Sequence[Tools] | None = None,
) -> list[float] | list[list[float]]:
    """Return one reward a trace, that of its last assistant turn, or a list with one for each assistant turn.

    An assistant turn is the completion, all messages before it are its prompt; what follows the last one is not read.
    A loaded model computes a trace once: its last turn first, then the earlier ones go on from what they share with it,
    some of which is all but their last tokens. Models that cannot go on from a prefix, and servers, are asked for all
    turns in one call, in which turns with equal prompts share them.

    Args:
        source: what `reward_function` takes, or made; a folder is loaded at each call, so load it once for several.
        traces: each a list of messages.
        tools: for each trace the tools that its chat template writes.

    Raises:
        DataError: a trace is empty, is no list of messages, or has no assistant turn.
        ScoringError: a turn gets no reward.
    """
    rows = _score(source, traces, turns, tools)
    return rows if turns == "each" else [row[0] for row in rows]


def _score(source: Source, traces: Sequence[Trace], turns: str, tools: Sequence[Tools] | None) -> list[list[float]]:
    if turns not in ("last", "each"):
        raise ConfigError(f"turns must be 'last' or 'each', not {turns!r}")
    if tools is not None and len(tools) != len(traces):
        raise DataError(f"{len(traces)} traces, but tools for {len(tools)}; give one list, or None, for each trace")
    places = [_assistant_turns(trace, number) for number, trace in enumerate(traces)]
    if turns == "last":
        places = [row[-1:] for row in places]
    function = source if isinstance(source, RewardFunction) else reward_function(source)
    asked = [(number, place) for number, row in enumerate(places) for place in row]
    found: dict[Turn, float] = {}
    with ExitStack() as stack:
        parts = [asked]
        if len(asked) > len(traces) and (keepers := _keepers(function)):
            for keeper in keepers:
                stack.enter_context(keeper.keeping_prefixes(KEPT_TOKENS))
            parts = list(_longest_first(traces, places))
        for part in parts:
            found |= _ask(function, traces, part, tools)
    return [[found[number, place] for place in row] for number, row in enumerate(places)]


def _ask(
    function: RewardFunction, traces: Sequence[Trace], asked: Sequence[Turn], tools: Sequence[Tools] | None
) -> dict[Turn, float]:
    """Return the rewards of some turns, asked in one call. Raises ScoringError where one gets none."""
    prompts = [list(traces[number][:place]) for number, place in asked]
    completions = [[traces[number][place]] for number, place in asked]
    columns = {} if tools is None else {"tools": [tools[number] for number, _ in asked]}
    found = {}
    for turn, reward in zip(asked, function.score(prompts, completions, **columns), strict=True):
        if reward is None:
            raise ScoringError(
                f"trace {turn[0]}, message {turn[1]}: {function.name} gave no reward; its warning says why"
            )
        found[turn] = reward
    return found


def _keepers(function: RewardFunction) -> list[RewardScorer]:
    """Return the models of a function that compute a prefix once, which may then be kept from call to call."""
    return [one for one in function.sources if isinstance(one, RewardScorer) and one.capabilities.shares_prefix]


def _longest_first(traces: Sequence[Trace], places: Sequence[Sequence[int]]) -> Iterator[list[Turn]]:
    """Yield the turns in calls, the last turns of some traces before their others, as many as kept prefixes hold."""
    sizes = [sum(len(str(message)) for message in trace) // CHARACTERS_A_TOKEN for trace in traces]
    for members in fill_batches(sizes, KEPT_TOKENS):
        yield [(number, places[number][-1]) for number in members]
        if others := [(number, place) for number in members for place in places[number][:-1]]:
            yield others


def _assistant_turns(trace: Trace, number: int) -> list[int]:
    """Return which messages are the assistant's. Raises DataError where none is."""
    if isinstance(trace, str) or not isinstance(trace, Sequence):
        raise DataError(f"trace {number} must be a list of messages, not {describe(trace)}")
    if not trace:
        raise DataError(f"trace {number} is empty; give a list of messages with an assistant turn")
    for place, message in enumerate(trace):
        if not isinstance(message, Mapping) or "role" not in message:
            raise DataError(f"trace {number}, message {place} must be an object with a 'role', not {describe(message)}")
    found = [place for place, message in enumerate(trace) if message["role"] == "assistant"]
    if not found:
        raise DataError(
            f"trace {number} has no assistant turn among its {len(trace)} messages; there is nothing to score"
        )
    return found
