"""Whether a model's prefixes can be shared exactly: what its config says, and a check on a few tokens.

The check catches what no config tells, such as remote code that ignores position ids, and states whose gradient is
lost. A model that is stored in bf16 or fp16 is checked in fp32, where nothing but a wrong path makes a difference: in
half precision a choice of experts that is nearly a tie falls either way.
"""

from __future__ import annotations

import dis
import inspect
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from types import CodeType

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from rewardsmith.errors import RewardsmithError
from rewardsmith.models.compiling import chooses_experts
from rewardsmith.models.shared_prefix import packing
from rewardsmith.models.shared_prefix.attention import IMPLEMENTATION
from rewardsmith.models.shared_prefix.forked import ForkedLayout, fork_groups
from rewardsmith.models.shared_prefix.forward import has_token_head, pooled_hidden
from rewardsmith.models.shared_prefix.packing import FLEX_BLOCK, RewardBatch, Sequences
from rewardsmith.models.shared_prefix.precision import HALVES, in_float32

# What a model that cannot share its prefixes raises in the check on a few tokens.
CHECK_FAILURES = (
    RewardsmithError,
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    IndexError,
)


def sample_group(core: PreTrainedModel) -> list[list[int]]:
    """Return three sequences of a few tokens with a common start, one of which goes on for one token only."""
    vocabulary = core.config.get_text_config().vocab_size
    ids = [(5 + i) % vocabulary for i in range(14)]
    return [ids[:9], [*ids[:6], *ids[7:12]], [*ids[:5], ids[0]]]


# How far a shared forward may be from rows, relative to what rows give: rounding in fp32, and in half precision.
ROUNDING, HALF_ROUNDING = 1e-4, 6e-2
FAILED = "a check on a few tokens failed"


def switch_attention(core: PreTrainedModel) -> tuple[str, bool]:
    """Switch to packed attention and check it. Returns why not, or nothing, and whether the last layer narrows."""
    reason = _checked(core, partial(_packed_difference, core))
    narrows = not reason
    if reason:
        # Mixtures of experts and the like: all tokens go through the last block.
        reason = _checked(core, partial(_packed_difference, core, narrows=False))
    if not reason:
        core.set_attn_implementation(IMPLEMENTATION)
    return reason, narrows


def check_forked(core: PreTrainedModel) -> str:
    """Compare the forked forward and its gradient with separate rows. Returns what is wrong, or nothing."""
    return _checked(core, partial(_forked_difference, core))


def _checked(core: PreTrainedModel, differ: Callable[[float], str]) -> str:
    """Run a comparison with a tolerance in fp32, and in the precision that the weights have. Returns what is wrong."""
    with evaluated(core):
        with in_float32(core) as is_other:
            is_half = not is_other and core.dtype in HALVES
            reason = said_by(differ, HALF_ROUNDING if is_half else ROUNDING)
        is_proven = not reason
        if is_other and (is_proven or reason.startswith(FAILED)):
            # A kernel may fail in one precision alone.
            may_flip = is_proven and chooses_experts(core.modules())
            reason = said_by(differ, math.inf if may_flip else HALF_ROUNDING)
        return reason


@contextmanager
def evaluated(core: nn.Module) -> Iterator[None]:
    """Switch training off within the context."""
    training = core.training
    core.eval()
    try:
        yield
    finally:
        core.train(training)


def said_by(differ: Callable[[float], str], tolerance: float) -> str:
    """Return what a comparison says, or why it could not be made."""
    try:
        return differ(tolerance)
    except CHECK_FAILURES as error:
        return f"{FAILED}: {(str(error) or type(error).__name__).splitlines()[0][:120]}"


def _packed_difference(core: PreTrainedModel, tolerance: float, narrows: bool = True) -> str:
    """Compare packed attention with separate rows under the attention that the model has."""
    group, before = sample_group(core), core.config._attn_implementation
    packed = replace(packing.pack([group], pad_to=padded_to(core)), narrows=narrows).to(core.device)
    with torch.no_grad():
        expected = rows_hidden(core, group)
        try:
            core.set_attn_implementation(IMPLEMENTATION)
            return _difference(core, packed, expected, tolerance)
        finally:
            if core.config._attn_implementation != before:
                core.set_attn_implementation(before)


def _forked_difference(core: PreTrainedModel, tolerance: float) -> str:
    group = sample_group(core)
    batch, rows = fork_groups([group], ForkedLayout(0)), packing.pad_rows([group], pad_token_id=0)
    with torch.no_grad():
        reason = _difference(core, batch.to(core.device), rows_hidden(core, group), tolerance)
    if reason:
        return reason
    # No gradient of a weight is computed or kept: those at the embeddings, summed over tokens, are compared.
    actual, expected = (embedding_gradient(core, part.to(core.device)) for part in (batch, rows))
    return far_apart(actual, expected, "the gradient of a few tokens differs", tolerance)


def embedding_gradient(core: PreTrainedModel, batch: RewardBatch) -> Tensor:
    """Return the gradient of a weighted sum of the pooled states. Shapes: -> `[D]`."""
    seen: list[Tensor] = []

    def watch(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        # Some families add positions to it in place.
        return seen[-1].clone()

    handle = core.get_input_embeddings().register_forward_hook(watch)
    try:
        with torch.enable_grad():
            hidden = torch.cat([pooled_hidden(core, chunk, batch.narrows) for chunk in batch.chunks])[batch.sequence_B]
            weights_B = torch.linspace(1, -2, len(hidden), device=hidden.device)
            wanted = hidden.float().cumsum(1).mean(1) @ weights_B
            gradients = torch.autograd.grad(wanted, seen)
    finally:
        handle.remove()
    return torch.stack([gradient.float().sum((0, 1)) for gradient in gradients]).sum(0)


def rows_hidden(core: PreTrainedModel, group: Sequences) -> Tensor:
    """Return what the head reads when every sequence is a row. Shapes: -> `[B, D]`."""
    rows = packing.pad_rows([group], pad_token_id=0).to(core.device)
    return pooled_hidden(core, rows.chunks[0])[rows.sequence_B]


def _difference(core: PreTrainedModel, batch: RewardBatch, expected: Tensor, tolerance: float) -> str:
    """Compare a shared forward with separate rows. Returns what is wrong, or nothing. Shapes: expected [B, D]."""
    chunks = [pooled_hidden(core, chunk, batch.narrows) for chunk in batch.chunks]
    return far_apart(torch.cat(chunks)[batch.sequence_B], expected, "a check on a few tokens differs", tolerance)


def far_apart(actual: Tensor, expected: Tensor, what: str, tolerance: float) -> str:
    """Return by how much two tensors differ, or nothing within the tolerance."""
    size = float((actual.float() - expected.float()).norm() / expected.float().norm().clamp_min(1e-12))
    return "" if size < tolerance else f"{what} by {size:.1e} (relative)"


def padded_to(core: PreTrainedModel) -> int:
    return FLEX_BLOCK if core.device.type == "cuda" else 1


# Attention patterns that the packed layout reproduces token for token.
EXACT_LAYERS = {"full_attention", "sliding_attention"}


# Rotary scalings that depend on the length of the whole batch, so packing would change them.
LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}


def reason_not_to_share(core: PreTrainedModel, *, trains: bool) -> str:
    """Return why completions cannot go on from a prefix that was computed once; empty when they can.

    Args:
        trains: whether the model will be in training mode, where dropout acts.
    """
    config = core.config.get_text_config()
    name = type(core).__name__
    if config.is_encoder_decoder or not has_token_head(core):
        return f"{name} is not a decoder with a reward head, its tokens attend in both directions"
    # Where only pictures are read in both directions, texts are read from left to right.
    both_ways = getattr(config, "use_bidirectional_attention", False) not in (False, None, "vision")
    if getattr(config, "is_causal", True) is False or both_ways:
        return f"{name} attends in both directions"
    if trains and _drops_attention(core):
        return f"{name} has attention dropout; set disable_dropout=True"
    return ""


def reason_not_to_pack(core: PreTrainedModel) -> str:
    """Return why packed attention would not equal separate rows; empty when it would."""
    config = core.config.get_text_config()
    name = type(core).__name__
    if getattr(config, "alibi", False) or config.model_type in ("bloom", "mpt"):
        return f"{name} uses ALiBi, which counts distances inside the packed sequence"
    if not core._can_set_attn_implementation():
        return f"{name} does not use transformers' attention interface"
    other = set(getattr(config, "layer_types", None) or ()) - EXACT_LAYERS
    if other or getattr(config, "attention_chunk_size", None):
        return f"{name} has layers of kind {', '.join(sorted(other)) or 'chunked_attention'}"
    if longest_shared(config) is not None:
        return f"{name} scales its rotary positions by the length of the batch"
    return ""


def disable_dropout(*models: nn.Module | None) -> None:
    """Set every rate of dropout to zero: modules of dropout, numbers of a family's own name, and what runs on a config.

    A config that is read while the model runs says so from then on, and is saved so.
    """
    for module in (module for model in models if model is not None for module in model.modules()):
        for holder, name in _rates(module):
            setattr(holder, name, 0.0)


DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
# What drops values after attention, in modules of attention.
AFTER_ATTENTION = re.compile("resid|hidden|activation|^out_")


def _rates(module: nn.Module) -> Iterator[tuple[object, str]]:
    """Yield where each rate of dropout that a module itself applies is held, and its name there."""
    held = [name for name in vars(module) if "drop" in name or (name == "p" and isinstance(module, DROPOUTS))]
    places: list[tuple[object, str]] = [(module, name) for name in held]
    places += [(getattr(module, "config", None), name) for name in _rates_of_config(module.__class__)]
    return ((holder, name) for holder, name in places if isinstance(getattr(holder, name, None), float))


def _rates_of_config(kind: type[nn.Module]) -> tuple[str, ...]:
    """Return the rates that methods of a class read as `self.config.NAME` when they run, by the config's names."""
    methods = [
        inspect.unwrap(value)
        for parent in kind.__mro__
        for name, value in vars(parent).items()
        if name != "__init__" and inspect.isfunction(value)
    ]
    codes = [method.__code__ for method in methods if inspect.isfunction(method)]
    return tuple(sorted({name for code in codes if "config" in code.co_names for name in _rates_of_code(code)}))


@cache
def _rates_of_code(code: CodeType) -> frozenset[str]:
    """Return the rates that code reads as `config.NAME`; it is taken apart once, however many modules run it."""
    reads = pairwise(instruction.argval for instruction in dis.get_instructions(code))
    return frozenset(str(name) for config, name in reads if config == "config" and "drop" in str(name))


def _drops_attention(core: nn.Module) -> bool:
    """Whether a module of attention drops weights in training, whatever the config says."""
    kinds = [module for module in core.modules() if re.search("attention|attn", type(module).__name__, re.IGNORECASE)]
    inside: list[tuple[str, object]] = [(name, part) for module in kinds for name, part in module.named_children()]
    inside += [(name, getattr(holder, name)) for module in kinds for holder, name in _rates(module)]
    rates = [
        getattr(value, "p", value) for name, value in inside if "drop" in name and not AFTER_ATTENTION.search(name)
    ]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


# Their position embeddings begin after the pad token's, so two of them are never used.
OFFSET_FAMILIES = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet", "longformer")


def longest_input(config: PreTrainedConfig) -> int | None:
    """Return the longest sequence that a model of this (text) config can read, in tokens; None when there is no end."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or getattr(config, "position_biased_input", True) is False:
        return None
    if config.model_type in OFFSET_FAMILIES:
        return int(positions) - (config.pad_token_id if config.pad_token_id is not None else 1) - 1
    return int(positions)


def fixed_positions(config: PreTrainedConfig) -> int | None:
    """Return `longest_input` of a model that has a table of positions and fails beyond; None for rotary ones."""
    rotary = getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None)
    return None if rotary else longest_input(config)


def longest_shared(config: PreTrainedConfig) -> int | None:
    """Return up to which length, in tokens, rotary positions do not depend on the length; None when they never do."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    scalings = [value for value in [rope, *rope.values()] if isinstance(value, dict)]
    limits = [
        value.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
        for value in scalings
        if str(value.get("rope_type")) in LENGTH_DEPENDENT_ROPE
    ]
    if not limits:
        return None
    return min(int(limit or config.max_position_embeddings) for limit in limits)
