"""Where a group belongs: source, subset, language, length of its answers, number of turns."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rewardsmith.evaluation.judged import ScoredGroup, completion_length
from rewardsmith.records import PreferenceGroup, prompt_key

LENGTH_BORDERS = (200, 1000, 4000)


def stratum(group: PreferenceGroup, axis: str) -> str | None:
    """Give the value of `axis` ("source", "subset", "language", "length", "turns"), or None when it is not known."""
    if axis == "source":
        return group.source
    if axis == "length":
        return _length(group)
    if axis == "turns":
        return _turns(group)
    value = group.metadata.get(axis)
    return None if value is None else str(value)


AXES = ("source", "subset", "language", "length", "turns")


def split_by(scored: Sequence[ScoredGroup], axis: str) -> dict[str, list[ScoredGroup]]:
    """Split by `axis`; groups for which it is not known are left out."""
    parts: dict[str, list[ScoredGroup]] = {}
    for item in scored:
        value = stratum(item.group, axis)
        if value is not None:
            parts.setdefault(value, []).append(item)
    return dict(sorted(parts.items(), key=lambda part: (_first_number(part[0]), part[0])))


def _first_number(name: str) -> int:
    """Give the number that the bins of length and turns begin with, so that they stand in order; else 0."""
    digits = name[: len(name) - len(name.lstrip("0123456789"))]
    return int(digits) if digits and name[len(digits) :].startswith(("-", "+", " ")) else 0


def _length(group: PreferenceGroup) -> str | None:
    """Bin the mean length of the answers, in characters."""
    if not group.completions:
        return None
    mean = fmean(map(completion_length, group.completions))
    lower = 0
    for border in LENGTH_BORDERS:
        if mean < border:
            return f"{lower}-{border - 1} characters"
        lower = border
    return f"{lower}+ characters"


def _turns(group: PreferenceGroup) -> str:
    """Count what people said: messages of the user, or "Human:" lines of a dialogue in text."""
    prompt = group.prompt or prompt_key(group)
    if isinstance(prompt, str):
        turns = max(1, prompt.count("\n\nHuman:"))
    else:
        turns = max(1, sum(message.role == "user" for message in prompt))
    if turns == 1:
        return "1 turn"
    return "2-3 turns" if turns <= 3 else "4+ turns"
