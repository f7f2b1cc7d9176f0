"""Whether a list of messages is a conversation: who may speak when, and that every turn says something."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rewardsmith.records import SYSTEM_ROLES, Message, PreferenceGroup, TokenIds

EMPTY = "empty turn"
NO_ALTERNATION = "turns do not alternate"
FIRST = "first turn is not the user's"
LAST = "last turn is not the assistant's"
LATE_SYSTEM = "system turn after the first turn"
STRAY_TOOL = "tool turn without a call before it"

TOOL_ROLES = ("tool", "function")
# A tool's answer may be the last turn of a judged trajectory.
CLOSING_ROLES = ("assistant", *TOOL_ROLES)


def find_role_faults(messages: Sequence[Message]) -> list[str]:
    """Name what keeps a list of messages from being a conversation; an empty list means nothing does.

    System turns may stand at the beginning, tool turns after an assistant turn that calls a tool (or after another
    tool turn). User and assistant must take turns, the user first, the assistant (or a tool) last, and no turn may
    be empty, unless it calls a tool. Each fault is named once, in a fixed order. Chat templates of several models
    refuse what is named here, others render it silently.

    Example:
        >>> find_role_faults([Message("user", "hi"), Message("user", "there")])
        ['turns do not alternate', "last turn is not the assistant's"]
    """
    start = next((i for i, m in enumerate(messages) if m.role not in SYSTEM_ROLES), len(messages))
    turns = messages[start:]
    faults = {
        EMPTY: any(not _speaks(message) for message in messages),
        LATE_SYSTEM: any(message.role in SYSTEM_ROLES for message in turns),
        FIRST: not turns or turns[0].role != "user",
        NO_ALTERNATION: any(a.role == b.role in ("user", "assistant") for a, b in pairwise(turns)),
        STRAY_TOOL: any(b.role in TOOL_ROLES and a.role not in ("assistant", *TOOL_ROLES) for a, b in pairwise(turns)),
        LAST: not turns or turns[-1].role not in CLOSING_ROLES,
    }
    return [fault for fault, present in faults.items() if present]


def find_group_faults(group: PreferenceGroup) -> list[str]:
    """Name the faults of all conversations of a group, each once; text and token ids have none."""
    prompt = () if isinstance(group.prompt, str) else group.prompt
    faults: dict[str, None] = {}
    for completion in group.completions:
        if not isinstance(completion, str | TokenIds):
            faults.update(dict.fromkeys(find_role_faults((*prompt, *completion))))
    return list(faults)


def _speaks(message: Message) -> bool:
    """Whether a turn holds text, parts or a tool call."""
    content = message.content.strip() if isinstance(message.content, str) else message.content
    return bool(content or message.extra.get("tool_calls") or message.extra.get("function_call"))
