"""What a format's file declares, and how groups become the rows of other tools, with what each tool cannot hold.

A format says which columns claim a row, how it is read, and how rows are written. Every target has two lists: what its
rows hold, and which of that the tool itself leaves unread. What a group has and the rows cannot hold is counted by
kind; nothing disappears without a number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rewardsmith.errors import DataError, MissingExtraError
from rewardsmith.files.reading import FolderReader
from rewardsmith.records import PreferenceGroup

Row = Mapping[str, Any]
# Key in the metadata of a group that is one rated answer, to be joined with others of its prompt.
RATED = "rated_row"
# Key in the metadata of a group that is one solution whose steps were judged.
STEP_LABELS = "step_ratings"
# The rating that such a group has.
WORST_STEP = "worst_step"


@dataclass(frozen=True, slots=True)
class Target:
    """How one tool's rows are written.

    Args:
        write: gives the rows of a group; raises DataError for a group that the layout cannot hold.
        holds: names of `ALL_COLUMNS` that the rows carry.
        unread: of these, the ones that the tool ignores although its rows carry them.
        is_chat: whether text becomes messages.
        is_lossless: whether rows are whole groups.
        holds_steps: whether solutions with judged steps are written, as TRL's `prompt, completions, labels`.
    """

    write: Callable[[PreferenceGroup], list[dict[str, Any]]]
    holds: frozenset[str] = frozenset()
    unread: frozenset[str] = frozenset()
    is_chat: bool = False
    is_lossless: bool = False
    holds_steps: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """One layout of rows.

    Args:
        name: what `--reader` takes.
        read: gives the group of (row, where); raises RowError for a row that cannot be used.
        signatures: a row with all columns of one of these sets may be of this format.
        aliases: further names that `--reader` takes, such as a tool's.
        unless: columns beside which these rows are not meant.
        takes_prompt: whether `prompt` and `system` are put before its answers; False where it has its own columns.
        system_place: the column of messages before which a system message is put, where that is no prompt; "system"
            for a format that reads this column by itself.
        yields_to: formats whose columns say more; where one of them fits too, it is meant.
        wins: whether it is meant whatever else fits.
        pattern: a column that matches it claims a row, too, where names of columns vary.
        read_folder: reads a folder whose files only make sense together.
        targets: layouts of `data convert --to` that this file writes.
    """

    name: str
    read: Callable[[Row, str], PreferenceGroup]
    signatures: tuple[set[str], ...]
    aliases: tuple[str, ...] = ()
    unless: frozenset[str] = frozenset()
    takes_prompt: bool = False
    system_place: str = ""
    yields_to: tuple[str, ...] = ()
    wins: bool = False
    pattern: re.Pattern[str] | None = None
    read_folder: FolderReader | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)


# Kind of information -> the name that counts use.
KINDS = {
    "margin": "margins",
    "weight": "weights",
    "probability": "soft labels",
    "tie_share": "shares of ties",
    "annotator": "annotators",
    "time": "times",
    "rationale": "rationales",
    "models": "authors of completions",
    "ratings": "ratings",
    "source": "sources",
    "group_id": "group ids",
    "tools": "tools",
    "chat_template_kwargs": "template arguments",
    "metadata": "metadata",
}


@dataclass(slots=True)
class ConvertReport:
    """What was written and what was not.

    Args:
        groups: groups converted.
        rows: rows written.
        lost: kind of information to how many groups or comparisons lost it.
        unread: kind to how many carry it in a column that the tool ignores.
        refused: reason to number of groups that the layout cannot hold at all.
    """

    groups: int
    rows: int
    lost: Counter[str]
    unread: Counter[str]
    refused: Counter[str]

    @classmethod
    def empty(cls) -> ConvertReport:
        """Start counting."""
        return cls(0, 0, Counter(), Counter(), Counter())


def convert_group(group: PreferenceGroup, target: Target, report: ConvertReport) -> list[dict[str, Any]]:
    """Return the rows of one group and count what they cannot hold.

    Ties are left out of layouts without ties, because the tool would learn them as preferences; they are counted.
    """
    report.groups += 1
    if target.is_lossless:
        report.rows += 1
        return target.write(group)
    if target.holds_steps and STEP_LABELS in group.metadata and not group.comparisons:
        return _stepwise_rows(group, report)
    ties = sum(comparison.outcome == "tie" for comparison in group.comparisons)
    kept = group if not ties else _without_ties(group)
    try:
        rows = target.write(kept)
    except DataError as error:
        report.refused[getattr(error, "reason", "does not fit the layout")] += 1
        return []
    report.lost["ties"] += ties
    _count_losses(kept, target, report)
    report.rows += len(rows)
    return rows


def _stepwise_rows(group: PreferenceGroup, report: ConvertReport) -> list[dict[str, Any]]:
    """Return TRL's row of judged steps, a label each; what true and false cannot say is counted, or refused."""
    steps, ratings = list(group.metadata["steps"]), list(group.metadata[STEP_LABELS])
    while ratings and ratings[-1] is None:
        ratings.pop()
    report.lost["unjudged steps at the end"] += len(steps) - len(ratings)
    prompt = group.prompt
    if not isinstance(prompt, str) and len(prompt) == 1 and isinstance(prompt[0].content, str):
        prompt = prompt[0].content
    if None in ratings or not isinstance(prompt, str):
        what = "an unjudged step before a judged one" if None in ratings else "a conversation before the steps"
        report.refused[f"{what}, which TRL's stepwise rows do not hold"] += 1
        return []
    report.lost["neutral steps (written as right)"] += ratings.count(0)
    soft = group.metadata.get("step_probabilities", ())
    report.lost["soft labels of steps (written as the nearer)"] += sum(p not in (None, 0.0, 1.0) for p in soft)
    report.lost["metadata"] += bool(
        group.metadata.keys() - {"steps", "step_ratings", "first_error", "step_probabilities"}
    )
    report.rows += 1
    labels = [rating >= 0 for rating in ratings]
    return [{"prompt": prompt, "completions": steps[: len(labels)], "labels": labels}]


def _count_losses(group: PreferenceGroup, target: Target, report: ConvertReport) -> None:
    """Count what the rows of `group` do not hold, and what they hold unread."""
    for kind, count in _information(group).items():
        if kind not in target.holds:
            report.lost[KINDS[kind]] += count
        elif kind in target.unread:
            report.unread[KINDS[kind]] += count
    named = {index for c in group.comparisons for index in (c.better, c.worse)}
    report.lost["completions in no row"] += len(group) - len(named)
    if target.is_chat and any(isinstance(c, str) for c in group.completions):
        report.lost["plain text (written as messages)"] += 1


def _information(group: PreferenceGroup) -> dict[str, int]:
    """Count what a group says beside prompt, completions and the direction of its comparisons."""
    edges = group.comparisons
    counts = {
        name: sum(getattr(edge, name) is not None for edge in edges)
        for name in ("margin", "probability", "tie_share", "annotator", "time", "rationale")
    }
    counts["weight"] = sum(edge.weight != 1.0 for edge in edges)
    for name in ("models", "ratings", "source", "group_id", "tools", "chat_template_kwargs", "metadata"):
        counts[name] = int(bool(getattr(group, name)))
    return {name: count for name, count in counts.items() if count}


def _without_ties(group: PreferenceGroup) -> PreferenceGroup:
    return replace(group, comparisons=tuple(c for c in group.comparisons if c.outcome != "tie"))


def data_frame(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Return rows as a pandas DataFrame. Raises MissingExtraError without pandas."""
    try:
        import pandas
    except ImportError as error:
        raise MissingExtraError("pandas is not installed; run: pip install pandas") from error
    return pandas.DataFrame(list(rows))
