"""Families that hold their states in a way of their own, and which way a model takes.

Shapes: U completions, L tokens, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rewardsmith.models.shared_prefix.past import KeysAndStates, Past, cache_argument


def empty_past(backbone: PreTrainedModel) -> Past:
    """Return the past of a model that has read nothing."""
    kind = backbone.config.model_type
    if kind == "rwkv":
        return RwkvStates.empty(backbone)
    if kind == "xlstm":
        return XlstmStates()
    if kind == "recurrent_gemma":
        return GriffinStates(KeysAndStates(backbone))
    return KeysAndStates(backbone)


class _Columns:
    """A tensor [U, D, layers] of RWKV's, held layer by layer: it is read and written at one layer."""

    def __init__(self, layers: Sequence[Tensor]) -> None:
        self.layers = list(layers)

    def __getitem__(self, place: tuple[slice, slice, int]) -> Tensor:
        return self.layers[place[-1]]

    def __setitem__(self, place: tuple[slice, slice, int], value: Tensor) -> None:
        self.layers[place[-1]] = value


class RwkvStates(Past):
    """RWKV's five states: the inputs before, and numerator, denominator and maximum of its softmax."""

    EMPTY = (0.0, 0.0, 0.0, 0.0, -1e30)

    def __init__(self, states: Sequence[_Columns]) -> None:
        self.states = list(states)

    @classmethod
    def empty(cls, backbone: Any) -> RwkvStates:
        """Return states that add nothing."""
        layers = backbone.config.num_hidden_layers
        weight = backbone.get_input_embeddings().weight
        start = [
            weight.new_full((1, 1), value, dtype=None if i < 2 else torch.float32) for i, value in enumerate(cls.EMPTY)
        ]
        return cls([_Columns([tensor] * layers) for tensor in start])

    def _read(self, backbone: PreTrainedModel, ids: Tensor) -> Tensor:
        return backbone(input_ids=ids, state=self.states, use_cache=True).last_hidden_state

    def tensors(self) -> list[Tensor]:
        """Return the states, kind by kind and layer by layer."""
        return [tensor for columns in self.states for tensor in columns.layers]

    def _holding(self, tensors: Sequence[Tensor]) -> RwkvStates:
        rows = iter(tensors)
        return RwkvStates([_Columns([next(rows) for _ in columns.layers]) for columns in self.states])


class _Fresh(dict[int, tuple[Tensor, ...]]):
    """States that are read as copies, so that what xLSTM writes into them goes nowhere."""

    def __getitem__(self, layer: int) -> tuple[Tensor, ...]:
        return tuple(state.clone() for state in super().__getitem__(layer))


class _XlstmCache:
    """The attributes of transformers' xLSTMCache that the model uses."""

    def __init__(self, rnn_state: _Fresh) -> None:
        self.rnn_state, self.rnn_state_initial, self.seqlen_offset = rnn_state, False, 0


class XlstmStates(Past):
    """The matrix memories of xLSTM, taken from what its blocks return."""

    def __init__(self, states: Sequence[tuple[Tensor, ...]] = ()) -> None:
        self.states = list(states)

    def _read(self, backbone: Any, ids: Tensor) -> Tensor:
        before = _XlstmCache(_Fresh(enumerate(self.states))) if self.states else None
        left: list[tuple[Tensor, ...]] = []
        with ExitStack() as handles:
            for block in backbone.blocks:
                handles.callback(block.register_forward_hook(lambda _, __, output: left.append(output[1])).remove)
            given = {cache_argument(backbone): before, "use_cache": before is not None}
            hidden = backbone(input_ids=ids, **given).last_hidden_state
        self.states = left
        return hidden

    def tensors(self) -> list[Tensor]:
        """Return the memories, layer by layer."""
        return [tensor for states in self.states for tensor in states]

    def _holding(self, tensors: Sequence[Tensor]) -> XlstmStates:
        rows = iter(tensors)
        return XlstmStates([tuple(next(rows) for _ in states) for states in self.states])


class GriffinStates(Past):
    """RecurrentGemma's: keys and values in a cache, states on the layers, convolutions that begin from nothing."""

    def __init__(self, attention: Past, states: Sequence[tuple[Tensor, Tensor]] = ()) -> None:
        self.attention, self.states = attention, list(states)

    def _read(self, backbone: Any, ids: Tensor) -> Tensor:
        blocks = [layer.temporal_block for layer in backbone.layers if hasattr(layer.temporal_block, "rg_lru")]
        inputs: list[Tensor] = []

        def prepend(conv: nn.Conv1d, args: tuple[Tensor]) -> tuple[Tensor]:
            width = conv.kernel_size[0] - 1
            before = self.states[len(inputs)][0] if self.states else args[0].new_zeros(*args[0].shape[:2], width)
            whole = torch.cat([before, args[0]], dim=-1)
            inputs.append(whole[..., -width:])
            return (whole,)

        with ExitStack() as handles:
            for number, block in enumerate(blocks):
                # A state of the right number of rows is one that the layer goes on from.
                block.conv1d_state = ids.new_zeros(len(ids), 1, 1)
                block.rg_lru.recurrent_states = self.states[number][1] if self.states else None
                handles.callback(block.conv_1d.register_forward_pre_hook(prepend).remove)
                cut = block.conv1d_width - 1
                handles.callback(block.conv_1d.register_forward_hook(lambda _, __, out, cut=cut: out[..., cut:]).remove)
            hidden = self.attention.read(backbone, ids)
        self.states = [(before, block.rg_lru.recurrent_states) for before, block in zip(inputs, blocks, strict=True)]
        for block in blocks:
            block.conv1d_state = block.rg_lru.recurrent_states = None
        return hidden

    def tensors(self) -> list[Tensor]:
        """Return keys and values, then the states."""
        return [*self.attention.tensors(), *(tensor for pair in self.states for tensor in pair)]

    def _holding(self, tensors: Sequence[Tensor]) -> GriffinStates:
        keys = len(self.attention.tensors())
        pairs = list(zip(tensors[keys::2], tensors[keys + 1 :: 2], strict=True))
        return GriffinStates(self.attention.holding(tensors[:keys]), pairs)
