"""Ways to train: the memory of a device under each, with its arithmetic, and what its command adds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from transformers import PretrainedConfig

from rewardsmith.errors import ConfigError, UsageError, nearest_or_known
from rewardsmith.training.config import OVERFLOWS

GB = 1_000_000_000
# Beyond, the allocator has no room for what it cannot place.
USABLE = 0.9
FSDP = """--fsdp 'full_shard auto_wrap' --fsdp_config '{"version": 2, "auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}'"""
ZERO = (
    """--bf16 --deepspeed '{"zero_optimization": {"stage": %d}, "bf16": {"enabled": "auto"}, """
    """"train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto", "gradient_clipping": "auto"}'"""
)
FROZEN = "frozen"
NAMES = ("DDP", "FSDP2", "ZeRO-2", "ZeRO-3", "LoRA", "LoRA-FSDP2", FROZEN)
SHARDED = ("FSDP2", "ZeRO-2", "ZeRO-3", "LoRA-FSDP2")
# Parameters that DeepSpeed reduces at a time, by default; ZeRO-3 keeps twice as many gathered. In bf16 each.
BUCKET = 500_000_000
BYTES = {"float32": 4, "bfloat16": 2}
GPUS_A_MACHINE = 8


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
    rank: int = 16
    active: int | None = None
    inner: int = 0

    @property
    def computing(self) -> int:
        """Parameters that a token goes through: of a mixture of experts, those of the experts that it is sent to."""
        return self.parameters if self.active is None else self.active


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
        dtype: of weights, gradients and moments; an adapter's and DeepSpeed's are their own.
        engine: one of `NAMES`; None takes the first that fits.
        max_length: longest sequence in tokens, and `overflow` what becomes of longer ones, as in `train`.
        held_out: share of the prompts that is held out; None is what `train` does by itself.
    """

    gpus: int = 1
    memory: float = 80 * GB
    tokens_per_batch: int = 8192
    accumulation: int = 1
    epochs: float = 1.0
    rate: float | None = None
    rate_source: str = "given"
    dtype: str = "float32"
    engine: str | None = None
    max_length: int = 1024
    overflow: str = "drop"
    held_out: float | None = None

    @property
    def machines(self) -> int:
        """How many machines hold the devices."""
        return math.ceil(self.gpus / GPUS_A_MACHINE)

    def require_possible(self) -> None:
        """Refuse what no run can have. Raises ConfigError."""
        names = ("gpus", "memory", "tokens_per_batch", "accumulation", "epochs", "max_length", "rate")
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                said = f"{value / GB:g} GB" if name == "memory" else f"{value:g}"
                raise UsageError(f"{name} must be positive and finite, not {said}")
        if self.held_out is not None and not 0 <= self.held_out < 1:
            raise UsageError(f"test_split_size must lie in [0, 1), not {self.held_out:g}")
        if self.gpus % self.machines:
            raise UsageError(
                f"{self.gpus} devices cannot be shared out evenly over {self.machines} machines of at most "
                f"{GPUS_A_MACHINE}: give a number that can"
            )
        if self.dtype not in BYTES:
            raise ConfigError(f"dtype is {self.dtype!r}; {nearest_or_known(self.dtype, BYTES)}")
        if self.overflow not in OVERFLOWS:
            raise ConfigError(f"overflow is {self.overflow!r}; {nearest_or_known(self.overflow, OVERFLOWS)}")
        if self.engine is not None and self.engine not in NAMES:
            raise ConfigError(f"engine is {self.engine!r}; {nearest_or_known(self.engine, NAMES)}")
        if self.engine in SHARDED and self.gpus == 1:
            raise UsageError(f"{self.engine} shares weights out over several devices: give more gpus, or leave it out")


@dataclass(frozen=True)
class Engine:
    """Memory of a device under one way to train, in bytes, with its arithmetic.

    Args:
        recipe: the word after `rewardsmith train`, or none.
        flags: what its command has beside those of every run.
    """

    name: str
    weights: float
    activations: float
    arithmetic: str
    recipe: str = ""
    flags: str = ""

    @property
    def total(self) -> float:
        """Bytes of a device."""
        return self.weights + self.activations


def engines(model: ModelSize, given: Resources, sequences: int = 0) -> tuple[Engine, ...]:
    """Return the memory of a device under each way to train, with activations in bf16; the less is sent, the earlier.

    AdamW holds a weight, its gradient and two moments: 16 bytes a parameter in float32, 8 in bfloat16; DDP on several
    devices a copy of the gradient beside them. DeepSpeed in
    bf16 holds 2 for the weight, 2 for the gradient and 12 for a float32 copy with its moments. Activations with
    checkpointing: 2 bytes x tokens x width of every layer, and of the layer that is recomputed 18 x width and 10 x the
    width inside its MLP, gradients included (fitted to peaks of Qwen2 layers; the attention matrix is never written).
    A frozen backbone keeps the layer alone, and what the head reads of every sequence in the memory of the host.
    """
    tokens, layer = given.tokens_per_batch, 18 * model.width + 10 * model.inner
    whole, forward = float((2 * model.layers * model.width + layer) * tokens), float(layer * tokens)
    inside = f"10 x {tokens} x {model.inner}"
    said = f"activations (2 x {model.layers} + 18) x {tokens} x {model.width} + {inside} = {giga(whole)}"
    features = f"4 x {model.width} x {sequences:,} sequences = {giga(4 * model.width * sequences)}"
    once = f"activations 18 x {tokens} x {model.width} + {inside} = {giga(forward)}; on the host {features}"
    return tuple(
        Engine(name, weights, forward, f"{text}; {once}", recipe, flags)
        if name == FROZEN
        else Engine(name, weights, whole, f"{text}; {said}", recipe, flags)
        for name, weights, text, recipe, flags in _weights(model, given)
    )


def giga(amount: float, digits: int = 1) -> str:
    """Write an amount in units of 1e9; one that so many digits would round to nothing with two that count."""
    value = amount / GB
    return f"{value:.{digits}f}" if not value or value >= 0.5 * 10**-digits else f"{value:.2g}"


def _weights(model: ModelSize, given: Resources) -> Iterator[tuple[str, float, str, str, str]]:
    """Yield name, bytes of weights with their state, arithmetic, recipe and flags of each engine."""
    size, gpus, each = model.parameters, given.gpus, BYTES[given.dtype]
    # Two layers are gathered at a time: one computes while the next arrives.
    gathered = 2 * each * model.layer
    parameters, layers = f"{giga(size, 2)}e9", f"two layers {giga(gathered)}"
    # DDP adds up gradients in a copy of its own.
    whole, part = (4 * each, 16) if gpus == 1 else (5 * each, 20)
    yield "DDP", whole * size, f"{whole} x {parameters} parameters", "", ""
    yield "FSDP2", 4 * each * size / gpus + gathered, f"{4 * each} x {parameters} / {gpus} + {layers}", "", FSDP
    buckets = 4 * min(size, BUCKET)
    text = f"2 x {parameters} + 14 x {parameters} / {gpus} + buckets {giga(buckets)}"
    yield "ZeRO-2", 2 * size + 14 * size / gpus + buckets, text, "", ZERO % 2
    # A bucket of gradients is copied once more, interleaved, for each device to get its part.
    held = 2 * min(size, 2 * BUCKET) + 2 * 2 * min(size, BUCKET)
    text = f"16 x {parameters} / {gpus} + gathered and buckets {giga(held)}"
    yield "ZeRO-3", 16 * size / gpus + held, text, "", ZERO % 3
    lora = f"--lora_r {model.rank} --lora_alpha {2 * model.rank}"
    adapter = f"{part} x {giga(model.adapter, 3)}e9 of the adapter"
    yield "LoRA", each * size + part * model.adapter, f"{each} x {parameters} + {adapter}", "lora", lora
    adapter = f"16 x {giga(model.adapter, 3)}e9 of the adapter"
    text = f"({each} x {parameters} + {adapter}) / {gpus} + {layers}"
    yield "LoRA-FSDP2", (each * size + 16 * model.adapter) / gpus + gathered, text, "lora", f"{lora} {FSDP}"
    yield FROZEN, each * size, f"{each} x {parameters} parameters", "", "--freeze_backbone"
