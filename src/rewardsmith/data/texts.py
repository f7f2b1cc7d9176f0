"""What a group says as plain text: for lengths, look-ups and rules that read words; and conversations as dialogues.

Models that were trained on dialogues in text, and have no chat template, could not be measured on data in messages
otherwise. The form of a dialogue is that of HH-RLHF, the usual one: "\\n\\nHuman: ...\\n\\nAssistant: ...".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Unpack

from rewardsmith.data.formats.cells import content_text
from rewardsmith.data.loading import LoadReport, ReadOptions, iter_preferences
from rewardsmith.data.near import prompt_text
from rewardsmith.records import (
    SYSTEM_ROLES,
    Completion,
    Message,
    PreferenceGroup,
    TokenIds,
    text_key,
)

# The speaker marks of dialogues kept as text, so that they equal the same dialogue kept as messages.
SPEAKER = re.compile(r"(?:\A|\n\n)(?:Human|Assistant|User): ?")


def question_text(group: PreferenceGroup) -> str:
    """Return what was asked, without system messages and marks of speakers.

    With an empty prompt it is what all completions begin with, or, where they share nothing, their whole text: the
    same for the same completions in any order.
    """
    if isinstance(group.prompt, tuple):
        turns = [message for message in group.prompt if message.role not in SYSTEM_ROLES] or list(group.prompt)
        return "\n".join(content_text(message.content) for message in turns)
    if not group.prompt.strip():
        group = replace(
            group, completions=tuple(sorted(group.completions, key=text_key)), comparisons=(), ratings={}, models=()
        )
    return SPEAKER.sub("\n", prompt_text(group))


def locate(source: object, report: LoadReport, **options: Unpack[ReadOptions]) -> Iterator[tuple[str, PreferenceGroup]]:
    """Yield (where, group) for every group of `iter_preferences`, `where` being like "pairs.jsonl:row 12"."""
    for group in iter_preferences(source, report=report, **options):
        yield report.where or group.group_id or f"row {report.rows}", group


def as_sources(data: object) -> list[Any]:
    """Return a list of paths as it is, and anything else that can be read as the one source that it is."""
    if isinstance(data, list | tuple) and data and all(isinstance(item, str | Path) for item in data):
        return list(data)
    return [data]


def locate_each(
    sources: Sequence[object], report: LoadReport, **options: Unpack[ReadOptions]
) -> Iterator[tuple[str, PreferenceGroup]]:
    """Yield (where, group) of several sources; their names keep the path that was given, so that none is ambiguous."""
    for source in sources:
        for where, group in locate(source, report, **options):
            yield (name_row(source, where) if len(sources) > 1 else where), group


def name_row(source: object, where: str) -> str:
    """Name a row by the path of its source: "old/pairs.jsonl" and "pairs.jsonl:row 3" give "old/pairs.jsonl:row 3"."""
    if not isinstance(source, str | Path):
        return where
    name = Path(source).name
    return f"{source}{where.removeprefix(name)}" if where.startswith(f"{name}:") else f"{source}/{where}"


def join_rows(names: Sequence[str]) -> str:
    """Name rows file by file: "pairs.jsonl:row 3, 17, 22; more.jsonl:row 1"."""
    parts: list[str] = []
    for file, group in groupby(names, key=lambda row: row.rpartition("row ")[0] if "row " in row else None):
        rows = list(group)
        parts += rows if file is None else [f"{file}row {', '.join(row.rpartition('row ')[2] for row in rows)}"]
    return "; ".join(parts)


def name_groups(items: Iterable[Any], side: str) -> Iterator[tuple[str, PreferenceGroup]]:
    """Yield (where, group) for groups, numbered from 0, and for pairs that are named already."""
    for number, item in enumerate(items):
        if isinstance(item, PreferenceGroup):
            yield item.group_id or f"{side} group {number}", item
        else:
            yield item


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
