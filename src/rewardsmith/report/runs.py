"""Runs side by side: what their run.json files say, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith.blocks.kinds import Block, Cell, Paragraph, Table, Value
from rewardsmith.blocks.words import read_estimate, read_estimates
from rewardsmith.errors import one_line
from rewardsmith.records import Estimate

RECORD = "run.json"
UNKNOWN = Estimate(float("nan"), 0)


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run: where it lies, what it learned from, and how good it is.

    Args:
        baseline: the better of the rules of length on the same held-out judgements.
        time: when the record was written, seconds since 1970.
    """

    name: str
    model: str
    data: str
    objective: str
    learning_rate: float | None
    accuracy: Estimate
    baseline: Estimate
    time: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "model": self.model,
            "data": self.data,
            "objective": self.objective,
            "learning_rate": self.learning_rate,
            "accuracy": self.accuracy.to_dict(),
            "baseline": self.baseline.to_dict(),
            "time": self.time,
        }


def read_runs(folder: Path, order: str = "accuracy") -> tuple[list[RunLine], list[str]]:
    """Return the runs below a folder, best or newest first, and a line for each record that cannot be read."""
    runs, unread = [], []
    for path in sorted(folder.rglob(RECORD)):
        try:
            runs.append(_line(folder, path, json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            unread.append(f"{path}: no record of a run ({one_line(error)})")
    keys = {
        "accuracy": lambda run: (run.accuracy.n == 0, -run.accuracy.value if run.accuracy.n else 0.0, run.name),
        "time": lambda run: (-run.time, run.name),
        "name": lambda run: run.name,
    }
    return sorted(runs, key=keys[order]), unread


def runs_table(runs: Sequence[RunLine], unread: Sequence[str]) -> list[Block]:
    """Return the runs as a table, and what could not be read."""
    header = ("run", "accuracy", "n", "length rule", "objective", "data")
    rows: list[list[Value | Cell]] = [
        [
            run.name,
            run.accuracy if run.accuracy.n else "none",
            f"{run.accuracy.n:,}",
            run.baseline.value if run.baseline.n else "none",
            run.objective,
            Path(run.data).name,
        ]
        for run in runs
    ]
    return [Table(f"{len(runs)} runs", header, rows), *map(Paragraph, unread)]


def _line(folder: Path, path: Path, record: Mapping[str, Any]) -> RunLine:
    reward = record["settings"]["reward"]
    held_out = record.get("held_out") or {}
    rules = read_estimates(held_out.get("baselines"))
    return RunLine(
        name=str(path.parent.relative_to(folder)) if path.parent != folder else folder.resolve().name,
        model=str(record["model"]),
        data=str(record["data"]),
        objective=str(reward["loss_type"]),
        learning_rate=reward.get("learning_rate"),
        accuracy=read_estimate(held_out.get("accuracy")) or UNKNOWN,
        baseline=max(rules.values(), key=lambda rule: rule.value, default=UNKNOWN),
        time=path.stat().st_mtime,
    )
