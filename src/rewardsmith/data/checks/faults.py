"""What `check` can find: when it is an error, what it means, what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from rewardsmith.data import roles
from rewardsmith.data.checks import row_checks

Level = Literal["error", "warning"]
# From this share on a fault is no slip of single rows but how the file was made.
SYSTEMATIC = 0.05


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


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a data set.

    Args:
        kind: its name.
        count: how many, of `total`, both in `unit`.
        rows: the first rows that have it, like "pairs.jsonl:row 12".
    """

    kind: str
    level: Level
    count: int
    total: int
    unit: str
    meaning: str
    remedy: str
    rows: list[str] = field(default_factory=list)

    def to_dict(self, num_rows: int | None = None) -> dict[str, Any]:
        """Give the plain form for JSON, with at most so many rows."""
        return {
            "kind": self.kind,
            "level": self.level,
            "count": self.count,
            "of": self.total,
            "unit": self.unit,
            "meaning": self.meaning,
            "remedy": self.remedy,
            "rows": self.rows[:num_rows],
        }


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

TEMPLATE = "chat templates refuse such a conversation, or render it silently"
KINDS: dict[str, Kind] = {
    row_checks.IDENTICAL: Kind(
        SYSTEMATIC, "a text compared with itself teaches nothing; counted as a tie", "remove these rows"
    ),
    row_checks.EMPTY: Kind(None, "an answer without text, as its reader allows", "make sure that none is preferred"),
    row_checks.NO_COMPARISON: Kind(
        None, "answers that nobody compared teach nothing", "compare them or leave them out"
    ),
    row_checks.NO_PROMPT: Kind(
        None, "other rows have a prompt; these are scored without one", "fill the prompt in, or remove the row"
    ),
    row_checks.WEIGHTLESS: Kind(None, "comparisons with weight 0 count for nothing", "remove them, or set a weight"),
    row_checks.NEGATIVE_MARGIN: Kind(
        SYSTEMATIC, "a margin below 0 says that the rejected side is better", "swap the sides, or mend the margin"
    ),
    # Raters and scores disagree in single rows; where a quarter does, the columns are swapped.
    row_checks.AGAINST_SCORES: Kind(
        0.25,
        "the scores in the row prefer the rejected side",
        "swap chosen and rejected, or check whether a lower score is better",
    ),
    row_checks.HOLDS_OTHER: Kind(
        None, "one answer is the other with something added or cut off", "check how the answers were cut"
    ),
    row_checks.NAMES_LABEL: Kind(
        SYSTEMATIC, "an answer says which side it is, so the model reads the label", "remove the mark from the text"
    ),
    row_checks.ANSWER_IN_PROMPT: Kind(
        None, "the preferred answer stands in the prompt and the other does not", "check the prompt column"
    ),
    row_checks.PROMPT_TWICE: Kind(
        SYSTEMATIC,
        "the answers begin with the prompt, so that it is read twice",
        "leave the prompt column out, or cut the prompt from the answers",
    ),
    row_checks.MARKS_IN_MESSAGES: Kind(
        SYSTEMATIC, "the chat template writes its tokens once more around these", "remove them from the texts"
    ),
    row_checks.MARKS_IN_TEXT: Kind(
        None, "rendered text: a tokenizer may add BOS or EOS once more", "give messages, or check with doctor"
    ),
    row_checks.BROKEN_TEXT: Kind(
        SYSTEMATIC, "control characters, U+FFFD, or UTF-8 read as another encoding", "export the data again as UTF-8"
    ),
    roles.EMPTY: Kind(SYSTEMATIC, "a turn without text", "fill it in or remove the row"),
    roles.NO_ALTERNATION: Kind(None, TEMPLATE, "join turns of one speaker"),
    roles.FIRST: Kind(None, TEMPLATE, "begin with a user turn (after the system's)"),
    roles.LAST: Kind(SYSTEMATIC, "there is no answer to judge", "cut the conversation after the assistant's turn"),
    roles.LATE_SYSTEM: Kind(None, TEMPLATE, "put the system turn first"),
    roles.STRAY_TOOL: Kind(None, TEMPLATE, "put the tool's turn after the call"),
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
    """Build the finding of a kind; its level follows from its share."""
    known = KINDS[kind]
    is_error = known.error_from is not None and count >= known.error_from * total
    return Finding(
        kind, "error" if is_error else "warning", count, total, unit, known.meaning, known.remedy, rows or []
    )
