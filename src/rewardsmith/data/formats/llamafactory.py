"""LLaMA-Factory's ranking data: alpaca rows and sharegpt rows (`dataset_info.json` with `"ranking": true`).

LLaMA-Factory puts every row through the model's chat template, so rows are read as messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardsmith.data.row_parts import pair_group
from rewardsmith.data.row_values import check_list, check_mapping, check_text, require
from rewardsmith.data.row_writers import conversations, pair_columns, single_message
from rewardsmith.errors import row_error
from rewardsmith.records import Message, PreferenceGroup

SIGNATURES = ({"instruction", "chosen", "rejected"}, {"conversations", "chosen", "rejected"})
TAGS = {"human": "user", "gpt": "assistant", "observation": "tool", "function_call": "assistant", "system": "system"}
ROLE_TAGS = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}
COLUMNS = {"instruction", "input", "history", "conversations", "system", "chosen", "rejected"}
# What a data set of ours needs in dataset_info.json.
INFO = {
    "ranking": True,
    "formatting": "sharegpt",
    "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "system": "system"},
}


def read_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read an alpaca or a sharegpt ranking row."""
    prompt: list[Mapping[str, Any]] = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    if "conversations" in row:
        turns = check_list(require(row, "conversations", where), where, "conversations")
        prompt += [_read_turn(turn, where, f"conversations[{index}]") for index, turn in enumerate(turns)]
        sides = [[_read_turn(require(row, name, where), where, name)] for name in ("chosen", "rejected")]
        return pair_group(row, where, prompt or "", sides, COLUMNS)
    for index, turn in enumerate(check_list(row.get("history") or [], where, "history")):
        pair = check_list(turn, where, f"history[{index}]")
        if len(pair) != 2:
            raise row_error(
                where, "wrong length", f"history[{index}] must be [question, answer]; it has {len(pair)} parts"
            )
        prompt += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    question = check_text(require(row, "instruction", where), where, "instruction", empty=True)
    if row.get("input"):
        question = f"{question}\n{check_text(row['input'], where, 'input')}"
    prompt += [{"role": "user", "content": question}] if question else []
    sides = [[{"role": "assistant", "content": require(row, name, where)}] for name in ("chosen", "rejected")]
    return pair_group(row, where, prompt or "", sides, COLUMNS)


def write_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Give sharegpt rows, one a comparison.

    Raises:
        DataError: a completion has several messages, or the turns do not alternate: LLaMA-Factory leaves such rows
            out while it loads, with no more than a warning.
    """
    prompt, completions = conversations(group)
    system = [m for m in prompt if m.role == "system"]
    asks = [m.role in ("user", "tool") for m in prompt if m.role != "system"]
    if asks != [index % 2 == 0 for index in range(len(asks))] or len(asks) % 2 == 0:
        raise row_error("group", "turns do not alternate", "LLaMA-Factory needs user and assistant in turn, user last")
    turns = [_write_turn(message) for message in prompt if message.role != "system"]
    return [
        {
            "conversations": turns,
            "chosen": _write_turn(single_message(completions[comparison.better])),
            "rejected": _write_turn(single_message(completions[comparison.worse])),
            "system": "\n".join(str(message.content) for message in system),
            **pair_columns(group, comparison, ("tools",)),
        }
        for comparison in group.comparisons
    ]


def _read_turn(turn: Any, where: str, place: str) -> Mapping[str, Any]:
    """Read `{"from", "value"}`; the OpenAI form `{"role", "content"}` passes through."""
    message = check_mapping(turn, where, place)
    if "role" in message:
        return message
    tag = message.get("from")
    if not isinstance(tag, str) or tag not in TAGS:
        raise row_error(where, "unknown role", f"{place} is from {tag!r}; allowed: {', '.join(TAGS)}")
    return {"role": TAGS[tag], "content": check_text(message.get("value"), where, f"{place}.value", empty=True)}


def _write_turn(message: Message) -> dict[str, str]:
    """Write one message with LLaMA-Factory's tags."""
    if message.role not in ROLE_TAGS or not isinstance(message.content, str) or message.extra:
        raise row_error("group", "message form", f"LLaMA-Factory cannot hold this {message.role!r} message")
    return {"from": ROLE_TAGS[message.role], "value": message.content}
