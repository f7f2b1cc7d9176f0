"""Let a model compute in float64, what its family casts to float32 included: what differs then is no rounding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor
from transformers.integrations import moe

# Says whether torch's grouped product of experts is taken; it knows no float64. Without it transformers takes its own.
KERNEL = "_can_use_grouped_mm"


@contextmanager
def in_double() -> Iterator[None]:
    """Compute in float64 within the context; weights that were made before it are cast by `model.double()`.

    Norms, rotary angles, softmaxes and states that a family computes in `torch.float32` find float64 under that name. A
    mode of torch would not reach what is computed again in the backward pass.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    double = torch.float64
    try:
        names = mock.patch.multiple(torch, float32=double, float=double)
        with (
            names,
            mock.patch.object(Tensor, "float", Tensor.double),
            mock.patch.object(moe, KERNEL, return_value=False),
        ):
            yield
    finally:
        torch.set_default_dtype(before)
