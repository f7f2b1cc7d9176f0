"""ms-swift's preference rows: `messages` ends with the chosen answer, `rejected_response` is the other one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardsmith.data.formats.cells import check_messages, check_side, require
from rewardsmith.data.formats.format import Format, Target
from rewardsmith.data.formats.pairs import (
    conversations,
    holds_several,
    pair_columns,
    pair_group,
    several_group,
    single_message,
)
from rewardsmith.records import PreferenceGroup

COLUMNS = {"messages", "rejected_response", "rejected_messages"}


def read_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one row; `rejected_messages`, a whole conversation, may stand in place of `rejected_response`."""
    messages = check_messages(require(row, "messages", where), where, "messages")
    if row.get("rejected_messages") is not None:
        rejected = check_messages(row["rejected_messages"], where, "rejected_messages")
        return pair_group(row, where, None, [messages, rejected], COLUMNS)
    rejected = require(row, "rejected_response", where)
    if holds_several(rejected):
        return several_group(row, where, messages[:-1] or "", ([messages[-1:]], _answers(rejected)), COLUMNS)
    response = check_side(rejected, where, "rejected_response", empty=True)
    other = [{"role": "assistant", "content": response}] if isinstance(response, str) else response
    return pair_group(row, where, messages[:-1] or "", [messages[-1:], other], COLUMNS)


def _answers(texts: list[Any]) -> list[Any]:
    return [[{"role": "assistant", "content": text}] if isinstance(text, str) else text for text in texts]


def write_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Give one row a comparison. Raises DataError for completions of several messages."""
    prompt, completions = conversations(group)
    rows = []
    for comparison in group.comparisons:
        chosen, rejected = completions[comparison.better], single_message(completions[comparison.worse])
        messages = [message.to_dict() for message in (*prompt, single_message(chosen))]
        columns = pair_columns(group, comparison, ("margin", "tools"))
        rows.append({"messages": messages, "rejected_response": rejected.content, **columns})
    return rows


FORMAT = Format(
    "swift",
    read_row,
    ({"messages", "rejected_response"}, {"messages", "rejected_messages"}),
    targets={"swift": Target(write_rows, frozenset({"margin", "tools"}), is_chat=True)},
)
