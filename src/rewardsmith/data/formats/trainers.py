"""Rows of other trainers that hold conversations: Axolotl's, ms-swift's and NeMo-RL's.

Axolotl (`bradley_terry.chat_template`): `system`, `input`, `chosen`, `rejected`, one turn each. ms-swift: `messages`
ends with the chosen answer, `rejected_response` is the other one. NeMo-RL: `context`, a conversation, and
`completions: [{rank, completion}]`, where a lower rank is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardsmith.data.formats.cells import (
    check_list,
    check_mapping,
    check_messages,
    check_number,
    check_side,
    check_text,
    require,
)
from rewardsmith.data.formats.format import Format, Target
from rewardsmith.data.formats.pairs import (
    ALL_COLUMNS,
    UNREAD,
    answer_group,
    as_answer,
    comparison_fields,
    conversations,
    group_fields,
    holds_several,
    join_prompt,
    pair_columns,
    pair_group,
    several_group,
    single_message,
)
from rewardsmith.data.formats.rankings import ranked_comparisons
from rewardsmith.errors import row_error
from rewardsmith.records import SYSTEM_ROLES, PreferenceGroup, as_plain

AXOLOTL_COLUMNS = {"system", "input", "chosen", "rejected"}


def read_axolotl_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one row as messages, since Axolotl puts it through the chat template."""
    question = check_text(require(row, "input", where), where, "input", empty=True)
    prompt = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    prompt += [{"role": "user", "content": question}] if question else []
    return answer_group(row, where, prompt, AXOLOTL_COLUMNS)


def to_axolotl_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
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


AXOLOTL = Format(
    "axolotl",
    read_axolotl_row,
    ({"input", "chosen", "rejected"},),
    yields_to=("llamafactory",),
    unless=frozenset({"prompt"}),
    system_place="system",
    targets={"axolotl": Target(to_axolotl_rows, is_chat=True)},
)


SWIFT_COLUMNS = {"messages", "rejected_response", "rejected_messages"}


def read_swift_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one row; `rejected_messages`, a whole conversation, may stand in place of `rejected_response`."""
    messages = check_messages(require(row, "messages", where), where, "messages")
    if row.get("rejected_messages") is not None:
        rejected = check_messages(row["rejected_messages"], where, "rejected_messages")
        if rejected[0].role not in ("user", *SYSTEM_ROLES) and len(messages) > 1:
            # Only the other answer, where ms-swift has the whole conversation.
            return pair_group(row, where, messages[:-1], [messages[-1:], rejected], SWIFT_COLUMNS)
        return pair_group(row, where, None, [messages, rejected], SWIFT_COLUMNS)
    rejected = require(row, "rejected_response", where)
    if holds_several(rejected):
        others = [as_answer(answer) for answer in rejected]
        return several_group(row, where, messages[:-1] or "", ([messages[-1:]], others), SWIFT_COLUMNS)
    check_side(rejected, where, "rejected_response", empty=True)
    return pair_group(row, where, messages[:-1] or "", [messages[-1:], as_answer(rejected)], SWIFT_COLUMNS)


def to_swift_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Give one row a comparison. Raises DataError for completions of several messages."""
    prompt, completions = conversations(group)
    rows = []
    for comparison in group.comparisons:
        chosen, rejected = completions[comparison.better], single_message(completions[comparison.worse])
        messages = [message.to_dict() for message in (*prompt, single_message(chosen))]
        columns = pair_columns(group, comparison, ("margin", "tools"))
        rows.append({"messages": messages, "rejected_response": rejected.content, **columns})
    return rows


SWIFT = Format(
    "swift",
    read_swift_row,
    ({"messages", "rejected_response"}, {"messages", "rejected_messages"}),
    system_place="messages",
    targets={"swift": Target(to_swift_rows, frozenset({"margin", "tools"}), is_chat=True)},
)


NEMO_LEFT_OUT = {"tie", "chosen_model", "rejected_model", "chosen_ratings", "rejected_ratings"}


def read_nemo_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read NeMo-RL's `context` and `completions: [{rank, completion}]`; a lower rank is better."""
    entries = check_list(require(row, "completions", where), where, "completions")
    if len(entries) < 2:
        raise row_error(where, "too few completions", f"column 'completions' holds {len(entries)}; give two or more")
    entries = [check_mapping(entry, where, f"completions[{i}]") for i, entry in enumerate(entries)]
    sides = [require(entry, "completion", f"{where} completions[{i}]") for i, entry in enumerate(entries)]
    ranks = [
        check_number(require(entry, "rank", f"{where} completions[{i}]"), where, f"completions[{i}].rank")
        for i, entry in enumerate(entries)
    ]
    prompt, completions = join_prompt(require(row, "context", where), sides, where, "context", "completions")
    fields = group_fields(row, where, {"context", "completions"})
    return PreferenceGroup(prompt, completions, ranked_comparisons(ranks, **comparison_fields(row, where)), **fields)


def to_nemo_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Give NeMo-RL's `context, completions: [{rank, completion}]`, two completions a row, as its trainer reads."""
    prompt, completions = conversations(group)
    context = [message.to_dict() for message in prompt]
    return [
        {
            "context": context,
            "completions": [
                {"rank": 0, "completion": as_plain(completions[comparison.better])},
                {"rank": int(comparison.outcome != "tie"), "completion": as_plain(completions[comparison.worse])},
            ],
            **{k: v for k, v in pair_columns(group, comparison, ALL_COLUMNS).items() if k not in NEMO_LEFT_OUT},
        }
        for comparison in group.comparisons
    ]


NEMO = Format(
    "nemo",
    read_nemo_row,
    ({"completions", "context"},),
    system_place="context",
    targets={
        "nemo": Target(
            to_nemo_rows,
            frozenset(ALL_COLUMNS) - {"tie", "models", "ratings"},
            UNREAD | {"margin", "tools", "chat_template_kwargs"},
            is_chat=True,
        )
    },
)
