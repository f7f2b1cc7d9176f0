"""What a prefix leaves behind: keys, values and states that every completion goes on from, with their gradient.

Most families of transformers take a cache of one kind, which is here; `states.py` has those that hold their states in a
way of their own. All assign what transformers writes in place (to keep addresses static), since writing in place would
break the gradient and touch what other completions go on from.

Shapes: U completions, L tokens, D hidden.
"""

from __future__ import annotations

import copy
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.scans import scans_go_on


class Past(ABC):
    """What was read so far, one row a prefix or completion, and how many tokens that is."""

    num_read = 0

    def read(self, backbone: PreTrainedModel, ids: Tensor) -> Tensor:
        """Read on, and hold what that leaves. Shapes: ids [U, L] -> hidden states [U, L, D]."""
        forget_lengths(backbone)
        hidden = self._read(backbone, ids)
        self.num_read += ids.shape[1]
        return hidden

    def holding(self, tensors: Sequence[Tensor]) -> Past:
        """Return the same past with these tensors in place of `tensors()`; this one stays as it is."""
        new = self._holding(tensors)
        new.num_read = self.num_read
        return new

    @abstractmethod
    def _read(self, backbone: PreTrainedModel, ids: Tensor) -> Tensor: ...

    @abstractmethod
    def _holding(self, tensors: Sequence[Tensor]) -> Past: ...

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """Return every tensor that a completion goes on from, one row a prefix, in a fixed order."""

    def cut(self, row: int, num_tokens: int) -> Past | None:
        """Return what the first tokens of one row left; None where only the end is known."""
        return None

    def forked(self, tensors: Sequence[Tensor], group_U: Tensor) -> Past:
        """Return a past of one row a completion that can be read on without touching this one.

        Args:
            tensors: those of `tensors()`, or the same values with a graph of their own.
            group_U: the row that each completion goes on from. Shapes: [U].
        """
        return self.holding([tensor.index_select(0, group_U) for tensor in tensors])


def forget_lengths(backbone: nn.Module) -> None:
    """Let rotary positions that grow with the length be those of the next text, not of the longest one read before."""
    rotary = getattr(backbone, "rotary_emb", None)
    if not isinstance(rotary, nn.Module):
        return
    kinds = getattr(rotary, "rope_type", None)
    for name, kind in kinds.items() if isinstance(kinds, dict) else [("", kinds)]:
        start = f"{name}_" if name else ""
        if "dynamic" in str(kind) and hasattr(rotary, f"{start}original_inv_freq"):
            setattr(rotary, f"{start}max_seq_len_cached", rotary.original_max_seq_len)
            now = getattr(rotary, f"{start}inv_freq")
            rotary.register_buffer(
                f"{start}inv_freq", getattr(rotary, f"{start}original_inv_freq").to(now), persistent=False
            )


class _Assigns(LinearAttentionLayer):  # type: ignore[misc, override]
    """States are assigned, not written in place."""

    def update_conv_state(
        self, conv_states: Tensor, state_idx: int = 0, conv_kernel_size: int | None = None, **options: object
    ) -> Tensor:
        """Keep the last inputs of a convolution. Returns them with the new ones, as the layer expects."""
        size = conv_kernel_size or self.conv_kernel_size[state_idx] or conv_states.shape[-1]
        self.conv_kernel_size[state_idx] = size
        self.is_conv_states_initialized[state_idx] = True
        self.dtype, self.device = conv_states.dtype, conv_states.device  # type: ignore[assignment]
        if self.has_previous_state[state_idx]:
            whole = torch.cat([self.conv_states[state_idx], conv_states], dim=-1)  # type: ignore[list-item]
        else:
            self.has_previous_state[state_idx] = True
            whole = F.pad(conv_states, (max(0, size - conv_states.shape[-1]), 0))
        self.conv_states[state_idx] = whole[..., -size:]
        return whole

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, **options: object) -> Tensor:
        """Keep the state after the last token."""
        self.is_recurrent_states_initialized[state_idx] = True
        self.recurrent_states[state_idx] = recurrent_states
        return recurrent_states


class _AssignsBesideFull(_Assigns, LinearAttentionAndFullAttentionLayer):  # type: ignore[misc, override]
    """The same beside keys and values."""


class _AssignsBesideSliding(_Assigns, LinearAttentionAndSlidingWindowAttentionLayer):  # type: ignore[misc, override]
    """The same beside the keys and values of a window."""


ASSIGNING: dict[type, type] = {
    LinearAttentionLayer: _Assigns,
    LinearAttentionAndFullAttentionLayer: _AssignsBesideFull,
    LinearAttentionAndSlidingWindowAttentionLayer: _AssignsBesideSliding,
}
# They count positions from zero whatever the cache holds.
FORGETS_POSITIONS = {"bamba"}
# They take a cache of their own class, which this names.
OWN_CACHES = {"minimax": "MiniMaxCache"}


def cache_argument(backbone: PreTrainedModel) -> str:
    """Return what this family calls its cache: `cache` from transformers 5.24 on.

    Raises:
        ScoringError: where it takes none.
    """
    known = inspect.signature(_own_class(backbone).forward).parameters
    for name in ("cache", "past_key_values", "cache_params"):
        if name in known:
            return name
    raise ScoringError(f"{type(backbone).__name__} takes no cache")


def own_cache(backbone: PreTrainedModel) -> type[DynamicCache] | None:
    """Return the class of cache that this family alone takes, if there is one."""
    name = OWN_CACHES.get(backbone.config.model_type)
    return getattr(sys.modules[_own_class(backbone).__module__], name) if name else None


class _Counted(DynamicLayer):
    """The place of a layer without keys in a cache that asks its first layer how many tokens were read."""

    def __init__(self, num_read: int) -> None:
        super().__init__()
        self.num_read, self.is_initialized = num_read, True

    def get_seq_length(self) -> int:
        """Return how many tokens were read."""
        return self.num_read

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of keys that a mask covers, and where they begin."""
        return self.num_read + query_length, 0


class KeysAndStates(Past):
    """A cache of transformers: keys, values and the states of linear attention, layer by layer."""

    def __init__(self, backbone: PreTrainedModel) -> None:
        own = own_cache(backbone)
        self.cache: DynamicCache = own() if own else DynamicCache(config=backbone.config)
        for layer in self.cache.layers:
            layer.__class__ = ASSIGNING.get(type(layer), type(layer))
        self._name = cache_argument(backbone)

    def _read(self, backbone: PreTrainedModel, ids: Tensor) -> Tensor:
        options: dict[str, Any] = {self._name: self.cache, "use_cache": True}
        if backbone.config.model_type in FORGETS_POSITIONS:
            options["position_ids"] = torch.arange(ids.shape[1], device=ids.device)[None] + self.num_read
        if own_cache(backbone):
            layers: list[Any] = self.cache.layers
            counted = _Counted(self.num_read)
            self.cache.layers = [layer if layer.is_initialized else counted for layer in layers]
        with scans_go_on(backbone, self.cache):
            return backbone(input_ids=ids, **options).last_hidden_state

    def tensors(self) -> list[Tensor]:
        """Return keys, values and states."""
        return [_rows_first(holder[name], name) for holder, name in _places(self.cache)]

    def cut(self, row: int, num_tokens: int) -> Past | None:
        """Cut keys and values (as views), where every layer holds those of all tokens."""
        if not all(_holds_every_token(layer) for layer in self.cache.layers):
            return None
        new = self._holding([tensor[row : row + 1, :, :num_tokens] for tensor in self.tensors()])
        new.num_read = num_tokens
        for layer in new.cache.layers:
            if isinstance(layer, DynamicSlidingWindowLayer):
                layer.cumulative_length = num_tokens
        return new

    def _holding(self, tensors: Sequence[Tensor]) -> KeysAndStates:
        new = copy.copy(self)
        new.cache = _copied(self.cache)
        new.cache.layers = [_copied(layer) for layer in self.cache.layers]
        for (holder, name), tensor in zip(_places(new.cache), tensors, strict=True):
            holder[name] = _rows_first(tensor, name)
        return new


def _holds_every_token(layer: Any) -> bool:
    """Whether a layer keeps keys and values alone, and dropped none; MiniMax's that hold none have states elsewhere."""
    keeps_keys = type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) and layer.is_initialized
    return keeps_keys and layer.get_seq_length() == layer.keys.shape[-2]


def _rows_first(tensor: Tensor, name: object) -> Tensor:
    """Swap the first two axes of what has its rows second (doing so twice gives it back)."""
    return tensor.transpose(0, 1) if name == "indexer_position_ids" else tensor


def _own_class(backbone: nn.Module) -> type[nn.Module]:
    """Return the class that transformers wrote, below what compiling or quantising may have put on top."""
    kinds = type(backbone).__mro__
    return next((kind for kind in kinds if kind.__module__.startswith("transformers")), type(backbone))


def _copied(layer: object) -> Any:
    new = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, list | dict):
            setattr(new, name, copy.copy(value))
    return new


def _places(cache: DynamicCache) -> Iterator[tuple[Any, Any]]:
    """Yield where a cache holds tensors of one row a sequence: attributes, and entries of lists and dictionaries."""
    for holder in (cache, *cache.layers):
        for name, value in sorted(vars(holder).items(), key=lambda item: item[0]):
            if _is_rows(value):
                yield vars(holder), name
            elif isinstance(value, dict | list):
                inside = value.items() if isinstance(value, dict) else enumerate(value)
                yield from ((value, key) for key, inner in list(inside) if _is_rows(inner))


def _is_rows(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim > 1
