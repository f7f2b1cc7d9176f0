"""Scans over states that go on from where a prefix ended, as if prefix and rest had been read at once.

Mamba's first selective scan begins from zero in its kernels. The gated delta rule goes on from a state, but in chunks
of 64 tokens, and where a chunk ends shows in the rounding: a row's reward would depend on where it was cut. Without a
gradient the tokens of an unfinished chunk are therefore read again with those after them, in the scan alone.

Shapes: U completions, L tokens, D hidden, N size of a state.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache

# The states that the scans of the layer now running begin from, in the order in which it scans.
_BEGINNINGS: ContextVar[Iterator[Tensor] | None] = ContextVar("beginnings", default=None)
# What is cached of the layer now running.
_LAYER: ContextVar[Any] = ContextVar("layer", default=None)


@contextmanager
def scans_go_on(backbone: nn.Module, cache: DynamicCache) -> Iterator[None]:
    """Let every scan go on from the cache's states, and the chunked ones from where their last whole chunk ended."""

    def begin(mixer: Any, inputs: object) -> None:
        layer: Any = cache.layers[mixer.layer_idx]
        known = getattr(layer, "has_previous_state", {}).get(0)
        state = layer.recurrent_states[0] if known else None
        _LAYER.set(layer)
        # Zamba scans head by head.
        _BEGINNINGS.set(None if state is None else iter(state.unbind(1) if state.ndim == 4 else [state]))

    def end(mixer: object, inputs: object, output: object) -> None:
        _BEGINNINGS.set(None)
        _LAYER.set(None)

    with ExitStack() as handles:
        for mixer in _mixers(backbone):
            home = vars(sys.modules[type(mixer).__module__])
            names = SCANS.keys() & home.keys()
            for name in names:
                if not hasattr(home[name], "goes_on"):
                    home[name] = SCANS[name](home[name])
            if names:
                handles.callback(mixer.register_forward_pre_hook(begin).remove)
                handles.callback(mixer.register_forward_hook(end, always_call=True).remove)
        yield


def _mixers(backbone: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that scan; Kimi's hold the decay in a part of theirs."""
    for module in backbone.modules():
        if hasattr(module, "layer_idx") and any(hasattr(part, "A_log") for part in module.modules()):
            yield module


def _beginning_anywhere(scan: Callable[..., Any]) -> Callable[..., Any]:
    """Return a selective scan that begins from the state at hand, if there is one."""

    @functools.wraps(scan)
    def scan_on(
        inputs: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, z: Tensor | None = None, **options: Any
    ) -> Any:
        found = scan(inputs, dt, A, B, C, z=z, **options)
        beginnings = _BEGINNINGS.get()
        if beginnings is None:
            return found
        bias, state = options.get("delta_bias"), next(beginnings)
        steps = dt if bias is None else dt + bias.to(dt.dtype)[..., None]
        steps = F.softplus(steps) if options.get("delta_softplus") else steps
        decay = torch.exp(A[None, :, None] * steps.cumsum(-1)[..., None])  # [U, D, L, N]
        carried = torch.einsum("udln,unl,udn->udl", decay, C.to(decay.dtype), state.to(decay.dtype))
        output, last = found
        output = output + (carried if z is None else carried * F.silu(z)).to(output.dtype)
        return output, last + decay[:, :, -1] * state

    scan_on.goes_on = True  # type: ignore[attr-defined]
    return scan_on


def _in_whole_chunks(scan: Callable[..., Any]) -> Callable[..., Any]:
    """Return a chunked scan whose chunks end where they would in one scan over all tokens so far.

    The state that it returns is that after the last whole chunk; what came after it stays with the layer.
    """
    size: int = inspect.signature(scan).parameters["chunk_size"].default

    @functools.wraps(scan)
    def scan_on(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        g: Tensor,
        beta: Tensor,
        initial_state: Tensor | None,
        **options: object,
    ) -> Any:
        layer, inputs = _LAYER.get(), (query, key, value, g, beta)

        def scanned(inputs: Sequence[Tensor], state: Tensor | None) -> Any:
            return scan(*inputs[:3], g=inputs[3], beta=inputs[4], initial_state=state, **options)

        if layer is None or torch.is_grad_enabled():
            return scanned(inputs, initial_state)
        before = getattr(layer, "unfinished", inputs[:0])
        whole = [torch.cat(pair, dim=1) for pair in zip(before, inputs, strict=True)] if before else inputs
        end = whole[0].shape[1] // size * size
        outputs, state = [], initial_state
        if end:
            output, state = scanned([part[:, :end] for part in whole], state)
            outputs.append(output)
        left = [part[:, end:] for part in whole]
        if left[0].shape[1]:
            output, last = scanned(left, state)
            outputs.append(output)
            state = torch.zeros_like(last) if state is None else state
        layer.unfinished = left
        return torch.cat(outputs, dim=1)[:, -query.shape[1] :], state

    scan_on.goes_on = True  # type: ignore[attr-defined]
    return scan_on


SCANS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "mamba_selective_scan": _beginning_anywhere,
    "torch_chunk_gated_delta_rule": _in_whole_chunks,
    "chunk_kimi_delta_attention": _in_whole_chunks,
}
