"""Axolotl's reward data (`bradley_terry.chat_template`): `system`, `input`, `chosen`, `rejected`, one turn each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardsmith.data.formats.cells import check_text, require
from rewardsmith.data.formats.format import Format, Target
from rewardsmith.data.formats.pairs import conversations, pair_columns, pair_group, single_message
from rewardsmith.errors import row_error
from rewardsmith.records import PreferenceGroup

COLUMNS = {"system", "input", "chosen", "rejected"}


def read_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one row as messages, since Axolotl puts it through the chat template."""
    question = check_text(require(row, "input", where), where, "input", empty=True)
    prompt = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    prompt += [{"role": "user", "content": question}] if question else []
    sides = [[{"role": "assistant", "content": require(row, name, where)}] for name in ("chosen", "rejected")]
    return pair_group(row, where, prompt or "", sides, COLUMNS)


def write_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Give one row a comparison. Raises DataError for prompts of several turns: the layout has one."""
    prompt, completions = conversations(group)
    roles = [message.role for message in prompt]
    if roles not in ([], ["user"], ["system", "user"]) or not all(isinstance(m.content, str) for m in prompt):
        raise row_error("group", "several turns", f"Axolotl's layout holds one user turn, not {', '.join(roles)}")
    system = {"system": prompt[0].content} if roles[:1] == ["system"] else {}
    question = prompt[-1].content if prompt else ""
    return [
        {
            **system,
            "input": question,
            "chosen": single_message(completions[comparison.better]).content,
            "rejected": single_message(completions[comparison.worse]).content,
            **pair_columns(group, comparison, ()),
        }
        for comparison in group.comparisons
    ]


FORMAT = Format(
    "axolotl",
    read_row,
    ({"input", "chosen", "rejected"},),
    yields_to=("llamafactory",),
    unless=frozenset({"prompt"}),
    targets={"axolotl": Target(write_rows, is_chat=True)},
)
