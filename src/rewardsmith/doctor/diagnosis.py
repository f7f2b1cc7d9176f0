"""`doctor` as a function: findings with their verdict, for scripts and notebooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.blocks.html import render_blocks
from rewardsmith.blocks.kinds import Block, Details, FindingLine, Findings, Tone, Verdict
from rewardsmith.doctor.examining import Examination, examine
from rewardsmith.findings import Finding, Level, by_level, worst

SCHEMA, SCHEMA_VERSION = "rewardsmith.doctor", 1
TONES: dict[Level, Tone] = {"green": "good", "yellow": "warn", "red": "bad"}
SAID = {
    "green": "nothing that ruins a run was found",
    "yellow": "look at what is yellow before you rely on it",
    "red": "mend what is red: rewards or training would be wrong",
}


@dataclass(frozen=True, slots=True, repr=False)
class Diagnosis:
    """What the doctor found.

    Args:
        findings: in the order of the checks.
        model: what was examined, or None.
        data: the data, or None.
    """

    findings: Sequence[Finding]
    model: Any = None
    data: Any = None

    @property
    def level(self) -> Level:
        """The worst level."""
        return worst(self.findings)

    @property
    def verdict(self) -> str:
        """The conclusion in one line."""
        counts = Counter(finding.level for finding in self.findings)
        numbers = ", ".join(f"{counts[level]} {level}" for level in ("red", "yellow", "green"))
        return f"{numbers}: {SAID[self.level]}"

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, as `rewardsmith doctor --json` writes them."""
        data = self.data if isinstance(self.data, str) or self.data is None else "rows in memory"
        model = None if self.model is None else str(self.model)
        head = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "model": model, "data": data, "level": self.level}
        return {**head, "findings": [finding.to_dict() for finding in self.findings]}

    def __repr__(self) -> str:
        return f"<doctor: {self.verdict}>"

    def _repr_html_(self) -> str:
        loud = [finding for finding in by_level(self.findings) if finding.level != "green"]
        blocks: list[Block] = [Verdict(self.verdict, TONES[self.level])]
        if loud:
            blocks.append(_lines(loud))
        quiet = [finding for finding in self.findings if finding.level == "green"]
        if quiet:
            blocks.append(Details(f"{len(quiet)} checks found nothing", [_lines(quiet)]))
        return render_blocks(blocks)


def doctor(
    model: str | Path | None = None,
    data: Any = None,
    *,
    max_length: int | None = None,
    trust_remote_code: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    **reading: Any,
) -> Diagnosis:
    """Examine a checkpoint, preference data, or both together.

    Args:
        model: folder or hub id of a reward model, of an adapter, or of a language model still to be trained.
        data: what `load_preferences` takes.
        max_length: of the training run; None takes the contract's, then 1024.
        trust_remote_code: allow models that bring Python code.
        device, dtype: where and in which precision the model is loaded.
        reading: of `iter_preferences`: reader, split, limit.

    Raises:
        ConfigError: neither model nor data was given.
        DataError: the data cannot be opened at all.

    Example:
        >>> rows = [{"prompt": f"{n}+2?", "chosen": f"{n + 2}", "rejected": "no idea"} for n in range(9)]
        >>> doctor(data=rows).level
        'yellow'
    """
    how = Examination(max_length, reading, trust_remote_code, device, dtype)
    return Diagnosis(examine(model, data, how), model, data)


def _lines(findings: Sequence[Finding]) -> Findings:
    return Findings([FindingLine(f.level, f"{f.check}: {f.message}", f.remedy) for f in findings])
