"""The report of a training run: a verdict and a table, a model card and curves, beside the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rewardsmith.blocks.card import CARD, new_card
from rewardsmith.blocks.kinds import TONES, Block, Cell, Paragraph, Table, Value, Verdict
from rewardsmith.blocks.terminal import print_blocks
from rewardsmith.evaluation.verdict import HeldOutResult, verdict
from rewardsmith.report.curves import draw_curves
from rewardsmith.training.checkpoints import require_unused
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.data import DEFAULT_HELD_OUT, from_rows
from rewardsmith.training.run import RunSummary, train_run

CURVES = "training_curves.png"
# Settings that a reader of the card asks for first; run.json holds them all.
SETTINGS = (
    "learning_rate",
    "num_train_epochs",
    "per_device_train_batch_size",
    "tokens_per_batch",
    "max_length",
    "seed",
)


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
) -> RunSummary:
    """Train a reward model and leave a folder as complete as that of `rewardsmith train`.

    Args:
        model: a model id, a folder, or a model with `processing_class` among the settings.
        data: what `load_preferences` takes; rows of one prompt are merged.
        output_dir: a folder that holds no run yet.
        held_out: judgements to measure on; None holds out `test_split_size` of the prompts (0: none).
        settings: fields of RewardConfig.

    Raises:
        ConfigError: a setting that cannot be used, or a folder that holds a run.
        DataError: rows that cannot be read, or none left.

    Example:
        ```python
        run = train("Qwen/Qwen2.5-0.5B-Instruct", "pairs.jsonl", "out", max_steps=500)
        run.held_out.accuracy
        ```
    """
    tokenizer = settings.pop("processing_class", None)
    config = RewardConfig(output_dir=str(output_dir), **{"merge_prompts": True, "logging_first_step": True, **settings})
    if not settings.get("resume_from_checkpoint"):
        require_unused(Path(output_dir), overwrite_output_dir)
    groups = from_rows(data, held_out, config.merge_prompts, test_split_size)
    parts = {"model": model, "processing_class": tokenizer, "peft_config": peft_config}
    model_name = model if isinstance(model, str) else type(model).__name__
    summary = train_run(parts, config, groups, (model_name, str(data)[:80]), {})
    write_report(summary)
    return summary


def write_report(summary: RunSummary) -> None:
    """Write `README.md` and `training_curves.png` into the run's folder."""
    has_curves = draw_curves(summary, summary.folder / CURVES)
    (summary.folder / CARD).write_text(model_card(summary, has_curves), encoding="utf-8")


def print_result(summary: RunSummary) -> None:
    """Print the verdict, the table and the next step on stdout."""
    print_blocks(result_blocks(summary))
    print(f"\nmodel, contract, run.json, model card and curves: {summary.folder}")
    print(f"next: {next_step(summary)}")


def result_blocks(summary: RunSummary) -> list[Block]:
    """Return the verdict, what was measured on held-out judgements, and the speed."""
    speed, result = summary.speed, summary.held_out
    blocks: list[Block] = []
    if result is not None:
        rule = result.best_baseline()
        rows: list[list[Value | Cell]] = [
            ["accuracy", result.accuracy],
            [f"baseline: {rule}", result.baselines[rule]],
            ["ties in labels", result.metrics["label_tie_rate"]],
            ["ties in rewards", result.metrics["reward_tie_rate"]],
        ]
        blocks += [headline(result), Table("held-out result", ("", "value"), rows)]
    rates: list[list[Value | Cell]] = [
        ["comparisons per second", f"{speed.examples_per_second:.1f}"],
        ["distinct tokens per second", f"{speed.distinct_tokens_per_second:,.0f}"],
        ["saving (tokens of pair rows / computed)", f"{speed.saving:.2f}x"],
    ]
    return [*blocks, Table("speed", ("", "value"), rates)]


def headline(result: HeldOutResult) -> Verdict:
    """Return the verdict as the block above everything else."""
    found = verdict(result)
    return Verdict(found.message, TONES[found.level])


def next_step(summary: RunSummary) -> str:
    """Return the command that a reader of the verdict should run next."""
    folder, result = summary.folder, summary.held_out
    if result is None or not result.accuracy.n:
        return f"rewardsmith evaluate DATA {folder} on judgements that were not trained on"
    level = verdict(result).level
    if level == "green":
        return f"rewardsmith audit DATA {folder}    rewardsmith serve {folder}"
    if level == "red":
        return "rewardsmith data inspect DATA: a rule of length orders these answers better than the model does"
    return f"more held-out judgements (--eval_dataset_name), or longer training, before {folder} is used"


def model_card(summary: RunSummary, has_curves: bool) -> str:
    """Return the model card: what it is, how good, how to use it, how it was made."""
    reward, name = summary.settings["reward"], summary.folder.name
    use = f"""```python
from rewardsmith import RewardModel

model = RewardModel.from_pretrained("{name}")
model.score("a question", ["one answer", "another answer"])
```

`scoring_contract.json` says how a text becomes a number; `run.json` holds every setting."""
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
