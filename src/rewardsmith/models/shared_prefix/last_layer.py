"""The last layer, computed for the scored tokens alone.

A reward that is read at one token of a sequence needs the last layer's queries, attention, output projection and MLP at
that token only; of the others it needs keys and values. What is not computed is zero and is never read. Rewards and
gradients stay what they were.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rewardsmith.errors import ScoringError


@dataclass(frozen=True)
class LastLayer:
    """The parts of a decoder's last layer that only scored tokens need.

    Args:
        attention: the attention block; its `prefix_layout` says for which tokens it attends.
        tokenwise: blocks that treat every token alone: the MLP, the query and the output projection.
    """

    attention: nn.Module | None = None
    tokenwise: tuple[nn.Module, ...] = ()


def last_layer(backbone: object) -> LastLayer:
    """Find a decoder's last layer by the names that transformers uses; parts without such a name stay whole."""
    layers = getattr(backbone, "layers", None) or getattr(backbone, "h", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        return LastLayer()
    attention = _part(layers[-1], "self_attn", "attn", "attention")
    query = _part(attention, "q_proj")
    output = _part(attention, "o_proj", "dense", "c_proj", "out_proj")
    found = (query, output, _part(layers[-1], "mlp"))
    return LastLayer(attention if output else None, tuple(part for part in found if part is not None))


def _part(module: nn.Module | None, *names: str) -> nn.Module | None:
    """Give the first part of one of these names."""
    found = (getattr(module, name, None) for name in names)
    return next((part for part in found if isinstance(part, nn.Module)), None)


@contextlib.contextmanager
def scored_tokens_only(layer: LastLayer, kept_U: Tensor, num_tokens: int) -> Iterator[None]:
    """Compute the parts of `layer` for the tokens `kept_U` within the context, and give zero for all others.

    Shapes: kept_U [U] without repetition, the parts' inputs and outputs [1, L, D] with L = `num_tokens`.

    Raises:
        ScoringError: a part that does not give one tensor.
    """

    def narrow(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].index_select(1, kept_U), *inputs[1:])

    def widen(module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> Tensor:
        if not isinstance(output, Tensor):
            raise ScoringError(f"{type(module).__name__} gives a {type(output).__name__}, not one tensor")
        return output.new_zeros(1, num_tokens, output.shape[-1]).index_copy(1, kept_U, output)

    def attend_from_kept(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        layout = options.get("prefix_layout")
        return inputs, options if layout is None else {**options, "prefix_layout": layout.attending_from(kept_U)}

    with contextlib.ExitStack() as handles:
        for part in layer.tokenwise:
            handles.callback(part.register_forward_pre_hook(narrow).remove)
            handles.callback(part.register_forward_hook(widen).remove)
        if layer.attention is not None:
            handles.callback(layer.attention.register_forward_pre_hook(attend_from_kept, with_kwargs=True).remove)
        yield
