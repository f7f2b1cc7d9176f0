"""The one record of a finding: what checks of data, the doctor and audits say, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["green", "yellow", "red"]
LEVELS: tuple[Level, ...] = ("green", "yellow", "red")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says.

    Args:
        level: "green" is well, "yellow" may ruin a run, "red" ruins it.
        check: short name of what was looked for, the same in the terminal, JSON and docs.
        message: what was found, with its numbers.
        remedy: what to do; "" where nothing is to be done.
        count: how many, of `total`, both in `unit`; None where nothing was counted.
        rows: the first rows that have it, like "pairs.jsonl:row 12".
    """

    level: Level
    check: str
    message: str
    remedy: str = ""
    count: int | None = None
    total: int | None = None
    unit: str = ""
    rows: Sequence[str] = ()

    @property
    def text(self) -> str:
        """Return the message; the name that audits give it, in Python and JSON."""
        return self.message

    @property
    def share(self) -> float:
        """Return count / total, and 0 where nothing was counted."""
        return (self.count or 0) / max(1, self.total or 0)

    def __str__(self) -> str:
        return f"{self.level}: {self.check}: {self.message}" + (f" -> {self.remedy}" if self.remedy else "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the numbers only where something was counted."""
        plain: dict[str, Any] = {
            "level": self.level,
            "check": self.check,
            "message": self.message,
            "remedy": self.remedy,
        }
        if self.count is not None:
            plain |= {"count": self.count, "of": self.total, "unit": self.unit, "rows": list(self.rows)}
        return plain


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level; "green" when there is no finding."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="green")


def by_level(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings with the worst level first, inside a level the larger share first."""
    return sorted(findings, key=lambda finding: (-LEVELS.index(finding.level), -finding.share))
