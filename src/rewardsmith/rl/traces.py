"""Rewards of multi-turn traces: conversations in which the assistant speaks several times, tool calls included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Literal, overload

from rewardsmith.errors import ConfigError, DataError, ScoringError, describe
from rewardsmith.rl.rewards import RewardFunction, Source, reward_function

Trace = Sequence[Mapping[str, Any]]
Tools = Sequence[Any] | None


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
    All turns of all traces are asked in one call. What is shared is as for any samples: turns with equal prompts,
    such as the first answers of several traces to one question, are one request whose prompt is computed once. The
    longer prompts of later turns are computed anew, unless an earlier call left them with `keep_prefixes`.

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
    asked = [(number, place) for number, row in enumerate(places) for place in row]
    prompts = [list(traces[number][:place]) for number, place in asked]
    completions = [[traces[number][place]] for number, place in asked]
    columns = {} if tools is None else {"tools": [tools[number] for number, _ in asked]}
    function = source if isinstance(source, RewardFunction) else reward_function(source)
    found = []
    for (number, place), reward in zip(asked, function.score(prompts, completions, **columns), strict=True):
        if reward is None:
            raise ScoringError(f"trace {number}, message {place}: {function.name} gave no reward; its warning says why")
        found.append(reward)
    rewards = iter(found)
    return [list(islice(rewards, len(row))) for row in places]


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
