"""The report of a training run: a table, a model card and curves, beside the weights."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from rewardsmith.records import Estimate
from rewardsmith.report.curves import draw_curves
from rewardsmith.training.record import RunSummary


def write_report(summary: RunSummary) -> None:
    """Write `README.md` and `training_curves.png` into the run's folder."""
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
    """Return label, value, interval and n of each line."""
    rows = []
    if summary.held_out is not None:
        result = summary.held_out
        rule = result.best_baseline()
        for label, estimate in (
            ("accuracy", result.accuracy),
            (f"  baseline: {rule}", result.baselines[rule]),
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
    """Return the model card: what it is, how good, how to use it, how it was made."""
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
