"""A model computed in another precision than the one it is stored in, with the weights of one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rewardsmith.models.compiling import repeated_layers

HALVES = (torch.bfloat16, torch.float16)
# Of a table only a few rows are read, so that these alone are changed; one that scales its rows changes whole, if it is
# no larger than this. What is larger holds an embedding for each layer, whose scale is a power of two.
LARGEST_TABLE = 1 << 30


@contextmanager
def in_float32(core: nn.Module, *, whole_tables: bool = False) -> Iterator[bool]:
    """Let a model of half precision compute in fp32 within the context, with the weights of one layer at a time.

    Args:
        whole_tables: embeddings that scale their rows do so in fp32 too, which takes the memory of a table.

    Yields whether that is another precision than its own; quantised, sharded and absent weights stay as they are.
    """
    parameters = list(core.parameters())
    if not all(map(_is_whole, parameters)) or not any(p.dtype in HALVES for p in parameters):
        yield False
        return
    stored: dict[int, Tensor] = {}

    def widen(tensor: Tensor) -> Tensor | None:
        if tensor.dtype not in HALVES:
            return None
        wide = tensor.data.float()
        stored[wide.untyped_storage().data_ptr()] = tensor.data
        return wide

    def forget(wide: Tensor) -> None:
        stored.pop(wide.untyped_storage().data_ptr(), None)

    def pack(tensor: Tensor) -> Any:
        own = stored.get(tensor.untyped_storage().data_ptr())
        return tensor if own is None else (own, tensor.size(), tensor.stride(), tensor.storage_offset())

    def unpack(packed: Tensor | tuple[Any, ...]) -> Tensor:
        return packed if isinstance(packed, Tensor) else packed[0].float().as_strided(*packed[1:])

    # A graph would hold the fp32 weights of all layers.
    with (
        _changed(core, widen, Tensor.float, forget, whole_tables),
        torch.autograd.graph.saved_tensors_hooks(pack, unpack),
    ):
        yield True


@contextmanager
def rounded(core: nn.Module) -> Iterator[bool]:
    """Let an fp32 model compute in fp32 with weights as bf16 holds them, those of one layer at a time.

    Yields whether it can; what its family keeps in fp32 stays as it is.
    """
    stays = {*(getattr(core, "_keep_in_fp32_modules_strict", None) or ())}
    named = dict(core.named_parameters())
    if not all(_is_whole(weight) and weight.dtype is torch.float32 for weight in named.values()):
        yield False
        return
    rounds = {id(weight) for name, weight in named.items() if not stays & {*name.split(".")}}

    def to_bf16_and_back(tensor: Tensor) -> Tensor | None:
        return tensor.data.bfloat16().float() if id(tensor) in rounds else None

    with _changed(core, to_bf16_and_back, lambda output: output.bfloat16().float(), whole_tables=True):
        yield True


def _is_whole(parameter: nn.Parameter) -> bool:
    """Whether a weight is here as what it is: not quantised, of a part of it, or elsewhere."""
    plain = type(parameter.data) is Tensor and parameter.is_floating_point() and parameter.element_size() > 1
    return plain and not parameter.is_meta and not hasattr(parameter, "ds_id")


@contextmanager
def _changed(
    core: nn.Module,
    change: Callable[[Tensor], Tensor | None],
    change_rows: Callable[[Tensor], Tensor],
    forget: Callable[[Tensor], None] = lambda tensor: None,
    whole_tables: bool = False,
) -> Iterator[None]:
    """Let every part hold other weights while it computes.

    Args:
        change: gives what a weight or buffer is meanwhile; None where it stays.
        change_rows: the same for the rows that an embedding gives.
        forget: is given what `change` gave, once it is held no more.
    """
    layers = repeated_layers(core)
    inside = {module for layer in layers for module in layer.modules()}
    with ExitStack() as handles:
        for layer in layers:
            _change_while_called(layer, True, (change, forget), handles)
        for module in (module for module in core.modules() if module not in inside):
            is_table = isinstance(module, nn.Embedding)
            scales = type(module) is not nn.Embedding and whole_tables
            if is_table and not (scales and module.weight.numel() <= LARGEST_TABLE):  # type: ignore[operator, union-attr]
                handles.callback(module.register_forward_hook(lambda _, __, output: change_rows(output)).remove)
            else:
                _change_while_called(module, False, (change, forget), handles)
        yield


def _change_while_called(
    module: nn.Module,
    recurse: bool,
    how: tuple[Callable[[Tensor], Tensor | None], Callable[[Tensor], None]],
    handles: ExitStack,
) -> None:
    """Hold a module's tensors as `how` changes them while it computes.

    Vectors outside the layers stay so: a model may cast what a norm reads to the norm's precision, before it calls it.
    """
    held: list[tuple[Tensor, Tensor]] = []
    change, forget = how

    def begin(*_: object) -> None:
        for tensor in (*module.parameters(recurse), *module.buffers(recurse)):
            if tensor.numel() and (changed := change(tensor)) is not None:
                held.append((tensor, tensor.data))
                tensor.data = changed

    def restore(*_: object) -> None:
        while held:
            tensor, own = held.pop()
            forget(tensor.data)
            tensor.data = own

    handles.callback(restore)
    if not recurse and all(tensor.ndim < 2 for tensor in module.parameters(recurse=False)):
        begin()
        return
    handles.callback(module.register_forward_pre_hook(begin).remove)
    handles.callback(module.register_forward_hook(restore, always_call=True).remove)
