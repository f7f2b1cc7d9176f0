"""The record of a run, run.json, and what is shown of it meanwhile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState, TrainingArguments

from rewardsmith.blocks.words import read_estimate
from rewardsmith.evaluation.steps import StepResult
from rewardsmith.evaluation.verdict import HeldOutResult
from rewardsmith.files.progress import ProgressBar
from rewardsmith.models.contract import RECORD, package_versions
from rewardsmith.training.frozen import SweepRow

SHOWN = ("loss", "accuracy", "margin", "eval_loss", "eval_accuracy")


class TrainingProgress(TrainerCallback):
    """Show steps, time left and the last metrics: a bar on a terminal, a line per log elsewhere."""

    def __init__(self, shown: Sequence[str] = SHOWN) -> None:
        self.shown = shown
        self._bar: ProgressBar | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: object, **kwargs: object) -> None:
        """Start at the step from which training goes on."""
        if not state.is_world_process_zero:
            return
        if not sys.stderr.isatty():
            print(f"training: {state.max_steps} steps", file=sys.stderr)
            return
        self._bar = ProgressBar("training", state.max_steps, "steps").__enter__()
        self._bar.update(state.global_step, reused=True)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: object, **kwargs: object) -> None:
        """Advance the bar."""
        if self._bar is not None:
            self._bar.update(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: object,
        logs: Mapping[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Show the metrics that say whether training works."""
        shown = "  ".join(f"{name} {logs[name]:.3f}" for name in self.shown if logs and name in logs)
        if not shown or not state.is_world_process_zero:
            return
        if self._bar is not None:
            self._bar.update(state.global_step, note=shown)
        else:
            print(f"step {state.global_step}/{state.max_steps}  {shown}", file=sys.stderr)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: object, **kwargs: object) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


PACKAGES = ("rewardsmith", "torch", "transformers", "datasets", "tokenizers", "accelerate", "peft", "numpy")


@dataclass(frozen=True)
class Speed:
    """How fast the run was since it began or went on, all of its processes together."""

    examples_per_second: float
    distinct_tokens_per_second: float
    saving: float
    processes: int = 1


@dataclass(frozen=True)
class RunSummary:
    """Everything that is reported about a run."""

    folder: Path
    model_name: str
    data_name: str
    held_out: HeldOutResult | StepResult | None
    speed: Speed
    settings: Mapping[str, Any]
    text_fingerprint: str | None
    notes: Sequence[str]
    history: Sequence[Mapping[str, Any]]
    sweep: Sequence[SweepRow] = ()

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
        "sweep": [row.to_dict() for row in summary.sweep],
        "speed": vars(summary.speed),
        **provenance(),
        "command": ["rewardsmith", *without_secrets(sys.argv[1:])],
        "settings": summary.settings,
        "history": summary.history,
    }
    path = summary.folder / RECORD
    path.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    return path


def read_sweep(folder: Path) -> list[SweepRow]:
    """Return the settings that the record of a run says were tried."""
    path = folder / RECORD
    rows = json.loads(path.read_text(encoding="utf-8")).get("sweep", []) if path.is_file() else []
    return [SweepRow(**{**row, "held_out": estimate}) for row in rows if (estimate := read_estimate(row["held_out"]))]


def without_secrets(arguments: Sequence[str]) -> list[str]:
    """Return a command line whose tokens are left out: records are shown, and go to the hub."""
    shown = [re.sub(r"^(--\w*token)=.+", r"\1=...", text) for text in arguments]
    return ["..." if number and re.fullmatch(r"--\w*token", shown[number - 1]) else t for number, t in enumerate(shown)]


def provenance() -> dict[str, Any]:
    """Return what every record of a run says of the code that made it."""
    return {"git_commit": git_commit(), "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape a result."""
    return {"python": sys.version.split()[0], **package_versions(PACKAGES)}


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
