"""Weights stored in float16: what cannot compute in it is refused, and Adam steps float32 copies of them."""

from __future__ import annotations

import logging

import torch
from accelerate.utils import DistributedType
from torch import Tensor

from rewardsmith.errors import ConfigError
from rewardsmith.training.config import RewardConfig

logger = logging.getLogger(__name__)

# In the state of the optimizer, so that a checkpoint holds the copies and a resumed run goes on from them.
COPY = "float32"
# Wrappers of other kinds take the weights apart, and have a precision of their own.
WHOLE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


def require_precision(args: RewardConfig) -> None:
    """Refuse fp16 where nothing computes in it: accelerate would train in float32 without a word."""
    if args.fp16 and args.device.type == "cpu":
        raise ConfigError("fp16=True needs a GPU, and there is none here: leave it out, or take bf16=True")


def keep_copies(optimizer: object, distributed: DistributedType, args: RewardConfig) -> None:
    """Have Adam step float32 copies of the weights that are stored in float16.

    In float16 most squared gradients and Adam's epsilon are 0, so that a step divides by 0 and leaves no weight that
    is a number. A gradient scaler (`fp16=True`) refuses such weights by itself.
    """
    if not isinstance(optimizer, torch.optim.Adam) or distributed not in WHOLE or args.fp16:
        return
    pairs: list[tuple[Tensor, Tensor]] = []
    for group in optimizer.param_groups:
        for place, weight in enumerate(group["params"]):
            if weight.dtype == torch.float16:
                group["params"][place] = copy = weight.detach().float().requires_grad_()
                pairs.append((weight, copy))
    if not pairs:
        return
    logger.info("weights in float16 are trained through float32 copies, in which Adam's small numbers are not 0")

    @torch.no_grad()
    def take_gradients(*_: object) -> None:
        for weight, copy in pairs:
            copy.grad = None if weight.grad is None else weight.grad.float()
            if (saved := optimizer.state[copy].get(COPY)) is not None and saved is not copy:
                copy.copy_(saved)

    @torch.no_grad()
    def give_weights(*_: object) -> None:
        for weight, copy in pairs:
            weight.copy_(copy)
            copy.grad = None
            if state := optimizer.state[copy]:
                state[COPY] = copy

    optimizer.register_step_pre_hook(take_gradients)
    optimizer.register_step_post_hook(give_weights)
