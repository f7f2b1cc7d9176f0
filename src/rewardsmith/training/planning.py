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
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.packing import RewardBatch, count_tokens, fill_batches, pack
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.records import PreferenceGroup, as_plain, text_key

GB = 1_000_000_000
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
# Beyond, the allocator has no room for what it cannot place.
USABLE = 0.9
GPUS_A_MACHINE = 8
FSDP = """--fsdp 'full_shard auto_wrap' --fsdp_config '{"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}'"""


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a reward model: of all of it, of its largest layer, and of a LoRA adapter on its linear layers."""

    name: str
    parameters: int
    layer: int
    adapter: int
    layers: int
    width: int
    config: PretrainedConfig


@dataclass(frozen=True)
class DataSize:
    """Lengths of the data, in tokens.

    Args:
        costs: distinct tokens of every group that was read.
        row_tokens: what rows of pairs would feed: both sides of every comparison.
        scale: groups of the plan for each that was read.
        how: how tokens were counted.
    """

    costs: tuple[int, ...]
    comparisons: int
    row_tokens: int
    scale: float
    how: str

    @property
    def distinct_tokens(self) -> int:
        """Distinct tokens of an epoch."""
        return round(sum(self.costs) * self.scale)


@dataclass(frozen=True)
class Resources:
    """What a run may use.

    Args:
        gpus: devices.
        memory: bytes of each.
        tokens_per_batch: distinct tokens of a micro-batch.
        accumulation: micro-batches of a device in a step.
        epochs: how often the data are seen.
        rate: distinct tokens a second and device, where it is known.
        rate_source: where the rate comes from.
    """

    gpus: int = 1
    memory: float = 80 * GB
    tokens_per_batch: int = 8192
    accumulation: int = 1
    epochs: float = 1.0
    rate: float | None = None
    rate_source: str = "given"


@dataclass(frozen=True)
class Engine:
    """Memory of a device under one way to train, in bytes, with its arithmetic."""

    name: str
    weights: float
    activations: float
    arithmetic: str

    @property
    def total(self) -> float:
        """Bytes of a device."""
        return self.weights + self.activations


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
        """The first engine that fits: the fewer devices hold a weight, the less is sent between them."""
        room = USABLE * self.resources.memory
        return next((engine for engine in self.engines if engine.total <= room and engine.name in TRAINED_HERE), None)

    @property
    def seconds(self) -> float | None:
        """Seconds of all epochs at the rate; None where no rate is known."""
        given = self.resources
        return None if given.rate is None else self.data.distinct_tokens * given.epochs / (given.rate * given.gpus)

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
        words = [start, "lora" if engine.name == "LoRA" else "", f"--model_name_or_path {name}"]
        words += [f"--dataset_name {shlex.quote(self.source)} --tokens_per_batch {given.tokens_per_batch}"]
        words += [f"--gradient_accumulation_steps {given.accumulation} --num_train_epochs {given.epochs:g}"]
        return " ".join(word for word in [*words, FSDP if engine.name == "FSDP2" else ""] if word)

    def lines(self) -> list[str]:
        """Return the plan as text."""
        model, data, given = self.model, self.data, self.resources
        scaled = f", {data.scale:,.0f} times what was read (a projection)" if data.scale > 1 else ""
        saved = data.row_tokens / max(1, sum(data.costs))
        batches = given.gpus * given.accumulation
        flops = 8 * model.parameters * data.distinct_tokens * given.epochs
        lines = [
            f"model   {model.name}: {model.parameters:,} parameters in {model.layers} layers of width {model.width}",
            f"data    {round(len(data.costs) * data.scale):,} groups, {round(data.comparisons * data.scale):,} "
            f"comparisons{scaled}; tokens {data.how}",
            f"tokens  {data.distinct_tokens:,} distinct an epoch; rows of pairs would be "
            f"{round(data.row_tokens * data.scale):,} ({saved:.2f} times as many)",
            f"steps   {self.steps:,} of {batches} batches of {given.tokens_per_batch:,} distinct tokens, "
            f"{given.epochs:g} epochs",
            f"work    {flops:.3g} FLOP = 8 x parameters x distinct tokens x epochs (forward 2, backward 4, again 2)",
        ]
        if self.seconds is None:
            lines.append("time    not known: give --tokens-per-second (run.json of a run has it), or --measure")
        else:
            hours = self.seconds / 3600
            lines.append(
                f"time    {hours:,.1f} hours = distinct tokens x epochs / ({given.rate:,.0f} tokens a second x "
                f"{given.gpus} devices); rate: {given.rate_source}; no evaluation, no waiting between devices"
            )
        lines.append(f"memory  of a device with {given.memory / GB:g} GB, of which {USABLE:.0%} can be filled:")
        for engine in self.engines:
            fits = "fits" if engine.total <= USABLE * given.memory else "too large"
            lines.append(f"        {engine.name:<7} {engine.total / GB:8.1f} GB  {fits:<9}  {engine.arithmetic}")
        lines.append(f"command {self.command or 'none: nothing fits; more devices, fewer tokens_per_batch or LoRA'}")
        return lines


TRAINED_HERE = ("DDP", "FSDP2", "LoRA")


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
    if min(given.gpus, given.memory, given.tokens_per_batch, given.accumulation, given.epochs) <= 0:
        raise ConfigError(f"gpus, memory, tokens, accumulation and epochs must be positive, not {given}")
    size = size_model(model, rank)
    lengths = size_data(load_preferences(data), model, comparisons)
    batches = len(fill_batches(lengths.costs, given.tokens_per_batch)) * lengths.scale
    steps = math.ceil(round(batches * given.epochs, 6) / (given.gpus * given.accumulation))
    source = data if isinstance(data, str) else "DATA"
    return TrainingPlan(size, lengths, given, steps, engines(size, given), source)


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
        return AutoConfig.from_pretrained(name, num_labels=1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no config of {name!r} could be read ({one_line(error)})") from error


def size_data(groups: Sequence[PreferenceGroup], model: str, comparisons: int | None = None) -> DataSize:
    """Count tokens with the model's tokenizer, or by bytes where it has none."""
    kept = [group for group in groups if group.comparisons]
    if not kept:
        raise DataError("no comparison to plan for; check the data with `rewardsmith data inspect`")
    encode, how = _encoder(model)
    costs, rows, edges = [], 0, 0
    for group in kept:
        sequences = [encode(group, number) for number in range(len(group.completions))]
        costs.append(count_tokens(sequences, share=True))
        rows += sum(len(sequences[e.better]) + len(sequences[e.worse]) for e in group.comparisons)
        edges += len(group.comparisons)
    return DataSize(tuple(costs), edges, rows, 1.0 if comparisons is None else comparisons / edges, how)


def _encoder(model: str) -> tuple[Callable[[PreferenceGroup, int], list[int]], str]:
    """Return what gives the token ids of an answer with its prompt, and how it counts them."""
    if model not in SHAPES:
        try:
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


def engines(model: ModelSize, given: Resources) -> tuple[Engine, ...]:
    """Return the memory of a device under each way to train, weights in float32 and activations in bf16.

    AdamW holds 16 bytes a parameter: weight, gradient and two moments of 4. DeepSpeed in bf16 holds 2 for the weight,
    2 for the gradient and 12 for a float32 copy with its moments. Activations with checkpointing: 2 bytes x tokens x
    width of every layer, and 34 of the layer that is recomputed (Korthikanti et al. 2022, eq. 1, without the attention
    matrix, which is never written; an estimate for other layers than theirs).
    """
    size, gpus = model.parameters, given.gpus
    activations = float((2 * model.layers + 34) * given.tokens_per_batch * model.width)
    said = f"activations (2 x {model.layers} + 34) x {given.tokens_per_batch} x {model.width} = {activations / GB:.1f}"
    # Two layers are gathered at a time: one computes while the next arrives.
    gathered = 2 * 4 * model.layer
    rows = (
        ("DDP", 16 * size, f"16 x {size / GB:.2f}e9 parameters"),
        ("FSDP2", 16 * size / gpus + gathered, f"16 x {size / GB:.2f}e9 / {gpus} + two layers {gathered / GB:.1f}"),
        (
            "LoRA",
            4 * size + 16 * model.adapter,
            f"4 x {size / GB:.2f}e9 + 16 x {model.adapter / GB:.3f}e9 of the adapter",
        ),
        ("ZeRO-2", 2 * size + 14 * size / gpus, f"2 x {size / GB:.2f}e9 + 14 x {size / GB:.2f}e9 / {gpus}"),
        (
            "ZeRO-3",
            16 * size / gpus + gathered / 2,
            f"16 x {size / GB:.2f}e9 / {gpus} + two layers {gathered / 2 / GB:.1f}",
        ),
    )
    return tuple(Engine(name, weights, activations, f"{text}; {said}") for name, weights, text in rows)


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
