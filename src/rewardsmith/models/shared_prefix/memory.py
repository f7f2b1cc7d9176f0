"""Keys and values that outlive a packed batch: what its groups go on from, and what is kept of it.

Every token of packed attention has the keys and values of its own row, windows or not, so they can be cut anywhere.

Shapes: H heads of keys, L tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.segment_attention import Span

Layers = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Keys:
    """The keys and values of one text, layer by layer in the order in which they attend. Shapes: [1, H, L, D] each."""

    layers: Layers

    def tensors(self) -> list[Tensor]:
        """Return every tensor."""
        return [tensor for pair in self.layers for tensor in pair]

    def cut(self, num_tokens: int) -> Keys:
        """Return those of the first tokens, as views."""
        return Keys([(key[:, :, :num_tokens], value[:, :, :num_tokens]) for key, value in self.layers])

    def followed_by(self, later: Layers) -> Keys:
        """Return these and the keys and values of the tokens after them, in memory of their own."""
        pairs = zip(self.layers, later, strict=True)
        return Keys([(torch.cat([k, own_k], 2), torch.cat([v, own_v], 2)) for (k, v), (own_k, own_v) in pairs])


@dataclass(eq=False)
class Memory:
    """What the groups of one packed batch go on from, and what is copied out of it, as its layers run.

    Args:
        before: per group, None where it begins anew.
        lengths: per group the tokens of `before`.
        wanted: per group how many of its first tokens are copied.
    """

    before: Sequence[Keys | None]
    lengths: tuple[int, ...]
    wanted: Sequence[int]
    copied: list[list[tuple[Tensor, Tensor]]] = field(default_factory=list)

    def extended(self, key: Tensor, value: Tensor, spans: Iterable[Span]) -> tuple[Tensor, Tensor]:
        """Return the keys and values of the next layer, with those that its groups go on from before them.

        Raises:
            ScoringError: a gradient is asked for.
        """
        if torch.is_grad_enabled():
            raise ScoringError("kept prefixes have no gradient; score within torch.no_grad()")
        layer = len(self.copied)
        places = [slice(start, start + count) for (start, _, _), count in zip(spans, self.wanted, strict=False)]
        # Copies: a view would hold the whole batch.
        whole = torch.contiguous_format
        self.copied.append(
            [tuple(t[:, :, place].clone(memory_format=whole) for t in (key, value)) for place in places]  # type: ignore[misc]
        )
        kept = [keys.layers[layer] for keys in self.before if keys is not None]
        if not kept:
            return key, value
        keys, values = zip(*kept, (key, value), strict=True)
        return torch.cat([k.to(key.dtype) for k in keys], 2), torch.cat([v.to(value.dtype) for v in values], 2)

    def left(self, group: int) -> Keys:
        """Return the keys and values of a group's kept and copied tokens together."""
        own = [layer[group] for layer in self.copied]
        before = self.before[group]
        return Keys(own) if before is None else before.followed_by(own)
