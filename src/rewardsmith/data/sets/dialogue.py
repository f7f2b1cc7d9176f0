"""Dialogues written as one text with marked turns, turned into messages whose roles are checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rewardsmith.data.roles import find_role_faults
from rewardsmith.data.row_parts import common_length
from rewardsmith.data.row_values import check_text
from rewardsmith.errors import row_error
from rewardsmith.records import Message


def split_turns(text: object, marks: Mapping[str, str], where: str, column: str) -> tuple[Message, ...]:
    """Turn a marked dialogue into messages.

    Args:
        text: such as "\\n\\nHuman: ...\\n\\nAssistant: ...".
        marks: what stands before a turn, with the role that speaks, such as {"\\n\\nHuman:": "user"}.
        where, column: name the text in errors.

    Raises:
        RowError: no text, text before the first mark, or turns that are no conversation: empty, not alternating,
            not begun by the user or not ended by the assistant. The fault is the reason under which it is counted.
    """
    checked = check_text(text, where, column)
    pattern = re.compile("|".join(re.escape(mark) for mark in marks))
    found = list(pattern.finditer(checked))
    if not found or checked[: found[0].start()].strip():
        expected = " or ".join(map(repr, marks))
        raise row_error(where, "no dialogue", f"{column} must begin with {expected}; it begins {checked[:40]!r}")
    ends = [*(match.start() for match in found[1:]), len(checked)]
    messages = tuple(
        Message(marks[match.group()], checked[match.end() : end].strip())
        for match, end in zip(found, ends, strict=True)
    )
    faults = find_role_faults(messages)
    if faults:
        raise row_error(where, faults[0], f"{column}: {'; '.join(faults)}; repair the turns or leave the row out")
    return messages


def split_shared(
    dialogues: Sequence[tuple[Message, ...]],
) -> tuple[tuple[Message, ...], tuple[tuple[Message, ...], ...]]:
    """Give the turns that all dialogues begin with, and what follows in each; each keeps at least its last turn."""
    shared = common_length(dialogues)
    return dialogues[0][:shared], tuple(dialogue[shared:] for dialogue in dialogues)


def ask(question: str, answers: Sequence[str]) -> tuple[tuple[Message, ...], tuple[tuple[Message, ...], ...]]:
    """Give one question and its answers as a user turn and assistant turns.

    An empty answer stays: people judged it, and `data check` names it.
    """
    return (Message("user", question),), tuple((Message("assistant", answer),) for answer in answers)
