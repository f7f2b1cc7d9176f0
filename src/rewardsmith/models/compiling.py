"""Compile a model's layers one by one, in place: their code is compiled once and serves every layer and every length.

A layer stays the module it was, so weights, their names, adapters, checkpoints and saved folders do not change.
Attention over packed sequences stays outside (it is products already, and its layout is another one in every batch);
so do layers that go on from a forked cache and the last layer where it is computed for scored tokens alone.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Literal

import torch
import torch._dynamo as dynamo
from torch import nn
from torch._dynamo.eval_frame import skip_code
from torch._functorch import config as autograd_config
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.deprecation import deprecate_kwarg

from rewardsmith.errors import ConfigError, nearest

logger = logging.getLogger(__name__)

Compile = Literal["auto", "on", "off"]
COMPILE = ("auto", "on", "off")
# Training and scoring, two sides of 4,096 tokens, one row or several, kinds of layers: each a variant of one code.
MOST_VARIANTS = 64
# Seconds of compiling, an upper estimate, and the share of a run that it saves, as docs/performance.md measured it.
SECONDS_TO_COMPILE = {True: 60.0, False: 30.0}
SHARE_SAVED = 0.05
# What transformers calls the part of a layer that reads every token alone, unless its class says so.
MLPS = ("mlp", "feed_forward", "ffn")
# A fast CPU's rate: with a slower one a run takes longer and compiling pays sooner.
FLOPS_PER_SECOND = 3e11
# One code around every `forward` whose argument transformers renamed (from 5.24 on): it computes nothing.
RENAMING = deprecate_kwarg("none", "0.0")(compile).__code__


@dataclass(frozen=True)
class Work:
    """What a run will compute.

    Args:
        tokens: distinct tokens of the whole run; 0 where nobody knows.
        trains: forward and backward; else forward alone.
    """

    tokens: float
    trains: bool


def compile_layers(model: nn.Module, how: str, work: Work, *, forked: bool = False, backend: str = "inductor") -> str:
    """Compile the layers of `model`, where `how` and the work say so.

    A layer that cannot be compiled makes all of them run as they did before; the log says so once.

    Args:
        model: a transformer; its layers are the elements of its outermost lists of modules.
        how: "on", "off", or "auto": on a CPU with a compiler where `work` repays it.
        forked: completions go on from a cache, so that of each layer the MLP alone is compiled.

    Returns:
        One line that says what was done; empty for "off".

    Raises:
        ConfigError: `how` is none of the three.
    """
    if how not in COMPILE:
        near = nearest(str(how), COMPILE)
        raise ConfigError(f"compile must be one of {', '.join(COMPILE)}, not {how!r}; did you mean {near or 'auto'!r}?")
    if how == "off":
        return ""
    parts = compiled_parts(model, forked)
    reason = reason_not_to_compile(model, parts)
    if not reason and how == "auto":
        reason = reason_not_to_pay(model, work)
    if reason:
        return f"layers are not compiled: {reason}"
    dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, MOST_VARIANTS)
    # Else it is compiled anew for each function that it stands around.
    skip_code(RENAMING)
    # Else a hook that is put on a part of a layer later is never called.
    dynamo.config.skip_nnmodule_hook_guards = False
    # Else the backward is compiled in the middle of the first one, where nothing can be computed in another way.
    autograd_config.force_non_lazy_backward_lowering = True
    group = _Compiled(parts)
    for part in parts:
        part._compiled_call_impl = _Call(part, group, backend)
    what = "MLPs, as the rest goes on from a cache," if forked else "layers"
    return f"the {len(parts)} {what} are compiled when they are first used, once for all of them"


def is_compiled(model: nn.Module) -> bool:
    """Whether `compile_layers` compiled any part of `model`."""
    return any(module._compiled_call_impl is not None for module in model.modules())


def compiled_parts(model: nn.Module, forked: bool = False) -> list[nn.Module]:
    """Return the modules that `compile_layers` compiles: layers, or their MLPs where `forked`."""
    layers = repeated_layers(model)
    if not forked:
        return layers
    blocks = [block for layer in layers for name, block in layer.named_children() if _is_mlp(name, block)]
    # Beside layers with experts others may have a plain MLP.
    return [block for block in blocks if not chooses_experts(block.modules())] or blocks


def _is_mlp(name: str, block: nn.Module) -> bool:
    """Whether a part of a layer reads every token alone."""
    return (name in MLPS or type(block).__name__.endswith("MLP")) and not _reads_state(block)


def _reads_state(block: nn.Module) -> bool:
    """Whether a block goes on from what it read before, as RWKV's `feed_forward` does."""
    return "state" in inspect.signature(type(block).forward).parameters


def repeated_layers(model: nn.Module) -> list[nn.Module]:
    """Return the elements of the outermost lists of modules, in order."""
    found: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList) and not any(isinstance(part, nn.ModuleList) for part in child):
            found += child
        else:
            found += repeated_layers(child)
    return found


def reason_not_to_compile(model: nn.Module, parts: Iterable[nn.Module]) -> str:
    """Return why the layers cannot be compiled here, or would gain nothing; empty when they can."""
    parts = list(parts)
    if not parts:
        what = "layers with an MLP of their own" if repeated_layers(model) else "list of like layers"
        return f"{type(model).__name__} has no {what}"
    if chooses_experts(module for part in parts for module in part.modules()):
        return "its experts are chosen by the data, which cuts the code to pieces"
    if any(type(module).__module__.startswith("bitsandbytes") for part in parts for module in part.modules()):
        return "its weights are quantised"
    devices = {parameter.device.type for part in parts for parameter in part.parameters()}
    if len(devices) != 1:
        return "its layers lie on several kinds of devices"
    return _reason_switched_off() or _reason_without_compiler(devices.pop())


def chooses_experts(modules: Iterable[nn.Module]) -> bool:
    """Whether any of `modules` sends its tokens to experts of its choice, whatever the family calls it."""
    kinds = re.compile("expert|router|topk", re.IGNORECASE)
    return any(hasattr(module, "experts") or kinds.search(type(module).__name__) for module in modules)


def _reason_switched_off() -> str:
    """Return why torch would run everything as it is, without a word."""
    if dynamo.config.disable or os.environ.get("TORCHDYNAMO_DISABLE") == "1":
        return "the environment switches compiling off (TORCHDYNAMO_DISABLE or TORCH_COMPILE_DISABLE)"
    return "" if dynamo.is_dynamo_supported() else "this torch compiles nothing under this Python"


def _reason_without_compiler(device: str) -> str:
    if device == "cuda":
        from torch.utils._triton import has_triton

        return "" if has_triton() else "Triton is missing, with which torch compiles for GPUs"
    if device != "cpu":
        return f"torch compiles for a CPU or a CUDA GPU, not for {device}"
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "no C++ compiler was found; install g++, or name one in $CXX"
    return ""


def reason_not_to_pay(model: nn.Module, work: Work) -> str:
    """Return why compiling would not repay its cost; empty when it would.

    It depends on the model and the data alone, so that a run that is resumed decides as it did before.
    """
    if next(model.parameters()).device.type != "cpu":
        return "'auto' compiles on CPUs, where the gain was measured; 'on' compiles here too"
    needed = SECONDS_TO_COMPILE[work.trains] / SHARE_SAVED
    flops_of_a_token = (6 if work.trains else 2) * sum(
        p.numel() for part in repeated_layers(model) for p in part.parameters()
    )
    tokens_needed = needed * FLOPS_PER_SECOND / max(1, flops_of_a_token)
    if work.tokens >= tokens_needed:
        return ""
    known = f"{work.tokens:,.0f} tokens" if work.tokens else "a number of tokens that is not known"
    return f"it repays its cost from about {tokens_needed:,.0f} tokens on, here are {known}"


@dataclass
class _Compiled:
    """The parts that were compiled together, and whether that failed."""

    parts: list[nn.Module]
    failed: bool = False

    def give_up(self, error: BaseException) -> None:
        """Run every part as it is from now on."""
        if not self.failed:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            # A C++ compiler's own words stand behind the command that was run.
            own = lines[lines.index("Output:") + 1 :] if "Output:" in lines else lines[1:]
            said = " ".join([lines[0], *own[:1]])[:200]
            logger.warning("layers are not compiled, as compiling failed; they run as they are: %s", said)
        self.failed = True


class _Call:
    """A part's compiled call, which is its plain call once compiling has failed."""

    def __init__(self, part: nn.Module, group: _Compiled, backend: str) -> None:
        self.part, self.group = part, group
        self.plain: Callable[..., object] = part._call_impl
        # Dropout draws what it would draw uncompiled, so that a run may begin or go on without a compiler.
        options = {"fallback_random": True} if backend == "inductor" else None
        compiled = partial(torch.compile, dynamic=True, backend=backend, options=options)
        self.compiled = compiled(part._call_impl)
        # transformers checkpoints inside of `forward`; no compiler looks into a checkpoint that it meets there.
        inner = getattr(type(part).forward, "__wrapped__", None)
        self.inner = compiled(MethodType(_renamed(inner), part)) if inner else None

    def __call__(self, *args: object, **kwargs: object) -> object:
        if not self.group.failed:
            try:
                return self._recomputed(*args, **kwargs) if self._is_checkpointed() else self.compiled(*args, **kwargs)
            except dynamo.exc.TorchDynamoException as error:
                self.group.give_up(error)
        return self.plain(*args, **kwargs)

    def _is_checkpointed(self) -> bool:
        checkpoints = isinstance(self.part, GradientCheckpointingLayer) and self.part.gradient_checkpointing
        return checkpoints and self.part.training and self.inner is not None

    def _recomputed(self, *args: object, **kwargs: object) -> object:
        """Checkpoint what is compiled, within the part's own call, so that its hooks run."""
        part, inner = self.part, self.inner
        assert inner is not None

        def forward(*args: object, **kwargs: object) -> object:
            return part._gradient_checkpointing_func(partial(inner, **kwargs), *args)  # type: ignore[operator]

        part.forward = forward
        try:
            return self.plain(*args, **kwargs)
        finally:
            del part.forward


def _renamed(forward: Callable[..., object]) -> Callable[..., object]:
    """Return what `forward` calls once it has renamed its arguments."""
    while getattr(forward, "__code__", None) is RENAMING:
        forward = forward.__wrapped__  # type: ignore[attr-defined]
    return forward


@contextlib.contextmanager
def uncompiled(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Run `modules` as they are within the context: their hooks, or caches, would be compiled in otherwise."""
    held = [(module, module._compiled_call_impl) for module in modules if module._compiled_call_impl is not None]
    for module, _ in held:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in held:
            module._compiled_call_impl = call
