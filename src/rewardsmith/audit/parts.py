"""The parts of an audit. A new one is a file of its own and a line here."""

from __future__ import annotations

from rewardsmith.audit import (
    contamination,
    invariances,
    length,
    over_optimisation,
    probes,
    reward_variance,
    risk,
    shift,
)
from rewardsmith.audit.plan import Part, Plain
from rewardsmith.blocks.kinds import FindingLine, Findings, Section
from rewardsmith.findings import LEVELS

# In the order in which they run and stand. Findings are made when all have run, and may read what others found.
PARTS: tuple[Part, ...] = (
    length.PART,
    probes.PART,
    invariances.PART,
    risk.PART,
    contamination.PART,
    shift.PART,
    over_optimisation.PART,
    reward_variance.PART,
)


def findings_section(result: Plain) -> Section | None:
    """Show what the audit concludes, worst first."""
    rows = [row for row in result.get("findings") or [] if isinstance(row, dict)]
    items = [
        FindingLine(_level(row.get("level")), str(row.get("text", "")), str(row.get("remedy", ""))) for row in rows
    ]
    if not items:
        return None
    items.sort(key=lambda item: -LEVELS.index(item.level))
    return Section(
        "Findings",
        "What follows from the numbers: red asks for action, yellow for a look.",
        "Green means that nothing was found on this data, not that nothing is there.",
        [Findings(items)],
        is_essential=True,
    )


def _level(value: object) -> str:
    return str(value) if value in LEVELS else "yellow"
