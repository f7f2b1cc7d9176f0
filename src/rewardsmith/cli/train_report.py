"""What a finished run leaves: a table on stdout, and run.json, model card and curves in its folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rewardsmith.cli.train_curves import draw_curves
from rewardsmith.evaluation.held_out import HeldOutResult
from rewardsmith.records import Estimate

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
    notes: list[str]
    history: list[dict[str, Any]]


def write_report(summary: RunSummary) -> None:
    """Write `run.json`, `README.md` and `training_curves.png` into the run's folder."""
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
    path = summary.folder / "run.json"
    path.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    has_curves = draw_curves(summary.history, summary.folder / "training_curves.png", summary.model_name)
    (summary.folder / "README.md").write_text(model_card(summary, has_curves), encoding="utf-8")


def print_table(summary: RunSummary) -> None:
    """Print the result as a table on stdout."""
    table = Table(title="held-out result" if summary.held_out else "result", title_justify="left")
    for name, justify in (("", "left"), ("value", "right"), ("95% interval", "right"), ("n", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in _rows(summary):
        table.add_row(*row)
    Console(width=100 if not sys.stdout.isatty() else None).print(table)


def _rows(summary: RunSummary) -> list[tuple[str, str, str, str]]:
    """Give label, value, interval and n of each line."""
    rows = []
    if summary.held_out is not None:
        result = summary.held_out
        for label, estimate in (
            ("accuracy", result.accuracy),
            (f"  baseline: {result.best_baseline()}", result.baselines[result.best_baseline()]),
            ("ties in labels", result.metrics["label_tie_rate"]),
            ("ties in rewards", result.metrics["reward_tie_rate"]),
        ):
            rows.append((label, f"{estimate.value:.3f}", _interval(estimate), str(estimate.n)))
    speed = summary.speed
    rows.append(("comparisons per second", f"{speed.examples_per_second:.1f}", "", ""))
    rows.append(("distinct tokens per second", f"{speed.distinct_tokens_per_second:,.0f}", "", ""))
    rows.append(("saving (tokens of pair rows / computed)", f"{speed.saving:.2f}x", "", ""))
    return rows


def _interval(estimate: Estimate) -> str:
    return f"{estimate.low:.3f} - {estimate.high:.3f}" if estimate.low == estimate.low else "undefined"


def model_card(summary: RunSummary, has_curves: bool) -> str:
    """Give the model card: what it is, how good, how to use it, how it was made."""
    reward = summary.settings["reward"]
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-classification",
        "tags: [reward-model, rewardsmith]",
    ]
    lines += ["---", "", f"# Reward model: {summary.folder.name}", ""]
    lines.append(f"Gives one number per conversation; higher is better. Trained from `{summary.model_name}` on")
    lines += [f"`{summary.data_name}` with the objective `{reward['loss_type']}`.", "", "## Result", ""]
    lines += ["| | value | 95% interval | n |", "|---|---:|---:|---:|"]
    lines += [f"| {' | '.join(cell.strip() for cell in row)} |" for row in _rows(summary)]
    lines += ["", "Accuracy counts comparisons that prefer a side; intervals are clustered by prompt.", ""]
    if has_curves:
        lines += ["![training curves](training_curves.png)", ""]
    lines += ["## Use", "", "```python", "from rewardsmith import RewardModel", ""]
    lines += [f'model = RewardModel.from_pretrained("{summary.folder.name}")']
    lines += ['model.score("a question", ["one answer", "another answer"])', "```", ""]
    lines += ["`scoring_contract.json` says how a text becomes a number; `run.json` holds every setting.", ""]
    lines += ["## Data", "", *[f"- {note}" for note in summary.notes]]
    lines += [f"- text fingerprint: `{summary.text_fingerprint}`", "", "## Settings", ""]
    names = (
        "learning_rate",
        "num_train_epochs",
        "per_device_train_batch_size",
        "tokens_per_batch",
        "max_length",
        "seed",
    )
    lines += [f"- {name}: {reward[name]}" for name in names]
    return "\n".join(lines) + "\n"


def versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that shape a result."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Give the commit of the working directory with `+changes` when files differ; None outside of a repository."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if status.strip() else "")
