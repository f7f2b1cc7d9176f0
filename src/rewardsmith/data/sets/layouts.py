"""Two layouts that several published sets share: dialogues in one text with marked turns, and answers with ratings."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewardsmith.data.formats.cells import check_mapping, check_number, check_text, find_role_faults
from rewardsmith.data.formats.pairs import common_length, scored_comparisons
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison, Message

Scores = Mapping[str, float]
MEAN = "mean"


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


@dataclass(frozen=True)
class RatedAnswer:
    """One answer with its author and its scores by attribute."""

    text: str
    model: str | None
    scores: Scores


def check_scores(value: object, where: str, column: str) -> dict[str, float]:
    """Accept an object of finite numbers; what is null is left out."""
    scores = check_mapping(value, where, column)
    return {name: check_number(score, where, f"{column}.{name}") for name, score in scores.items()}


def rating_columns(answers: Sequence[RatedAnswer]) -> dict[str, tuple[float | None, ...]]:
    """Give each attribute's scores over all answers, None where an answer has none."""
    names = dict.fromkeys(name for answer in answers for name in answer.scores)
    return {name: tuple(answer.scores.get(name) for answer in answers) for name in names}


def compare_by(answers: Sequence[RatedAnswer], by: str, where: str) -> tuple[Comparison, ...]:
    """Compare all answers by one attribute, or by the mean of all; equal is a tie.

    Raises:
        RowError: an answer lacks the attribute, or any score at all.
    """
    scores = []
    for index, answer in enumerate(answers):
        values = list(answer.scores.values()) if by == MEAN else [answer.scores.get(by)]
        known = [value for value in values if value is not None]
        if not known:
            raise row_error(where, "missing score", f"answer {index} has no score {by!r}; name another attribute")
        scores.append(round(math.fsum(known) / len(known), 9))
    return scored_comparisons(scores)
