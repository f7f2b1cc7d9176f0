"""The training curves of a run, as a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardsmith.evaluation.verdict import HeldOutResult
from rewardsmith.training.run import RunSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colour-blind safe: blue for training, orange for held-out data.
TRAIN, HELD_OUT, RULE, GRID = "#2a6fbb", "#d1661b", "#666666", "#dddddd"
PANELS = (
    ("loss", "loss", "lower is better"),
    ("accuracy", "accuracy", "share of decided comparisons"),
    ("mean_reward", "reward", "mean, and one standard deviation"),
)


def draw_curves(summary: RunSummary, path: Path) -> bool:
    """Draw loss, accuracy and rewards over steps. Returns whether there was anything to draw."""
    history = summary.history
    if not any("loss" in row for row in history):
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 3.4), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(Path(summary.model_name).name, fontsize=11, x=0.01, ha="left", fontweight="bold")
    for axes, (name, label, note) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        _draw_panel(axes, history, name)
        axes.set_title(f"{label} ({note})", fontsize=9, loc="left")
        axes.set_xlabel("step", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=8, length=0)
        axes.grid(color=GRID, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    figure.axes[1].axhline(0.5, color="#888888", linewidth=0.8, linestyle=":")
    if summary.held_out is not None and summary.held_out.accuracy.n:
        _draw_levels(figure.axes[1], summary.held_out)
    figure.axes[1].set_ylim(0.0, 1.02)
    figure.savefig(path)
    return True


def _draw_panel(axes: Axes, history: Sequence[Mapping[str, Any]], name: str) -> None:
    train = [(row["step"], row[name], row) for row in history if name in row and "loss" in row]
    held_out = [(row["step"], row[f"eval_{name}"]) for row in history if f"eval_{name}" in row]
    single = len(train) < 3
    axes.plot([s for s, *_ in train], [v for _, v, _ in train], color=TRAIN, lw=1.6, marker="o" if single else None)
    if name == "mean_reward":
        low = [v - row.get("std_reward", 0.0) for _, v, row in train]
        high = [v + row.get("std_reward", 0.0) for _, v, row in train]
        axes.fill_between([s for s, *_ in train], low, high, color=TRAIN, alpha=0.15, linewidth=0)
    handles = ["training"]
    if held_out:
        axes.plot([s for s, _ in held_out], [v for _, v in held_out], color=HELD_OUT, lw=1.6, marker="o", ms=4)
        handles.append("held out")
    axes.legend(axes.lines, handles, fontsize=7, frameon=False)


def _draw_levels(axes: Axes, result: HeldOutResult) -> None:
    """Draw the held-out accuracy at the end, and that of the better rule of length, as lines across the panel."""
    rule = result.best_baseline()
    levels = ((result.accuracy.value, HELD_OUT, "held out at the end"), (result.baselines[rule].value, RULE, rule))
    lines = [axes.axhline(value, color=colour, linewidth=1.2, linestyle="--") for value, colour, _ in levels]
    shown = axes.get_legend()
    assert shown is not None, "a panel draws its legend first"
    handles = [*(h for h in shown.legend_handles if h is not None), *lines]
    labels = [*(text.get_text() for text in shown.get_texts()), *(name for *_, name in levels)]
    axes.legend(handles, labels, fontsize=7, frameon=False)
