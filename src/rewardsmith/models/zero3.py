"""Weights of which DeepSpeed's ZeRO-3 holds a part on every process, gathered where its engine does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from torch import nn
from transformers.integrations import deepspeed as integration


def sharded(module: nn.Module, recurse: bool = True) -> list[nn.Parameter]:
    """Return the parameters of which this process holds a part."""
    return [parameter for parameter in module.parameters(recurse) if hasattr(parameter, "ds_id")]


@contextmanager
def gathered(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Hold `sharded` parameters whole; a change that the first process makes stays, on all of them."""
    parts = list(parameters)
    if not parts:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parts, modifier_rank=0):
        yield


@contextmanager
def whole_models() -> Iterator[None]:
    """Load models whole in a block: one process alone would wait for the others' parts of a sharded one forever."""
    before = integration._hf_deepspeed_config_weak_ref
    integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        integration._hf_deepspeed_config_weak_ref = before


@contextmanager
def gathered_in_turn(model: nn.Module) -> Iterator[None]:
    """Hold the weights of each module whole while it computes, as the engine does once training has begun."""
    with ExitStack() as handles:
        for module in model.modules():
            if parts := sharded(module, recurse=False):
                _gather_while_called(module, parts, handles)
        yield


def _gather_while_called(module: nn.Module, parts: list[nn.Parameter], handles: ExitStack) -> None:
    held: list[ExitStack] = []

    def enter(*_: object) -> None:
        held.append(ExitStack())
        held[-1].enter_context(gathered(parts))

    def leave(*_: object) -> None:
        held.pop().close()

    handles.callback(module.register_forward_pre_hook(enter).remove)
    handles.callback(module.register_forward_hook(leave, always_call=True).remove)
