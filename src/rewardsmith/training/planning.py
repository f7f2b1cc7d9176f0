"""What a run will need before it is started: steps, tokens, memory of a device by engine, and time at a measured rate.

Weights are counted exactly; activations are an estimate. Every number is printed with its arithmetic.
"""

from __future__ import annotations

import json
import math
import shlex
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification

from rewardsmith.errors import ConfigError, one_line, require_place
from rewardsmith.models.contract import RECORD
from rewardsmith.models.shared_prefix.packing import RewardBatch, pack
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.training.data import (
    DatasetMixtureConfig,
    ScriptArguments,
    TrainingData,
    from_rows,
    load_training_data,
)
from rewardsmith.training.engines import FROZEN, GB, USABLE, Engine, ModelSize, Resources, engines, giga
from rewardsmith.training.sizing import SHAPES, DataSize, size_data, size_model

MEASURED_STEPS = 3
# Of the 8 products of a step with checkpointing a forward pass is 2: backward 4, and forward once more 2.
FORWARD = 2 / 8


@dataclass(frozen=True)
class TrainingPlan:
    """What a run will need."""

    model: ModelSize
    data: DataSize
    resources: Resources
    steps: int
    engines: tuple[Engine, ...]
    source: str

    @property
    def chosen(self) -> Engine | None:
        """The engine that was asked for, or the first that fits: the less is shared out, the less is sent."""
        room, wanted = USABLE * self.resources.memory, self.resources.engine
        return next((one for one in self.engines if one.total <= room and wanted in (None, one.name)), None)

    @property
    def seconds(self) -> float | None:
        """Seconds of all epochs, or of one forward pass of a frozen backbone; None where no rate is known."""
        given = self.resources
        if given.rate is None:
            return None
        passes = FORWARD if self._is_frozen else given.epochs
        return self.data.distinct_tokens * passes / (given.rate * given.gpus)

    @property
    def _is_frozen(self) -> bool:
        return self.chosen is not None and self.chosen.name == FROZEN

    @property
    def command(self) -> str | None:
        """The command that trains so; None where nothing fits."""
        engine, given = self.chosen, self.resources
        if engine is None:
            return None
        name = "MODEL" if self.model.name in SHAPES else shlex.quote(self.model.name)
        start = "rewardsmith train" + (f" --nproc {given.gpus}" if given.gpus > 1 else "")
        if given.machines > 1:
            meet = "--rdzv_backend c10d --rdzv_endpoint HOST:29500"
            each = given.gpus // given.machines
            start = f"torchrun --nnodes {given.machines} --nproc_per_node {each} {meet} -m rewardsmith train"
        words = [start, engine.recipe, f"--model_name_or_path {name}"]
        words += [f"--dataset_name {shlex.quote(self.source)} --tokens_per_batch {given.tokens_per_batch}"]
        words += [f"--max_length {given.max_length} --overflow {given.overflow}"]
        words += [] if given.held_out is None else [f"--test_split_size {given.held_out:g}"]
        if not self._is_frozen:
            words += [f"--gradient_accumulation_steps {given.accumulation} --num_train_epochs {given.epochs:g}"]
        words += ["--dtype bfloat16" if given.dtype == "bfloat16" else "", engine.flags]
        return " ".join(word for word in words if word)

    def _steps(self) -> str:
        given = self.resources
        if self._is_frozen:
            forward = math.ceil(self.data.distinct_tokens / given.tokens_per_batch)
            return f"steps   none: {forward:,} batches go forward once, and the head is fitted"
        batches, tokens = given.gpus * given.accumulation, given.tokens_per_batch
        return f"steps   {self.steps:,} of {batches} batches of {tokens:,} distinct tokens, {given.epochs:g} epochs"

    def to_dict(self) -> dict[str, object]:
        """Return the plan for JSON: `engine` and `command` are None where nothing fits, `seconds` without a rate.

        Bytes are those of one device.
        """
        data, room = self.data, USABLE * self.resources.memory
        return {
            "model": {name: value for name, value in asdict(self.model).items() if name != "config"},
            "data": {
                "source": self.source,
                "groups": round(len(data.costs) * data.scale),
                "comparisons": round(data.comparisons * data.scale),
                "distinct_tokens": data.distinct_tokens,
                "row_tokens": round(data.row_tokens * data.scale),
                "scale": data.scale,
                "how": data.how,
                "notes": list(data.notes),
            },
            "resources": asdict(self.resources),
            "steps": None if self._is_frozen else self.steps,
            "seconds": self.seconds,
            "engines": [
                {"name": one.name, "bytes": one.total, "fits": one.total <= room, "arithmetic": one.arithmetic}
                for one in self.engines
            ],
            "engine": self.chosen.name if self.chosen else None,
            "command": self.command,
        }

    def lines(self) -> list[str]:
        """Return the plan as text."""
        model, data, given = self.model, self.data, self.resources
        scaled = f", {data.scale:,.0f} times what was read (a projection)" if data.scale > 1 else ""
        saved = data.row_tokens / max(1, sum(data.costs))
        flops = 8 * model.computing * data.distinct_tokens * given.epochs
        sent = "" if model.active is None else f", {model.active:,} of which a token goes through"
        shape = f"{model.layers} layers of width {model.width}"
        lines = [
            f"model   {model.name}: {model.parameters:,} parameters in {shape}{sent}",
            f"data    {round(len(data.costs) * data.scale):,} groups, {round(data.comparisons * data.scale):,} "
            f"comparisons{scaled}; tokens {data.how}",
            f"tokens  {data.distinct_tokens:,} distinct an epoch; rows of pairs would be "
            f"{round(data.row_tokens * data.scale):,} ({saved:.2f} times as many)",
            *(f"        {note}" for note in data.notes),
            self._steps(),
            f"work    {flops:.3g} FLOP = 8 x parameters x distinct tokens x epochs (forward 2, backward 4, again 2)",
        ]
        if self.seconds is None:
            lines.append(
                "time    not known: give --rate-from FOLDER (an earlier run), --tokens-per-second or --measure"
            )
        else:
            hours = self.seconds / 3600
            lines.append(
                f"time    {hours:,.{1 if hours >= 1 else 4}f} hours = distinct tokens x "
                f"{'2 / 8' if self._is_frozen else 'epochs'} / "
                f"({given.rate:,.0f} tokens a second x "
                f"{given.gpus} devices); rate: {given.rate_source}; evaluation and waiting count as they do in it"
            )
        lines.append(f"memory  of a device with {given.memory / GB:g} GB, of which {USABLE:.0%} can be filled:")
        for engine in self.engines:
            fits = "fits" if engine.total <= USABLE * given.memory else "too large"
            lines.append(f"        {engine.name:<10} {giga(engine.total):>8} GB  {fits:<9}  {engine.arithmetic}")
        asked = f"{given.engine} does not fit" if given.engine else "nothing fits"
        lines.append(f"engine  {self.chosen.name if self.chosen else 'none'}")
        lines.append(f"command {self.command or f'none: {asked}; more devices, fewer tokens_per_batch or LoRA'}")
        return lines


def plan(
    model: str, data: object, resources: Resources | None = None, *, comparisons: int | None = None, rank: int = 16
) -> TrainingPlan:
    """Return what a run will need.

    Prompts are merged, held out, dropped and cut as `rewardsmith train` does with the command that is printed.

    Args:
        model: a folder or id with a config, or a size of `SHAPES` ("8B").
        data: a path or hub id, or rows as `load_preferences` takes them.
        comparisons: plan to train on so many with the lengths of `data`; None plans for what is there.
        rank: of a LoRA adapter.

    Raises:
        ConfigError: a model that cannot be sized, or resources that are none.
        DataError: data without a comparison.

    Example:
        `print("\\n".join(plan("8B", "pairs.jsonl", Resources(gpus=8)).lines()))`
    """
    require_place(model, "model")
    given = resources or Resources()
    given.require_possible()
    if comparisons is not None and comparisons < 1:
        raise ConfigError(f"comparisons must be positive, not {comparisons}; leave it out to plan for the data")
    size = size_model(model, rank)
    lengths = size_data(_read(data, given), model, given)
    if comparisons is not None:
        lengths = replace(lengths, scale=comparisons / lengths.comparisons)
    source = data if isinstance(data, str) else "DATA"
    sequences = round(lengths.sequences * lengths.scale)
    return TrainingPlan(size, lengths, given, lengths.steps(given), engines(size, given, sequences), source)


def _read(data: object, given: Resources) -> TrainingData:
    """Read and hold out as a run does."""
    mixture = DatasetMixtureConfig(test_split_size=given.held_out)
    if isinstance(data, str):
        return load_training_data(ScriptArguments(data), mixture, True)
    return from_rows(data, ScriptArguments(), mixture, True)


def read_rate(folder: str | Path, model: str) -> tuple[float, str]:
    """Return the rate of an earlier run on one of its devices, as a model of another size would have it.

    Work grows with the parameters that a token goes through, so the rate is scaled by them.

    Returns:
        Distinct tokens a second and device, and where they come from.

    Raises:
        ConfigError: no run.json, or one that holds no rate of training.
    """
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        speed, settings = record["speed"], record["settings"]
        total, processes = float(speed["distinct_tokens_per_second"]), int(speed.get("processes", 1))
        is_frozen, has_adapter = settings["reward"].get("freeze_backbone"), settings["model"].get("use_peft")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "name the folder of a run that `rewardsmith train` has ended, or give --tokens-per-second"
        raise ConfigError(f"{path} holds no rate ({one_line(error)}); {remedy}") from error
    if is_frozen or not 0 < total < math.inf:
        why = "a frozen backbone goes forward only" if is_frozen else f"it says {total:g} tokens a second"
        raise ConfigError(f"{path} holds no rate of training: {why}; name another run, or give --tokens-per-second")
    name = str(folder) if (Path(folder) / "config.json").is_file() else str(record["model"])
    before, now = size_model(name).computing, size_model(model).computing
    scaled = "" if before == now else f", times {before:,} / {now:,} parameters"
    kind = "an adapter" if has_adapter else "all weights"
    source = f"{path}, {kind} on {processes} devices{scaled}, its evaluations and checkpoints included"
    return total / processes * before / now, source


def measure_rate(model: str, tokens_per_batch: int) -> tuple[float, str]:
    """Train random weights of the model's shape for a few steps here.

    Returns distinct tokens a second, and what was measured.

    Raises:
        ConfigError: the weights do not fit into this machine.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = size_model(model)
    built = AutoModelForSequenceClassification.from_config(size.config).to(device).train()
    # As training does by itself.
    built.gradient_checkpointing_enable()
    prepare_model(built)
    optimizer = torch.optim.AdamW(built.parameters(), lr=1e-6)
    batch = _random_batch(tokens_per_batch, size.config.get_text_config().vocab_size).to(device)
    seconds = []
    for _ in range(MEASURED_STEPS + 1):
        started = time.perf_counter()
        built(reward_batch=batch).logits.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    # The first step allocates.
    rate = batch.distinct_tokens * MEASURED_STEPS / sum(seconds[1:])
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return rate, f"{MEASURED_STEPS} steps of random weights on this {where}"


def _random_batch(tokens: int, vocabulary: int) -> RewardBatch:
    """Return pairs of 256 distinct tokens, half of them shared, up to a budget."""
    draw = torch.Generator().manual_seed(0)
    length = max(4, min(256, tokens))
    rows = [torch.randint(1, vocabulary, (length,), generator=draw).tolist() for _ in range(max(1, tokens // length))]
    half, quarter = length // 2, length // 4
    return pack([[row[: half + quarter], row[:half] + row[half + quarter :]] for row in rows])
