"""What trainers' messages, calls and tools look like as the chat messages that templates read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.errors import DataError, describe

Messages = list[dict[str, Any]]
# Templates leave out the reasoning of earlier turns, and no template reads what providers sign.
UNREAD = frozenset({"reasoning_content", "thinking_blocks", "provider_state"})


def last_turn(messages: Sequence[dict[str, Any]], where: str) -> tuple[Messages, Messages]:
    """Return what stands before the last assistant turn, and that turn. Raises DataError where there is none."""
    turns = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns:
        raise DataError(f"{where} has neither a message nor a call of the assistant; there is nothing to score")
    return list(messages[: turns[-1]]), [messages[turns[-1]]]


def chat_messages(messages: Sequence[object], where: str) -> Messages:
    """Return messages, objects of pydantic or dictionaries, as dictionaries; flat tool calls get their function."""
    found = []
    for number, given in enumerate(messages):
        message = _plain(given)
        if "role" not in message:
            raise DataError(f"{where}[{number}] must be a message with a role, not {describe(given)}")
        kept = {key: value for key, value in message.items() if value is not None and key not in UNREAD}
        if calls := kept.get("tool_calls"):
            plain = [_plain(call) for call in calls]
            kept["tool_calls"] = [call if "function" in call else chat_call(call, call.get("id")) for call in plain]
        found.append({"content": "", **kept})
    return found


def chat_call(call: Mapping[str, Any], call_id: object) -> dict[str, Any]:
    """Return a call as a chat message holds it; its arguments are an object, which templates read, where they parse."""
    arguments = call.get("arguments")
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        parsed = arguments
    function = {"name": call.get("name"), "arguments": parsed if isinstance(parsed, Mapping) else arguments}
    return {"type": "function", "id": call_id, "function": function}


def chat_tool(tool: object) -> dict[str, Any]:
    """Return a flat tool as chat templates read it; one that holds its function is as it is."""
    plain = _plain(tool)
    if "function" in plain:
        return plain
    return {"type": "function", "function": {k: plain[k] for k in ("name", "description", "parameters") if k in plain}}


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else {}
