"""What a run will need before it is started: steps, tokens, memory of a device by engine, and time at a measured rate.

Weights are counted exactly; activations are an estimate. Every number is printed with its arithmetic.
"""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, PretrainedConfig

from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import ConfigError, DataError, nearest_or_known, one_line
from rewardsmith.models.foreign.folder import nobody_asked
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.packing import RewardBatch, count_tokens, fill_batches, pack
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.records import PreferenceGroup, as_plain, text_key
from rewardsmith.training.engines import FROZEN, GB, USABLE, Engine, ModelSize, Resources, engines

# Layers, width, inner width, vocabulary of well-known decoders, for a plan without their files.
SHAPES = {
    "0.5B": (24, 896, 4864, 14, 2, 151_936),
    "1.5B": (28, 1536, 8960, 12, 2, 151_936),
    "8B": (32, 4096, 14_336, 32, 8, 128_256),
    "70B": (80, 8192, 28_672, 64, 8, 128_256),
}
# English text in the tokenizers of these models has about so many bytes a token.
BYTES_A_TOKEN = 4
MEASURED_STEPS = 3
GPUS_A_MACHINE = 8


@dataclass(frozen=True)
class DataSize:
    """Lengths of the data, in tokens.

    Args:
        costs: distinct tokens of every group that was read.
        sequences: answers with their prompts.
        row_tokens: what rows of pairs would feed: both sides of every comparison.
        scale: groups of the plan for each that was read.
        how: how tokens were counted.
    """

    costs: tuple[int, ...]
    comparisons: int
    sequences: int
    row_tokens: int
    scale: float
    how: str

    @property
    def distinct_tokens(self) -> int:
        """Distinct tokens of an epoch."""
        return round(sum(self.costs) * self.scale)


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
        passes = 2 / 6 if self._is_frozen else given.epochs
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
        machines = math.ceil(given.gpus / GPUS_A_MACHINE)
        start = "rewardsmith train" + (f" --nproc {given.gpus}" if given.gpus > 1 else "")
        if machines > 1:
            meet = "--rdzv_backend c10d --rdzv_endpoint HOST:29500"
            start = f"torchrun --nnodes {machines} --nproc_per_node {GPUS_A_MACHINE} {meet} -m rewardsmith train"
        words = [start, engine.recipe, f"--model_name_or_path {name}"]
        words += [f"--dataset_name {shlex.quote(self.source)} --tokens_per_batch {given.tokens_per_batch}"]
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

    def lines(self) -> list[str]:
        """Return the plan as text."""
        model, data, given = self.model, self.data, self.resources
        scaled = f", {data.scale:,.0f} times what was read (a projection)" if data.scale > 1 else ""
        saved = data.row_tokens / max(1, sum(data.costs))
        flops = 8 * model.parameters * data.distinct_tokens * given.epochs
        lines = [
            f"model   {model.name}: {model.parameters:,} parameters in {model.layers} layers of width {model.width}",
            f"data    {round(len(data.costs) * data.scale):,} groups, {round(data.comparisons * data.scale):,} "
            f"comparisons{scaled}; tokens {data.how}",
            f"tokens  {data.distinct_tokens:,} distinct an epoch; rows of pairs would be "
            f"{round(data.row_tokens * data.scale):,} ({saved:.2f} times as many)",
            self._steps(),
            f"work    {flops:.3g} FLOP = 8 x parameters x distinct tokens x epochs (forward 2, backward 4, again 2)",
        ]
        if self.seconds is None:
            lines.append("time    not known: give --tokens-per-second (run.json of a run has it), or --measure")
        else:
            hours = self.seconds / 3600
            lines.append(
                f"time    {hours:,.1f} hours = distinct tokens x {'2 / 6' if self._is_frozen else 'epochs'} / "
                f"({given.rate:,.0f} tokens a second x "
                f"{given.gpus} devices); rate: {given.rate_source}; no evaluation, no waiting between devices"
            )
        lines.append(f"memory  of a device with {given.memory / GB:g} GB, of which {USABLE:.0%} can be filled:")
        for engine in self.engines:
            fits = "fits" if engine.total <= USABLE * given.memory else "too large"
            lines.append(f"        {engine.name:<10} {engine.total / GB:8.1f} GB  {fits:<9}  {engine.arithmetic}")
        asked = f"{given.engine} does not fit" if given.engine else "nothing fits"
        lines.append(f"engine  {self.chosen.name if self.chosen else 'none'}")
        lines.append(f"command {self.command or f'none: {asked}; more devices, fewer tokens_per_batch or LoRA'}")
        return lines


def plan(
    model: str, data: object, resources: Resources | None = None, *, comparisons: int | None = None, rank: int = 16
) -> TrainingPlan:
    """Return what a run will need.

    Args:
        model: a folder or id with a config, or a size of `SHAPES` ("8B").
        data: what `load_preferences` takes.
        comparisons: plan for so many with the lengths of `data`; None plans for what is there.
        rank: of a LoRA adapter.

    Raises:
        ConfigError: a model that cannot be sized, or resources that are none.
        DataError: data without a comparison.

    Example:
        `print("\\n".join(plan("8B", "pairs.jsonl", Resources(gpus=8)).lines()))`
    """
    given = resources or Resources()
    given.require_possible()
    size = size_model(model, rank)
    lengths = size_data(load_preferences(data), model, comparisons)
    batches = len(fill_batches(lengths.costs, given.tokens_per_batch)) * lengths.scale
    steps = math.ceil(round(batches * given.epochs, 6) / (given.gpus * given.accumulation))
    source = data if isinstance(data, str) else "DATA"
    sequences = round(lengths.sequences * lengths.scale)
    return TrainingPlan(size, lengths, given, steps, engines(size, given, sequences), source)


def size_model(name: str, rank: int = 16) -> ModelSize:
    """Count the parameters of a model without loading it."""
    config = _config(name)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    layers = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    blocks = max(layers, key=len) if layers else torch.nn.ModuleList()
    linear = [m for block in blocks for m in block.modules() if isinstance(m, torch.nn.Linear)]
    text = config.get_text_config()
    return ModelSize(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layer=max((sum(p.numel() for p in block.parameters()) for block in blocks), default=0),
        adapter=sum(rank * (m.in_features + m.out_features) for m in linear) + text.hidden_size,
        layers=len(blocks),
        width=text.hidden_size,
        config=config,
    )


def _config(name: str) -> PretrainedConfig:
    if name in SHAPES:
        layers, width, inner, heads, key_heads, vocabulary = SHAPES[name]
        config = LlamaConfig(
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=key_heads,
            vocab_size=vocabulary,
            pad_token_id=0,
        )
        config.num_labels = 1
        return config
    if not Path(name).exists() and "/" not in name:
        raise ConfigError(f"{name!r} is no folder and no hub id; {nearest_or_known(name, SHAPES)}")
    try:
        with nobody_asked():
            return AutoConfig.from_pretrained(name, num_labels=1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no config of {name!r} could be read ({one_line(error)})") from error


def size_data(groups: Sequence[PreferenceGroup], model: str, comparisons: int | None = None) -> DataSize:
    """Count tokens with the model's tokenizer, or by bytes where it has none."""
    kept = [group for group in groups if group.comparisons]
    if not kept:
        raise DataError("no comparison to plan for; check the data with `rewardsmith data inspect`")
    encode, how = _encoder(model)
    costs, texts, rows, edges = [], 0, 0, 0
    for group in kept:
        sequences = [encode(group, number) for number in range(len(group.completions))]
        costs.append(count_tokens(sequences, share=True))
        texts += len(sequences)
        rows += sum(len(sequences[e.better]) + len(sequences[e.worse]) for e in group.comparisons)
        edges += len(group.comparisons)
    return DataSize(tuple(costs), edges, texts, rows, 1.0 if comparisons is None else comparisons / edges, how)


def _encoder(model: str) -> tuple[Callable[[PreferenceGroup, int], list[int]], str]:
    """Return what gives the token ids of an answer with its prompt, and how it counts them."""
    if model not in SHAPES:
        try:
            with nobody_asked():
                renderer = Renderer(AutoTokenizer.from_pretrained(model))
        except (OSError, ValueError):
            pass
        else:
            return lambda group, number: renderer.encode(
                group.prompt, group.completions[number], group.tools, group.chat_template_kwargs
            ), "by its tokenizer"

    def by_bytes(group: PreferenceGroup, number: int) -> list[int]:
        text = (text_key(group.prompt) + str(as_plain(group.completions[number]))).encode()
        return [int.from_bytes(text[i : i + BYTES_A_TOKEN]) for i in range(0, max(1, len(text)), BYTES_A_TOKEN)]

    return by_bytes, f"estimated at {BYTES_A_TOKEN} bytes each"


def measure_rate(model: str, tokens_per_batch: int) -> tuple[float, str]:
    """Train random weights of the model's shape for a few steps here.

    Returns distinct tokens a second, and what was measured.

    Raises:
        ConfigError: the weights do not fit into this machine.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = size_model(model)
    built = AutoModelForSequenceClassification.from_config(size.config).to(device).train()
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
    return rate, f"{MEASURED_STEPS} steps of random weights on this {where}, without checkpointing"


def _random_batch(tokens: int, vocabulary: int) -> RewardBatch:
    """Return pairs of 256 distinct tokens, half of them shared, up to a budget."""
    draw = torch.Generator().manual_seed(0)
    length = max(4, min(256, tokens))
    rows = [torch.randint(1, vocabulary, (length,), generator=draw).tolist() for _ in range(max(1, tokens // length))]
    half, quarter = length // 2, length // 4
    return pack([[row[: half + quarter], row[:half] + row[half + quarter :]] for row in rows])
