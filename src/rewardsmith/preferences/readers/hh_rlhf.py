"""Anthropic HH-RLHF (Bai et al. 2022, arXiv 2204.05862): two dialogues that differ from some turn on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rewardsmith.errors import DataError
from rewardsmith.preferences.files import read_rows
from rewardsmith.records import Comparison, Message, PreferenceGroup

TURN = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


def read(path: Path) -> Iterator[PreferenceGroup]:
    """Give one group a row. Rows with identical sides are kept as a comparison that prefers none."""
    for where, row in read_rows(path):
        chosen = dialogue(row.get("chosen"), f"{where}, chosen")
        rejected = dialogue(row.get("rejected"), f"{where}, rejected")
        shared = _shared_turns(chosen, rejected)
        sides = [chosen[shared:], rejected[shared:]]
        same = sides[0] == sides[1]
        yield PreferenceGroup(
            prompt=chosen[:shared],
            completions=tuple(sides[:1] if same else sides),
            comparisons=(Comparison(0, 0 if same else 1),),
            source="hh-rlhf",
            group_id=where,
            metadata={"subset": path.name.split(".")[0]},
        )


def dialogue(text: object, where: str) -> tuple[Message, ...]:
    """Turn "\\n\\nHuman: ...\\n\\nAssistant: ..." into messages. Raises DataError for any other form."""
    if not isinstance(text, str):
        raise DataError(f"{where} must be dialogue text, not {type(text).__name__}")
    before, *parts = TURN.split(text)
    if before.strip() or not parts:
        raise DataError(f"{where} must begin with '\\n\\nHuman:'; found {text[:40]!r}")
    turns = zip(parts[::2], parts[1::2], strict=True)
    messages = tuple(Message(ROLES[speaker], content.strip()) for speaker, content in turns)
    if messages[-1].role != "assistant":
        raise DataError(f"{where} must end with a turn of the Assistant")
    return messages


def _shared_turns(chosen: tuple[Message, ...], rejected: tuple[Message, ...]) -> int:
    """Count the turns both sides begin with; each keeps at least its last."""
    limit = min(len(chosen), len(rejected)) - 1
    return next((i for i in range(limit) if chosen[i] != rejected[i]), limit)
