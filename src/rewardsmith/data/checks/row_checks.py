"""What is wrong with one group, by name; and a tally that keeps the rows."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from rewardsmith.data import roles
from rewardsmith.data.checks.leaks import PromptPlaces, Tells, holds_whole, label_in
from rewardsmith.data.texts import plain_text, question_text
from rewardsmith.records import Comparison, PreferenceGroup, TokenIds, preferences

IDENTICAL = "identical sides"
EMPTY = "empty completion"
NO_COMPARISON = "no comparison"
NO_PROMPT = "empty prompt"
WEIGHTLESS = "weight 0"
NEGATIVE_MARGIN = "margin below 0"
AGAINST_SCORES = "label against its scores"
SCORED = "label with scores beside it"
HOLDS_OTHER = "one side holds the other"
NAMES_LABEL = "answer names its label"
ANSWER_IN_PROMPT = "answer stands in the prompt"
PROMPT_TWICE = "prompt repeated in the answers"
MARKS_IN_MESSAGES = "template tokens in messages"
MARKS_IN_TEXT = "template tokens in text"
BROKEN_TEXT = "broken characters"
TURN_FAULTS = (roles.EMPTY, roles.NO_ALTERNATION, roles.FIRST, roles.LAST, roles.LATE_SYSTEM, roles.STRAY_TOOL)
LEAKS = (HOLDS_OTHER, NAMES_LABEL, ANSWER_IN_PROMPT, PROMPT_TWICE)
TEXT_FAULTS = (MARKS_IN_MESSAGES, MARKS_IN_TEXT, BROKEN_TEXT)
# What is counted once for each comparison; everything else once for each row.
PER_COMPARISON = (IDENTICAL, WEIGHTLESS, NEGATIVE_MARGIN, SCORED, AGAINST_SCORES, HOLDS_OTHER, ANSWER_IN_PROMPT)
AS_MESSAGES = "messages"
AS_TEXT = "text"

TEMPLATE_TOKEN = re.compile(
    r"<\|(?:im_start|im_end|begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|endoftext|user|assistant"
    r"|system|end|START_OF_TURN_TOKEN|END_OF_TURN_TOKEN)\|>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|<｜[^｜\n]{1,40}｜>"
    r"|(?:\A<s>|</s>\s*\Z)"
)
# U+FFFD, control characters, and UTF-8 that was read as Latin-1 or Windows-1252.
CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f]")
BROKEN = re.compile("[\ufffd\x00-\x08\x0b\x0e-\x1f]|Ã[\x80-\xbf©¨¤¶¼Ÿ]|â€[\u2122œ\x9d\u201c\u201d™¦˜]|Â[\xa0°·»«]")
# Columns of pair rows that hold both sides' scores.
SCORE_COLUMNS = (
    ("score_chosen", "score_rejected"),
    ("scores_chosen", "scores_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("rating_chosen", "rating_rejected"),
)
LEAST_PROMPT = 20


class RowTally:
    """Counts rows (or comparisons, see `PER_COMPARISON`) by fault, and keeps the numbers of the first of them.

    Args:
        keep: rows kept for each fault; more are counted only.

    Set `split` to say on which side ("train", "test") the next rows stand; None goes by the names of their files.
    """

    def __init__(self, keep: int = 1000) -> None:
        self.keep = keep
        self.split: str | None = None
        self.counts: Counter[str] = Counter()
        self.rows: dict[str, array[int]] = {}
        self.preferences = self.holder_wins = 0
        self.tells, self.places = Tells(), PromptPlaces()

    def add(self, row: int, where: str, group: PreferenceGroup) -> None:
        """Look at one group; `row` is the number of `where`."""
        texts = [plain_text(completion) for completion in group.completions]
        question = question_text(group)
        for fault, times in Counter(find_faults(group, texts, question if group.prompt else "")).items():
            self.counts[fault] += times if fault in PER_COMPARISON else 1
            kept = self.rows.setdefault(fault, array("Q"))
            if len(kept) < self.keep:
                kept.append(row)
        for judgement in preferences(group):
            better, worse = judgement.better, judgement.worse
            self.preferences += 1
            self.tells.add(texts[better], texts[worse])
            self.holder_wins += holds_whole(texts[better], texts[worse])
        self.places.add(row, where, question, self.split)

    def named(self, fault: str, name: Callable[[int], str], limit: int = 5) -> dict[str, Any]:
        """Give the count of a fault and the names of its first rows, for JSON."""
        return {"count": self.counts[fault], "rows": [name(row) for row in self.rows.get(fault, ())[:limit]]}


def find_faults(group: PreferenceGroup, texts: list[str], question: str) -> Iterator[str]:
    """Name what is wrong with a group, and whether it is text or messages, each time that it occurs.

    Args:
        texts: its completions as plain text.
        question: its prompt as plain text.
    """
    is_text = all(isinstance(side, str) for side in (group.prompt, *group.completions))
    yield AS_TEXT if is_text else AS_MESSAGES
    if not group.prompt:
        yield NO_PROMPT
    is_empty = any(not text.strip() for text in texts)
    if is_empty:
        yield EMPTY
    yield from (fault for fault in roles.find_group_faults(group) if fault != roles.EMPTY or not is_empty)
    yield from _judgement_faults(group)
    sides = [text for text, side in zip(texts, group.completions, strict=True) if not isinstance(side, TokenIds)]
    yield from _text_faults(sides, question, MARKS_IN_TEXT if is_text else MARKS_IN_MESSAGES)
    yield from _leaks(group, texts, question)


def _judgement_faults(group: PreferenceGroup) -> Iterator[str]:
    if not group.comparisons:
        yield NO_COMPARISON
    for comparison in group.comparisons:
        if comparison.better == comparison.worse:
            yield IDENTICAL
        if not comparison.weight:
            yield WEIGHTLESS
        if comparison.margin is not None and comparison.margin < 0:
            yield NEGATIVE_MARGIN
        gaps = _score_gaps(group, comparison)
        if gaps:
            yield SCORED
            if all(gap < 0 for gap in gaps):
                yield AGAINST_SCORES


def _text_faults(sides: list[str], question: str, marks: str) -> Iterator[str]:
    for text in (question, *sides):
        if ("<" in text or "[" in text) and TEMPLATE_TOKEN.search(text):
            yield marks
        if (CONTROL if text.isascii() else BROKEN).search(text):
            yield BROKEN_TEXT
    asked = question.strip()
    if len(asked) >= LEAST_PROMPT and len(sides) > 1 and all(text.lstrip().startswith(asked) for text in sides):
        yield PROMPT_TWICE


def _leaks(group: PreferenceGroup, texts: list[str], question: str) -> Iterator[str]:
    if any(label_in(text) for text in texts):
        yield NAMES_LABEL
    for judgement in preferences(group):
        better, worse = judgement.better, judgement.worse
        if holds_whole(texts[better], texts[worse]) or holds_whole(texts[worse], texts[better]):
            yield HOLDS_OTHER
        if holds_whole(question, texts[better]) and texts[worse].strip() not in question:
            yield ANSWER_IN_PROMPT


def _score_gaps(group: PreferenceGroup, comparison: Comparison) -> list[float]:
    """Give, for every score in the row that tells the two sides apart, by how much it prefers the preferred one."""
    if comparison.is_tie:
        return []
    better, worse = comparison.better, comparison.worse
    gaps = []
    for scores in group.ratings.values():
        high, low = scores[better], scores[worse]
        if high is not None and low is not None:
            gaps.append(high - low)
    if len(group) == 2 and group.metadata:
        for columns in SCORE_COLUMNS:
            chosen, rejected = (_number(group.metadata.get(column)) for column in columns)
            if chosen is not None and rejected is not None:
                gaps.append((chosen - rejected) * (1 if better == 0 else -1))
    return [gap for gap in gaps if gap]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
