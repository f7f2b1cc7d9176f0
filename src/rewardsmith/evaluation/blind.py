"""The baseline that needs the scorer itself: every answer without its prompt.

What it gets right, it gets right without reading what was asked: by style, length, or by remembering answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rewardsmith.errors import RewardsmithError
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Message, PreferenceGroup, TokenIds

NAME = "prompt_blind"


@dataclass(frozen=True, slots=True)
class BlindScores:
    """Groups scored without their prompts, by the baseline's name; empty, with a note, where that cannot be done."""

    scored: dict[str, list[ScoredGroup]]
    note: str | None = None


def without_prompts(
    score: Callable[[Sequence[PreferenceGroup]], list[ScoredGroup]], groups: Sequence[PreferenceGroup]
) -> BlindScores:
    """Score every answer without its prompt; the groups that come back hold their prompts again.

    A conversation keeps one empty turn of the user, as many chat templates refuse an answer that nobody asked for.

    Args:
        score: scores groups.
    """
    if not any(group.prompt for group in groups):
        return BlindScores({NAME: []}, f"{NAME}: no group has a prompt apart from its answers, so none can be left out")
    if any(isinstance(completion, TokenIds) for group in groups for completion in group.completions):
        return BlindScores({NAME: []}, f"{NAME}: token ids hold the prompt, so it cannot be left out")
    try:
        scored = score([replace(group, prompt=_nothing(group)) for group in groups])
    except RewardsmithError as error:
        return BlindScores({NAME: []}, f"{NAME}: cannot be scored: {error}")
    return BlindScores({NAME: [ScoredGroup(g, item.rewards) for g, item in zip(groups, scored, strict=True)]})


def _nothing(group: PreferenceGroup) -> str | tuple[Message, ...]:
    is_plain = isinstance(group.prompt, str) and all(isinstance(completion, str) for completion in group.completions)
    return "" if is_plain else (Message("user", ""),)
