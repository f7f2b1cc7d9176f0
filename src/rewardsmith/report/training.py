"""The report of a training run: a verdict and a table, a model card and curves (a PNG), beside the weights."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardsmith.blocks.figures import new_figure
from rewardsmith.blocks.html import render_blocks
from rewardsmith.blocks.kinds import TONES, Block, Cell, Paragraph, Table, Value, Verdict
from rewardsmith.blocks.text import CARD, new_card, print_blocks
from rewardsmith.errors import ConfigError, MissingExtraError, require_known, require_place
from rewardsmith.evaluation.rated import ratings_table
from rewardsmith.evaluation.steps import StepResult
from rewardsmith.evaluation.verdict import HeldOutResult, verdict
from rewardsmith.files.writing import require_writable
from rewardsmith.models.contract import CURVES, RECORD
from rewardsmith.training.adapter import ModelConfig, require_extras
from rewardsmith.training.checkpoints import asked_checkpoint, require_unused
from rewardsmith.training.config import RewardConfig, read_config
from rewardsmith.training.data import DEFAULT_HELD_OUT, DatasetMixtureConfig, ScriptArguments, load_given
from rewardsmith.training.hub import push_run
from rewardsmith.training.model import named_model
from rewardsmith.training.recipes import CONFIGS
from rewardsmith.training.record import RunSummary
from rewardsmith.training.run import train_one_or_several

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)
# Colour-blind safe: blue for training, orange for held-out data.
TRAIN, HELD_OUT, RULE, GRID = "#2a6fbb", "#d1661b", "#666666", "#dddddd"
PANELS = (
    ("loss", "loss", "lower is better"),
    ("accuracy", "accuracy", "share of decided comparisons"),
    ("mean_reward", "reward", "mean, and one standard deviation"),
)
# Flags that are arguments of `train` under other names, or that it has itself.
OF_ARGUMENTS = ("overwrite_output_dir", "model_name_or_path", "dataset_name", "eval_dataset_name", "output_dir")
# What the command sets where the user says nothing.
OF_THE_COMMAND = {"merge_prompts": True, "logging_first_step": True, "disable_tqdm": False}
# Settings that a reader of the card asks for first; run.json holds them all.
SETTINGS = (
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "tokens_per_batch",
    "max_length",
    "seed",
)


def curves_figure(summary: RunSummary) -> Figure | None:
    """Draw loss, accuracy and rewards over steps; None where there is nothing to draw."""
    history = summary.history
    if not any("loss" in row for row in history):
        return None
    figure = new_figure(11, 3.4, 160)
    figure.suptitle(Path(summary.model_name).name, fontsize=11, x=0.01, ha="left", fontweight="bold")
    for axes, (name, label, note) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        _draw_panel(axes, history, name)
        axes.set_title(f"{label} ({note})", fontsize=9, loc="left")
        axes.set_xlabel("step", fontsize=8)
        axes.locator_params(axis="x", integer=True)
        axes.tick_params(labelsize=8, length=0)
        axes.grid(color=GRID, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    figure.axes[1].axhline(0.5, color="#888888", linewidth=0.8, linestyle=":")
    if summary.held_out is not None and summary.held_out.accuracy.n:
        _draw_levels(figure.axes[1], summary.held_out)
    figure.axes[1].set_ylim(0.0, 1.02)
    return figure


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


def _draw_levels(axes: Axes, result: HeldOutResult | StepResult) -> None:
    """Draw the held-out accuracy at the end, and that of the better rule of length, as lines across the panel."""
    rule = result.best_baseline()
    levels = ((result.accuracy.value, HELD_OUT, "held out at the end"), (result.baselines[rule].value, RULE, rule))
    lines = [axes.axhline(value, color=colour, linewidth=1.2, linestyle="--") for value, colour, _ in levels]
    shown = axes.get_legend()
    assert shown is not None, "a panel draws its legend first"
    handles = [*(h for h in shown.legend_handles if h is not None), *lines]
    labels = [*(text.get_text() for text in shown.get_texts()), *(name for *_, name in levels)]
    axes.legend(handles, labels, fontsize=7, frameon=False)


class Run(RunSummary):
    """What `train` returns: the summary of the run, which shows itself in a notebook and gives its curves."""

    def _repr_html_(self) -> str:
        return render_blocks(result_blocks(self))

    def figures(self) -> dict[str, Figure]:
        """Return the curves as a matplotlib figure, under "curves"; nothing where no step was logged."""
        found = curves_figure(self)
        return {} if found is None else {"curves": found}

    def to_dict(self) -> dict[str, Any]:
        """Return what `run.json` holds."""
        record: dict[str, Any] = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        return record


def train(
    model: object,
    data: object,
    output_dir: str | Path,
    *,
    held_out: object = None,
    test_split_size: float = DEFAULT_HELD_OUT,
    overwrite_output_dir: bool = False,
    peft_config: object = None,
    **settings: Any,
) -> Run:
    """Train a reward model and leave a folder as complete as that of `rewardsmith train`.

    Args:
        model: a model id, a folder, or a model with `processing_class` among the settings; None with `from_config`.
        data: what `load_preferences` takes, or the splits of a DatasetDict; rows of one prompt are merged. None with
            `datasets`, a mixture.
        output_dir: a folder that holds no run yet.
        held_out: judgements to measure on; None takes the test split, or holds out `test_split_size` of the prompts (0:
            none).
        settings: the command's flags by their names: fields of RewardConfig, of a model that is named also dtype,
            use_peft, lora_r, from_config, ..., and of the data reader, columns, score_margin, train_limit, eval_limit.

    Raises:
        ConfigError: a setting that cannot be used, or a folder that holds a run.
        DataError: rows that cannot be read, or none left.

    Example:
        `train("Qwen/Qwen2.5-0.5B-Instruct", "pairs.jsonl", "out", max_steps=500).held_out.accuracy`
    """
    tokenizer = settings.pop("processing_class", None)
    given = _by_config(settings)
    config = read_config(
        output_dir=require_place(output_dir, "output_dir"), **{**OF_THE_COMMAND, **given[RewardConfig]}
    )
    require_writable(Path(output_dir))
    if asked_checkpoint(config.resume_from_checkpoint) is None:
        require_unused(Path(output_dir), overwrite_output_dir)
    is_named = model is None or isinstance(model, str | Path)
    if (names_of := ", ".join(given[ModelConfig])) and not is_named:
        raise ConfigError(f"{names_of}: the model is loaded already; give its name to have it loaded so")
    named = ModelConfig(model_name_or_path=str(model) if model and is_named else None, **given[ModelConfig])
    require_extras(named, config)
    share = {"test_split_size": test_split_size, **given[DatasetMixtureConfig]}
    groups = load_given(data, held_out, (given[ScriptArguments], share), config)

    def parts(own: RewardConfig) -> dict[str, Any]:
        # Each member of an ensemble trains a copy of its own.
        own_model = {"model": copy.deepcopy(model) if config.ensemble > 1 else model}
        found = named_model(named, own, groups.first_groups) if is_named else own_model
        more = (("processing_class", tokenizer), ("peft_config", peft_config))
        return found | {name: value for name, value in more if value is not None}

    title = named.model_name_or_path or f"random weights ({named.from_config})"
    source = str(data)[:80] if data is not None else str(share["datasets"])
    names = (title if is_named else type(model).__name__, source)
    summary = train_one_or_several(parts, config, groups, names, vars(named) if is_named else {})
    write_report(summary)
    push_run(summary.folder, config)
    return Run(**vars(summary))


def _by_config(settings: Mapping[str, Any]) -> dict[Any, dict[str, Any]]:
    """Return settings by the configuration that has them. Raises TypeError for one that none has."""
    known = {kind: {field.name for field in fields(kind) if field.init} for kind in CONFIGS}
    require_known("train()", settings, sorted(set().union(*known.values()) - set(OF_ARGUMENTS)))
    return {kind: {n: v for n, v in settings.items() if n in names} for kind, names in known.items()}


def write_report(summary: RunSummary) -> None:
    """Write `README.md` and `training_curves.png` into the run's folder."""
    try:
        figure = curves_figure(summary)
    except MissingExtraError as error:
        # The model is saved; a picture is no reason to lose its card.
        logger.warning("no curves: %s", error)
        figure = None
    if figure is not None:
        figure.savefig(summary.folder / CURVES)
    (summary.folder / CARD).write_text(model_card(summary, figure is not None), encoding="utf-8")


def print_result(summary: RunSummary) -> None:
    """Print the verdict, the table and the next step on stdout."""
    print_blocks(result_blocks(summary))
    print(f"\nmodel, contract, run.json, model card and curves: {summary.folder}")
    print(f"next: {next_step(summary)}")


def result_blocks(summary: RunSummary) -> list[Block]:
    """Return the verdict, what was measured on held-out judgements, and the speed."""
    speed, result = summary.speed, summary.held_out
    blocks: list[Block] = []
    if isinstance(result, StepResult):
        blocks.append(_step_table(result))
    elif result is not None:
        rule = result.best_baseline()
        rows: list[list[Value | Cell]] = [
            ["accuracy", result.accuracy],
            [f"baseline: {rule}", result.baselines[rule]],
            ["ties in labels", result.metrics["label_tie_rate"]],
            ["ties in rewards", result.metrics["reward_tie_rate"]],
        ]
        measured = [Table("held-out result", ("", "value"), rows)] if result.accuracy.n or not result.ratings else []
        rated = [ratings_table(result.to_dict()["ratings"])] if result.ratings else []
        blocks += [headline(result), *measured, *rated]
    if summary.sweep:
        tried: list[list[Value | Cell]] = [
            [row.loss_type, f"{row.l2:g}", f"{abs(row.left_out):.3f}", row.held_out, "taken" if row.is_chosen else ""]
            for row in summary.sweep
        ]
        # Of ratings a setting is chosen by its error, which is kept negative.
        merit = "error" if any(row.left_out < 0 for row in summary.sweep) else "accuracy"
        titles = ("objective", "l2", f"left-out {merit}", "held-out accuracy", "")
        blocks.append(Table(f"heads on nine tenths of the training groups; left-out {merit} chooses", titles, tried))
    unit, rows_of = ("judged steps", "rows") if isinstance(result, StepResult) else ("comparisons", "pair rows")
    rates: list[list[Value | Cell]] = [
        [f"{unit} per second", f"{speed.examples_per_second:.1f}"],
        ["distinct tokens per second", f"{speed.distinct_tokens_per_second:,.0f}"],
        [f"saving (tokens of {rows_of} / computed)", f"{speed.saving:.2f}x"],
    ]
    # A run on ratings alone has no comparisons.
    return [*blocks, Table("speed", ("", "value"), rates if speed.examples_per_second else rates[1:])]


def _step_table(result: StepResult) -> Block:
    """Return what was measured on held-out steps, beside the rule that reads nothing."""
    rule = result.best_baseline()
    rows: list[list[Value | Cell]] = [
        ["accuracy of steps", result.accuracy],
        [f"baseline: {rule}", result.baselines[rule]],
        ["balanced accuracy", result.balanced_accuracy],
        ["area under the curve", result.auroc],
        ["first error, F1", result.f1],
        ["first error found in wrong solutions", result.found_wrong],
        ["right solutions known as right", result.found_right],
    ]
    return Table("held-out steps", ("", "value"), rows)


def headline(result: HeldOutResult) -> Verdict:
    """Return the verdict as the block above everything else."""
    found = verdict(result)
    return Verdict(found.message, TONES[found.level])


def next_step(summary: RunSummary) -> str:
    """Return the command that a reader of the verdict should run next."""
    folder, result = summary.folder, summary.held_out
    if isinstance(result, StepResult):
        return f"rewardsmith score {folder} SOLUTIONS OUT --parts    (docs/train-steps.md)"
    if result is None or not (result.accuracy.n or result.ratings):
        return f"rewardsmith evaluate {folder} DATA on judgements that were not trained on"
    level = verdict(result).level
    if level == "green":
        return f"rewardsmith audit {folder} DATA    rewardsmith serve {folder}"
    if level == "red":
        if result.ratings and not result.accuracy.n:
            return "rewardsmith data inspect DATA: a constant gives these ratings better than the model does"
        return "rewardsmith data inspect DATA: a rule of length orders these answers better than the model does"
    return f"more held-out judgements (--eval_dataset_name), or longer training, before {folder} is used"


def _plain_use(folder: Path) -> str:
    """Return how transformers alone scores plain text: a decoder's saved tokenizer adds neither BOS nor EOS."""
    contract, config = folder / "scoring_contract.json", folder / "config.json"
    # An adapter needs its base, a pooled model its code: docs/compatibility.md.
    if not contract.is_file() or not config.is_file() or "auto_map" in json.loads(config.read_text(encoding="utf-8")):
        return ""
    held = json.loads(contract.read_text(encoding="utf-8"))
    if held.get("steps"):
        return ""
    rule = held.get("text_policy") or {}
    bos, eos = rule.get("bos_text") or "", rule.get("eos_text") or ""
    parts = [json.dumps(part) for part in (bos, "a question", "one answer", eos) if part]
    return f"""

Without Rewardsmith, plain text is written out; a conversation comes out of the chat template as it is scored.

```python
from transformers import pipeline

classify = pipeline("text-classification", model="{folder.name}", function_to_apply="none")
classify({" + ".join(parts)})
```"""


def model_card(summary: RunSummary, has_curves: bool) -> str:
    """Return the model card: what it is, how good, how to use it, how it was made."""
    reward, name = summary.settings["reward"], summary.folder.name
    use = f"""```python
from rewardsmith import RewardModel

model = RewardModel.from_pretrained("{name}")
model.score("a question", ["one answer", "another answer"])
```

`scoring_contract.json` says how a text becomes a number; `run.json` holds every setting.{_plain_use(summary.folder)}"""
    data = [*summary.notes, f"text fingerprint: `{summary.text_fingerprint}`"]
    blocks: list[Block] = [
        Paragraph(
            f"Gives one number per conversation; higher is better. Trained from `{summary.model_name}` on "
            f"`{summary.data_name}` with the objective `{reward['loss_type']}`."
        ),
        Paragraph("## Result"),
        *result_blocks(summary),
        Paragraph("Accuracy counts judgements that prefer a side; intervals are clustered by prompt."),
        *([Paragraph(f"![training curves]({CURVES})")] if has_curves else []),
        Paragraph(f"## Use\n\n{use}"),
        Paragraph("## Data\n\n" + "\n".join(f"- {note}" for note in data)),
        Paragraph("## Settings\n\n" + "\n".join(f"- {key}: {reward[key]}" for key in SETTINGS)),
    ]
    tags = ["reward-model", "reward-trainer", "rewardsmith"]
    return new_card(
        f"Reward model: {name}", blocks, library_name="transformers", pipeline_tag="text-classification", tags=tags
    )
