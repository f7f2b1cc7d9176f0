"""What may be wrong with single rows, with its name, its limit, its meaning and its remedy; and a tally of rows."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rewardsmith.data.checks.contradictions import PromptPlaces, Tells, holds_whole, label_in
from rewardsmith.data.checks.lengths import AnswerLengths
from rewardsmith.data.formats import cells
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.data.texts import question_text
from rewardsmith.findings import Finding, Level
from rewardsmith.records import Judgement, PreferenceGroup, TokenIds, preferences

# From this share on a fault is no slip of single rows but how the file was made.
SYSTEMATIC = 0.05
IDENTICAL = "identical sides"
EMPTY = "empty completion"
EMPTY_WINS = "empty answer preferred"
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
LISTED = "a list of answers as text"
NULL_TEXT = "a null as text"
# What tables and programs write for nothing.
NULLS = {"none", "nan", "null", "<na>", "undefined"}
TURN_FAULTS = (cells.EMPTY, cells.NO_ALTERNATION, cells.FIRST, cells.LAST, cells.LATE_SYSTEM, cells.STRAY_TOOL)
LEAKS = (HOLDS_OTHER, NAMES_LABEL, ANSWER_IN_PROMPT, PROMPT_TWICE)
TEXT_FAULTS = (MARKS_IN_MESSAGES, MARKS_IN_TEXT, BROKEN_TEXT, LISTED, NULL_TEXT)
# What is counted once for each comparison; everything else once for each row.
PER_COMPARISON = (
    IDENTICAL,
    WEIGHTLESS,
    NEGATIVE_MARGIN,
    SCORED,
    AGAINST_SCORES,
    HOLDS_OTHER,
    ANSWER_IN_PROMPT,
    EMPTY_WINS,
)
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
# A shorter prompt may begin an answer by chance.
LEAST_PROMPT = 10
MOST_BEFORE = 20

# Faults of the data as a whole.
CUT = "answers cut at one length"
BOTH_WAYS = "judged both ways"
REPEATED = "repeated judgement"
CIRCLE = "circle of preferences"
ON_BOTH_SIDES = "prompt in train and test"
MIXED = "text and messages mixed"
TELL = "a word tells the label"
LENGTH = "length tells the label"
SHORTER = "the shorter wins"
FEW = "few preferences"
NOTHING = "nothing to learn"
UNREADABLE_FILE = "unreadable file"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Args:
        error_from: share of rows from which training on the data would be wrong; None for never.
        meaning: what it does to training.
        remedy: what to do about it.
    """

    error_from: float | None
    meaning: str
    remedy: str


TEMPLATE = "chat templates refuse such a conversation, or render it silently"
KINDS: dict[str, Kind] = {
    IDENTICAL: Kind(SYSTEMATIC, "a text compared with itself teaches nothing; counted as a tie", "remove these rows"),
    EMPTY: Kind(None, "an answer without text: policies give them, and a reward must rank them low", "keep them"),
    EMPTY_WINS: Kind(SYSTEMATIC, "an answer without text beats one with text", "check the columns, or swap the sides"),
    NO_COMPARISON: Kind(None, "answers that nobody compared teach nothing", "compare them or leave them out"),
    NO_PROMPT: Kind(
        None, "other rows have a prompt; these are scored without one", "fill the prompt in, or remove the row"
    ),
    WEIGHTLESS: Kind(None, "comparisons with weight 0 count for nothing", "remove them, or set a weight"),
    NEGATIVE_MARGIN: Kind(
        SYSTEMATIC, "a margin below 0 says that the rejected side is better", "swap the sides, or mend the margin"
    ),
    # Raters and scores disagree in single rows; where a quarter does, the columns are swapped.
    AGAINST_SCORES: Kind(
        0.25,
        "the scores in the row prefer the rejected side",
        "swap chosen and rejected, or check whether a lower score is better",
    ),
    HOLDS_OTHER: Kind(
        None, "one answer is the other with something added or cut off", "check how the answers were cut"
    ),
    NAMES_LABEL: Kind(
        SYSTEMATIC, "an answer says which side it is, so the model reads the label", "remove the mark from the text"
    ),
    ANSWER_IN_PROMPT: Kind(
        None, "the preferred answer stands in the prompt and the other does not", "check the prompt column"
    ),
    PROMPT_TWICE: Kind(
        SYSTEMATIC,
        "the answers begin with the prompt, so that it is read twice",
        "leave the prompt column out, or cut the prompt from the answers",
    ),
    MARKS_IN_MESSAGES: Kind(
        SYSTEMATIC, "the chat template writes its tokens once more around these", "remove them from the texts"
    ),
    MARKS_IN_TEXT: Kind(
        None, "rendered text: a tokenizer may add BOS or EOS once more", "give messages, or check with doctor"
    ),
    BROKEN_TEXT: Kind(
        SYSTEMATIC, "control characters, U+FFFD, or UTF-8 read as another encoding", "export the data again as UTF-8"
    ),
    NULL_TEXT: Kind(
        None,
        "a prompt or an answer is the word that a table writes where there is nothing",
        "mend the export, or remove the rows; keep them where the word is the answer",
    ),
    LISTED: Kind(
        None,
        "several answers in a cell are read as one text, brackets and all",
        "give them as a list (JSON Lines, Parquet), or keep them where such a list is the answer",
    ),
    cells.EMPTY: Kind(SYSTEMATIC, "a turn without text", "fill it in or remove the row"),
    cells.NO_ALTERNATION: Kind(None, TEMPLATE, "join turns of one speaker"),
    cells.FIRST: Kind(None, TEMPLATE, "begin with a user turn (after the system's)"),
    cells.LAST: Kind(SYSTEMATIC, "there is no answer to judge", "cut the conversation after the assistant's turn"),
    cells.LATE_SYSTEM: Kind(None, TEMPLATE, "put the system turn first"),
    cells.STRAY_TOOL: Kind(None, TEMPLATE, "put the tool's turn after the call"),
    CUT: Kind(
        0.5, "answers end where a limit cut them: what they would have said is judged unseen", "collect them whole"
    ),
    BOTH_WAYS: Kind(
        SYSTEMATIC,
        "the same annotator (or none named) prefers each side once: one label is swapped, or raters disagree",
        "remove the wrong row; name annotators, or give vote shares as probability",
    ),
    REPEATED: Kind(
        None, "a judgement counts as often as it stands there", "remove copies, first of all before a split"
    ),
    CIRCLE: Kind(None, "no reward can satisfy a > b > c > a", "look at these rows"),
    ON_BOTH_SIDES: Kind(0.0, "accuracy on the test side is that of memory", "split by prompt: rewardsmith data split"),
    MIXED: Kind(None, "messages go through the chat template, text does not", "use one form: data convert"),
    LENGTH: Kind(None, "the longer answer wins nearly always: a model can learn length alone", "balance the lengths"),
    SHORTER: Kind(None, "people rarely prefer the shorter so often", "check that chosen and rejected are not swapped"),
    FEW: Kind(None, "what is learnt from so few is hardly better than chance", "collect more"),
    NOTHING: Kind(0.0, "no comparison prefers a side", "check the columns, see docs/data.md"),
    UNREADABLE_FILE: Kind(0.0, "the file ends here for every reader", "repair the file or export it again"),
}


def make_finding(kind: str, count: int, total: int, unit: str = "rows", rows: list[str] | None = None) -> Finding:
    """Build the finding of a kind; its level follows from its share: red where training would be wrong."""
    known = KINDS[kind]
    is_error = known.error_from is not None and count >= known.error_from * total
    level: Level = "red" if is_error else "yellow"
    return Finding(level, kind, known.meaning, known.remedy, count, total, unit, rows or [])


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
        self.tells, self.places, self.lengths = Tells(), PromptPlaces(), AnswerLengths()

    def add(self, row: int, where: str, group: PreferenceGroup) -> None:
        """Look at one group; `row` is the number of `where`."""
        texts = [plain_text(completion) for completion in group.completions]
        question = question_text(group)
        self.lengths.add(texts)
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
        """Return the count of a fault and the names of its first rows, for JSON."""
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
    yield from (fault for fault in cells.find_group_faults(group) if fault != cells.EMPTY or not is_empty)
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
    votes = Counter((judgement.better, judgement.worse) for judgement in preferences(group))
    for judgement in preferences(group):
        gaps = _score_gaps(group, judgement)
        if gaps:
            yield SCORED
            # One rater may differ from the others, whose mean a score is; the most of them should not.
            side = (judgement.better, judgement.worse)
            if all(gap < 0 for gap in gaps) and votes[side] > votes[side[::-1]]:
                yield AGAINST_SCORES


def _text_faults(sides: list[str], question: str, marks: str) -> Iterator[str]:
    for text in (question, *sides):
        if ("<" in text or "[" in text) and TEMPLATE_TOKEN.search(text):
            yield marks
        if (CONTROL if text.isascii() else BROKEN).search(text):
            yield BROKEN_TEXT
    if any(len(text) < 12 and text.strip().lower() in NULLS for text in (question, *sides)):
        yield NULL_TEXT
    # One side alone: where both are lists, a list was asked for.
    if sum(map(cells.is_list_of_texts, sides)) == 1:
        yield LISTED
    asked = question.strip()
    # The mark of a speaker may stand before it.
    starts = [text[: len(asked) + MOST_BEFORE] for text in sides]
    if len(asked) >= LEAST_PROMPT and len(sides) > 1 and all(asked in start for start in starts):
        yield PROMPT_TWICE


def _leaks(group: PreferenceGroup, texts: list[str], question: str) -> Iterator[str]:
    if any(label_in(text) for text in texts):
        yield NAMES_LABEL
    for judgement in preferences(group):
        better, worse = judgement.better, judgement.worse
        if holds_whole(texts[better], texts[worse]) or holds_whole(texts[worse], texts[better]):
            yield HOLDS_OTHER
        if not texts[better].strip() and texts[worse].strip():
            yield EMPTY_WINS
        if holds_whole(question, texts[better]) and texts[worse].strip() not in question:
            yield ANSWER_IN_PROMPT


def _score_gaps(group: PreferenceGroup, judgement: Judgement) -> list[float]:
    """Return, for every score in the row that tells the two sides apart, by how much it prefers the preferred one."""
    better, worse = judgement.better, judgement.worse
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


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
