"""Convert groups to the rows of other tools, and say what each tool cannot hold.

Every target has two lists: what its rows hold, and which of that the tool itself leaves unread. What a group has
and the rows cannot hold is counted by kind; nothing disappears without a number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from rewardsmith.data.formats.format import Target
from rewardsmith.errors import DataError
from rewardsmith.records import PreferenceGroup

# Kind of information -> the name that counts use.
KINDS = {
    "margin": "margins",
    "weight": "weights",
    "probability": "soft labels",
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
    """Give the rows of one group and count what they cannot hold.

    Ties are left out of layouts without ties, because the tool would learn them as preferences; they are counted.
    """
    report.groups += 1
    if target.is_lossless:
        report.rows += 1
        return target.write(group)
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
        for name in ("margin", "probability", "annotator", "time", "rationale")
    }
    counts["weight"] = sum(edge.weight != 1.0 for edge in edges)
    for name in ("models", "ratings", "source", "group_id", "tools", "chat_template_kwargs", "metadata"):
        counts[name] = int(bool(getattr(group, name)))
    return {name: count for name, count in counts.items() if count}


def _without_ties(group: PreferenceGroup) -> PreferenceGroup:
    return replace(group, comparisons=tuple(c for c in group.comparisons if c.outcome != "tie"))
