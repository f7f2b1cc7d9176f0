"""verifiers: a reward function for the rubrics of 0.1, and one for the `@reward` methods of `verifiers.v1`.

The last assistant turn is scored, all before it is its prompt. Texts travel, so the policy's tokenizer may be another
one. A rubric of 0.1 logs an error of a reward function and goes on with the reward 0, so watch its log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from rewardsmith.clients.client import AsyncRewardClient, ClientOptions, as_async_scorer, score_samples_async
from rewardsmith.clients.exchange import chat_messages, chat_tool, last_turn
from rewardsmith.errors import DataError
from rewardsmith.records import Scorer

# A text, or messages: dictionaries, or objects of pydantic.
Said = str | Sequence[object]


class Trace(Protocol):
    """What is read of a trace of `verifiers.v1`: the branches of its messages, the last one being final."""

    @property
    def branches(self) -> Sequence[Any]: ...


def verifiers_reward(
    source: str | Scorer | None = None,
    *,
    api_key: str | None = None,
    options: ClientOptions | None = None,
    name: str = "reward_model",
) -> Callable[..., Awaitable[float]]:
    """Make a function for `Rubric(funcs=[...])` of verifiers 0.1.

    Args:
        source: the server's address or a scorer; None reads $REWARDSMITH_URL.
        api_key: for a server with keys; None reads $REWARDSMITH_API_KEY.
        options: of the HTTP client.
        name: under which the rubric logs it.
    """
    scorer = as_async_scorer(source, api_key, options)

    async def reward(
        prompt: Said,
        completion: Said,
        answer: object = "",
        state: Mapping[str, Any] | None = None,
        **columns: object,
    ) -> float:
        if isinstance(completion, str):
            [found] = await score_samples_async(scorer, [prompt], [completion])
            return found
        before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else chat_messages(prompt, "prompt")
        said = chat_messages(completion, "completion")
        earlier, turn = last_turn(said, "completion")
        return await _reward(scorer, before + earlier, turn, (state or {}).get("tool_defs"))

    reward.__name__ = reward.__qualname__ = name
    return reward


def verifiers_trace_reward(
    source: str | Scorer | None = None, *, api_key: str | None = None, options: ClientOptions | None = None
) -> Callable[[Trace], Awaitable[float]]:
    """Make a function of a trace, to be awaited by a `@reward` method of `verifiers.v1`. Arguments as above."""
    scorer = as_async_scorer(source, api_key, options)

    async def reward(trace: Trace) -> float:
        if not trace.branches:
            raise DataError("the trace has no messages; there is nothing to score")
        final = trace.branches[-1]
        before, turn = last_turn(chat_messages(final.messages, "trace.messages"), "trace.messages")
        return await _reward(scorer, before, turn, final.tools)

    return reward


async def _reward(
    scorer: Scorer | AsyncRewardClient, prompt: object, completion: object, tools: Sequence[object] | None
) -> float:
    columns = [[chat_tool(tool) for tool in tools]] if tools else None
    [reward] = await score_samples_async(scorer, [prompt], [completion], columns)
    return reward
