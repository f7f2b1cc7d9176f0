"""What a run was: run.json, with its settings, data, versions, speed and result."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rewardsmith.evaluation.evaluating import HeldOutResult

RECORD = "run.json"
PACKAGES = ("rewardsmith", "torch", "transformers", "datasets", "tokenizers", "accelerate", "peft", "numpy")


@dataclass(frozen=True)
class Speed:
    """How fast the run was, over the steps of this process."""

    examples_per_second: float
    distinct_tokens_per_second: float
    saving: float


@dataclass(frozen=True)
class RunSummary:
    """Everything that is reported about a run."""

    folder: Path
    model_name: str
    data_name: str
    held_out: HeldOutResult | None
    speed: Speed
    settings: Mapping[str, Any]
    text_fingerprint: str
    notes: Sequence[str]
    history: Sequence[Mapping[str, Any]]

    def __repr__(self) -> str:
        measured = "nothing held out" if self.held_out is None else f"held-out accuracy {self.held_out.accuracy}"
        return f"RunSummary({str(self.folder)!r}, {measured})"


def write_record(summary: RunSummary) -> Path:
    """Write `run.json` into the run's folder."""
    record = {
        "model": summary.model_name,
        "data": summary.data_name,
        "data_notes": summary.notes,
        "text_fingerprint": summary.text_fingerprint,
        "seed": summary.settings["reward"]["seed"],
        "held_out": None if summary.held_out is None else summary.held_out.to_dict(),
        "speed": vars(summary.speed),
        "git_commit": git_commit(),
        "versions": versions(),
        "command": ["rewardsmith", *sys.argv[1:]],
        "settings": summary.settings,
        "history": summary.history,
    }
    path = summary.folder / RECORD
    path.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    return path


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the working directory with `+changes` when files differ; None outside of a repository."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if status.strip() else "")
