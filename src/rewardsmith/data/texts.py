"""What a group says as plain text: for lengths, look-ups and rules that read words, never for scoring."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from rewardsmith.data.loading import LoadReport, iter_preferences
from rewardsmith.records import SYSTEM_ROLES, Completion, PreferenceGroup, TokenIds, prompt_text, text_key

# The speaker marks of dialogues kept as text, so that they equal the same dialogue kept as messages.
SPEAKER = re.compile(r"(?:\A|\n\n)(?:Human|Assistant|User): ?")


def plain_text(completion: Completion) -> str:
    """Give the text of a completion: the contents of its messages, joined; token ids as numbers."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, TokenIds):
        return " ".join(map(str, completion))
    return "\n".join(content_text(message.content) for message in completion)


def content_text(content: object) -> str:
    """Give the text of a message's content, which may be a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def question_text(group: PreferenceGroup) -> str:
    """Give what was asked, without system messages and marks of speakers.

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


def locate(source: object, report: LoadReport, **options: Any) -> Iterator[tuple[str, PreferenceGroup]]:
    """Give (where, group) for every group of `iter_preferences`, `where` being like "pairs.jsonl:row 12"."""
    for group in iter_preferences(source, report=report, **options):
        yield report.where or group.group_id or f"row {report.rows}", group


def as_sources(data: object) -> list[Any]:
    """Return a list of paths as it is, and anything else that can be read as the one source that it is."""
    if isinstance(data, list | tuple) and data and all(isinstance(item, str | Path) for item in data):
        return list(data)
    return [data]


def locate_each(sources: Sequence[Any], report: LoadReport, **options: Any) -> Iterator[tuple[str, PreferenceGroup]]:
    """Give (where, group) of several sources; their names keep the path that was given, so that none is ambiguous."""
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
    """Give (where, group) for groups, numbered from 0, and for pairs that are named already."""
    for number, item in enumerate(items):
        if isinstance(item, PreferenceGroup):
            yield item.group_id or f"{side} group {number}", item
        else:
            yield item
