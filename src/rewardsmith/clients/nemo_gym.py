"""NeMo-Gym: `POST /verify` of a resources server gets its reward from a reward model.

A body holds `responses_create_params` and `response` in the form of OpenAI's Responses API, and comes back with a
`reward`. The last assistant turn of the response is what is scored, all before it is its prompt. Texts travel, so the
policy's tokenizer may be another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rewardsmith.clients.client import AsyncRewardClient, ClientOptions, as_async_scorer, score_samples_async
from rewardsmith.clients.exchange import Messages, chat_call, chat_tool, last_turn
from rewardsmith.errors import DataError, ScoringError, UnreachableError, describe
from rewardsmith.records import Scorer

if TYPE_CHECKING:
    from fastapi import APIRouter

TEXT_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


def read_body(body: Mapping[str, Any]) -> tuple[Messages, Messages, list[dict[str, Any]] | None]:
    """Return the prompt, the last assistant turn and the tools of a body, as chat messages and chat tools.

    `instructions` become the system message. Reasoning items are left out, as chat templates leave out the reasoning of
    earlier turns; text and calls of one turn are one message.

    Raises:
        DataError: a part is missing, the response has no assistant turn, or an item has no place in a chat template.
    """
    asked, response = (_part(body, name) for name in ("responses_create_params", "response"))
    instructions = asked.get("instructions")
    before = [{"role": "system", "content": instructions}] if instructions else []
    before += _messages(asked.get("input"), "responses_create_params.input")
    said = _messages(response.get("output"), "response.output")
    earlier, turn = last_turn(said, "response.output")
    return before + earlier, turn, [_tool(tool) for tool in asked.get("tools") or ()] or None


async def verify(body: Mapping[str, Any], scorer: Scorer | AsyncRewardClient | None = None) -> dict[str, Any]:
    """Return a body with its reward beside what it holds.

    Args:
        body: what NeMo-Gym posts to `/verify`.
        scorer: what is asked; None asks the server at $REWARDSMITH_URL.

    Raises:
        DataError: the body cannot be read, see `read_body`.
        ScoringError: there is no reward.
    """
    prompt, completion, tools = read_body(body)
    asked = as_async_scorer(None) if scorer is None else scorer
    [reward] = await score_samples_async(asked, [prompt], [completion], None if tools is None else [tools])
    return {**body, "reward": reward}


def verify_router(
    source: str | Scorer | None = None, *, api_key: str | None = None, options: ClientOptions | None = None
) -> APIRouter:
    """Make a FastAPI router with `POST /verify`. A body that cannot be read is 422, a silent reward server 503.

    Args:
        source: the server's address or a scorer; None reads $REWARDSMITH_URL.
        api_key: for a server with keys; None reads $REWARDSMITH_API_KEY.
        options: of the HTTP client.
    """
    from fastapi import APIRouter, Body, HTTPException

    scorer = as_async_scorer(source, api_key, options)
    router = APIRouter()

    async def answer(body: dict[str, Any]) -> dict[str, Any]:
        try:
            return await verify(body, scorer)
        except DataError as error:
            raise HTTPException(422, str(error)) from error
        except UnreachableError as error:
            raise HTTPException(503, str(error)) from error
        except ScoringError as error:
            raise HTTPException(502, str(error)) from error

    # FastAPI reads annotations at run time, where names of a function's own are not found.
    answer.__annotations__ = {"body": dict[str, Any], "return": dict[str, Any]}
    answer.__defaults__ = (Body(),)
    router.post("/verify")(answer)
    return router


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    if not isinstance(found, Mapping):
        raise DataError(f"a body for /verify needs an object {name!r}, not {describe(found)}")
    return found


def _messages(items: object, where: str) -> Messages:
    """Turn the items of the Responses API into chat messages."""
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    if not isinstance(items, Sequence):
        raise DataError(f"{where} must be a text or a list of items, not {describe(items)}")
    found: Messages = []
    for number, item in enumerate(items):
        place = f"{where}[{number}]"
        if not isinstance(item, Mapping):
            raise DataError(f"{place} must be an object, not {describe(item)}")
        kind = item.get("type") or "message"
        if kind == "message":
            role = str(item.get("role") or "assistant")
            found.append({"role": "system" if role == "developer" else role, "content": _text(item, place)})
        elif kind == "function_call":
            if not found or found[-1]["role"] != "assistant":
                found.append({"role": "assistant", "content": ""})
            found[-1].setdefault("tool_calls", []).append(chat_call(item, item.get("call_id")))
        elif kind == "function_call_output":
            output = _text({"content": item.get("output")}, place)
            found.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
        elif kind != "reasoning":
            raise DataError(
                f"{place} is of type {kind!r}; message, function_call, function_call_output and reasoning can be read"
            )
    return found


def _text(item: Mapping[str, Any], place: str) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise DataError(f"{place} must hold a text or a list of parts, not {describe(content)}")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else describe(part)
        if kind not in TEXT_PARTS:
            raise DataError(
                f"{place} holds a part of type {kind!r}; a reward model of texts reads {', '.join(TEXT_PARTS)}"
            )
        texts.append(str(part[TEXT_PARTS[kind]]))
    return "".join(texts)


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise DataError(f"responses_create_params.tools has one of type {tool.get('type')!r}; functions can be read")
    return chat_tool(tool)
