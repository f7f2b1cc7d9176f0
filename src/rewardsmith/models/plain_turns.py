"""Conversations as text, for models that were trained on dialogues in text and have no chat template.

Models that were trained on dialogues in text could not be audited on data in messages otherwise. The form is that of
HH-RLHF, the usual one: "\\n\\nHuman: ...\\n\\nAssistant: ...".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rewardsmith.records import Completion, Message, PreferenceGroup, TokenIds

SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System"}


def needs_plain_turns(scorer: object) -> bool:
    """Whether a scorer has a tokenizer, but no chat template to read messages with."""
    tokenizer = getattr(scorer, "tokenizer", None)
    return tokenizer is not None and hasattr(tokenizer, "chat_template") and not tokenizer.chat_template


def as_plain_turns(groups: Sequence[PreferenceGroup]) -> tuple[list[PreferenceGroup], int]:
    """Write conversations as text and count them; groups of text, of token ids or with images stay as they are.

    Example:
        >>> told = PreferenceGroup((Message("user", "Why?"),), ((Message("assistant", "So."),),))
        >>> [group], count = as_plain_turns([told])
        >>> group.prompt, group.completions, count
        ('\\n\\nHuman: Why?\\n\\nAssistant:', (' So.',), 1)
    """
    written = [_write(group) for group in groups]
    return written, sum(new is not old for new, old in zip(written, groups, strict=True))


def _write(group: PreferenceGroup) -> PreferenceGroup:
    """Write one group, where all of it is text."""
    parts = (group.prompt, *group.completions)
    if not any(_is_conversation(part) for part in parts) or not all(_is_writable(part) for part in parts):
        return group
    if not group.prompt:
        return replace(group, completions=tuple(_turns(completion) for completion in group.completions))
    prompt = _turns(group.prompt) if _is_conversation(group.prompt) else f"\n\nHuman: {group.prompt}"
    completions = tuple(_continuation(completion) for completion in group.completions)
    return replace(group, prompt=f"{prompt}\n\nAssistant:", completions=completions)


def _is_conversation(part: Completion) -> bool:
    return not isinstance(part, str | TokenIds)


def _is_writable(part: Completion) -> bool:
    return isinstance(part, str) or (
        not isinstance(part, TokenIds) and all(isinstance(message.content, str) for message in part)
    )


def _turns(part: Any) -> str:
    """Write every message under its speaker."""
    return part if isinstance(part, str) else "".join(f"\n\n{_speaker(m)}: {m.content}" for m in part)


def _continuation(completion: Any) -> str:
    """Write an answer after "Assistant:"; further turns stand under their speakers."""
    if isinstance(completion, str):
        return f" {completion}"
    first, *rest = completion
    if first.role != "assistant":
        return _turns(completion)
    return f" {first.content}{_turns(tuple(rest))}"


def _speaker(message: Message) -> str:
    return SPEAKERS.get(message.role, message.role.capitalize())
