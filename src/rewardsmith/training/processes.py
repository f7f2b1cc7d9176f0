"""Several processes train as one: every optimizer step holds the groups that one process would give it.

A step is a number of batches of the single process, whatever the number of processes. Each process computes a share of
the step's groups, balanced by distinct tokens, so a run can go on with another number of processes.
"""

from __future__ import annotations

import atexit
import heapq
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.data_loader import SeedableRandomSampler
from accelerate.utils import DistributedType
from datasets import Dataset as EncodedGroups
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import BatchSampler, Dataset, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import is_deepspeed_zero3_enabled

from rewardsmith.errors import ConfigError
from rewardsmith.models.shared_prefix.forward import core_model, reward_head
from rewardsmith.models.shared_prefix.plan import ForwardPlan, prepare_model
from rewardsmith.models.zero3 import gathered, sharded
from rewardsmith.training.checkpoints import batches_per_step
from rewardsmith.training.collator import LengthSampler, TokenBatchSampler
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.encoding import COLUMNS

if TYPE_CHECKING:
    from rewardsmith.training.trainer import RewardTrainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """Which part of every step a process computes.

    Args:
        batches_per_step: batches of the single process that make one optimizer step.
        num_processes: how many processes share a step.
        rank: the number of this one, from 0.
    """

    batches_per_step: int
    num_processes: int
    rank: int

    @property
    def batches(self) -> int:
        """How many micro-batches of a whole step each process computes."""
        return math.ceil(self.batches_per_step / self.num_processes)


class StepSampler(Sampler[list[int]]):
    """Return this process's micro-batches: every group once an epoch, equally many micro-batches on every process.

    A micro-batch for which no group is left holds one filler, `~index` of a group whose comparisons do not count: all
    processes have to take part in every forward and backward pass.

    Args:
        batches: the batches of the single process, in order; it may have `set_epoch`.
        costs: distinct tokens of every group.
        share: what this process computes of a step.
    """

    def __init__(self, batches: TokenBatchSampler | BatchSampler, costs: Sequence[int], share: Share) -> None:
        self.batches, self.costs, self.share = batches, costs, share

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the batches; the trainer calls it."""
        holder = self.batches if isinstance(self.batches, TokenBatchSampler) else self.batches.sampler
        if isinstance(holder, TokenBatchSampler | LengthSampler | SeedableRandomSampler):
            holder.set_epoch(epoch)

    def __len__(self) -> int:
        steps, rest = divmod(len(self.batches), self.share.batches_per_step)
        return steps * self.share.batches + math.ceil(rest / self.share.num_processes)

    def __iter__(self) -> Iterator[list[int]]:
        step: list[list[int]] = []
        for batch in self.batches:
            step.append(batch)
            if len(step) == self.share.batches_per_step:
                yield from own_batches(step, self.costs, self.share)
                step = []
        if step:
            yield from own_batches(step, self.costs, self.share)


def own_batches(step: Sequence[Sequence[int]], costs: Sequence[int], share: Share) -> Iterator[list[int]]:
    """Yield a process's micro-batches of one step; those that run at a time on all processes are alike in size."""
    size = share.num_processes
    rounds = math.ceil(len(step) / size)
    dealt = deal(step, costs, rounds * size)
    for number in range(rounds):
        row = dealt[number * size : (number + 1) * size]
        # Back and forth, so that the first process is not the busiest in every round.
        yield row[share.rank if number % 2 == 0 else size - 1 - share.rank]


def deal(step: Sequence[Sequence[int]], costs: Sequence[int], size: int) -> list[list[int]]:
    """Deal the groups of a step into `size` batches of like cost, the largest first.

    The longest group goes to the emptiest batch (Graham 1969: at most 4/3 of the best). No batch grows beyond the
    largest of `step`, which the memory was chosen for.
    """
    groups = [index for batch in step for index in batch]
    dealt: list[list[int]] = [[] for _ in range(size)]
    loads = [(0, number) for number in range(size)]
    for index in sorted(groups, key=lambda index: (-costs[index], index)):
        load, number = heapq.heappop(loads)
        dealt[number].append(index)
        heapq.heappush(loads, (load + costs[index], number))

    def load_of(batch: Sequence[int]) -> int:
        return sum(costs[index] for index in batch)

    if max(map(load_of, dealt)) > max(map(load_of, step)):
        dealt = [list(batch) for batch in step] + [[] for _ in range(size - len(step))]
    filler = ~min(groups, key=lambda index: (costs[index], index))
    return [batch or [filler] for batch in sorted(dealt, key=load_of, reverse=True)]


class WithFillers(Dataset):
    """Encoded groups by index; `~index` is the same group without its labels."""

    def __init__(self, groups: EncodedGroups) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index >= 0:
            return dict(self.groups[index])
        return without_labels(self.groups[~index])


def without_labels(group: dict[str, Any]) -> dict[str, Any]:
    """Return a filler: computed like the others, with nothing judged. The label -1 of a step is none."""
    if "label" in group:
        return {**group, "label": [-1.0] * len(group["label"])}
    blank = {"ratings": [[math.nan] * len(row) for row in group["ratings"]]} if "ratings" in group else {}
    return {**group, **{name: [] for name in COLUMNS}, **blank}


def plan_model(model: torch.nn.Module, args: RewardConfig) -> ForwardPlan:
    """Decide how a model's prefixes are shared in a run.

    NEFTune draws noise for every row, the wider the shorter its batch, so rows are what it gets. Where weights are
    sharded, every process has to call the model equally often, whatever its groups are: packed, or in rows of one
    chunk.

    Raises:
        ConfigError: sharing was asked for and cannot be exact, or is not possible in one call; rows, of which the
            attention that was asked for has no gradient here.
    """
    share = {"auto": None, "on": True, "off": False}[args.share_prefix]
    noise = "neftune_noise_alpha draws noise for every row" if args.neftune_noise_alpha else ""
    if share and noise:
        raise ConfigError(f"prefixes cannot be shared exactly: {noise}; leave share_prefix on 'auto'")
    plan = prepare_model(model, False if noise else share, trains=True)
    if noise:
        plan = replace(plan, reason=noise)
    attention, is_trained = core_model(model).config._attn_implementation, not args.freeze_backbone
    if attention == "flex_attention" and args.device.type == "cpu" and is_trained:
        raise ConfigError(
            "attn_implementation='flex_attention' has no gradient on a CPU, and rows that share no prefix would need "
            "one: leave it out, or take 'sdpa'"
        )
    if not args.fsdp and not is_deepspeed_zero3_enabled():
        return plan
    if plan.way != "forked":
        return replace(plan, forks=False, in_chunks=False)
    reason = "over a forked cache processes would call a sharded model more or less often"
    if args.share_prefix == "on":
        raise ConfigError(f"{reason} ({plan.reason}); leave share_prefix on 'auto', or fsdp and ZeRO-3 out")
    return replace(plan, way="rows", reason=f"{plan.reason}; {reason}", in_chunks=False)


def keep_steps(trainer: RewardTrainer, checkpoint: str) -> None:
    """Go on with the steps that the run of a checkpoint began with, whatever the number of processes is now."""
    args = trainer.args
    trainer.batches_per_step = batches_per_step(checkpoint) or trainer.batches_per_step
    share = Share(trainer.batches_per_step, args.world_size, args.process_index)
    if share.batches != args.gradient_accumulation_steps:
        text = "%s was begun with %d batches a step: gradient_accumulation_steps is %d for %d processes"
        logger.warning(text, checkpoint, share.batches_per_step, share.batches, args.world_size)
        args.gradient_accumulation_steps = share.batches


def train_threshold(trainer: RewardTrainer, optimizer: torch.optim.Optimizer) -> None:
    """Train the threshold of a tie model with the weights; its gradient is averaged over the processes here.

    FSDP lets an optimizer hold weights of the model alone, so the threshold has one of its own there, of the same kind
    and learning rate.

    Raises:
        ConfigError: DeepSpeed, which steps in parts of its own.
    """
    step_loss, accelerator = trainer.step_loss, trainer.accelerator
    parameter = step_loss.threshold
    if parameter is None or step_loss.optimizer is not None:
        return
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise ConfigError(
            "a learned threshold of ties cannot be trained under DeepSpeed, whose optimizer takes parameters of the "
            "model only; use DDP or FSDP2 (leave deepspeed out), or another loss_type"
        )

    def reduce(*_: object) -> None:
        # Every process takes part, one whose groups gave no gradient too.
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = accelerator.reduce(gradient, reduction="mean")

    if accelerator.distributed_type != DistributedType.FSDP:
        if step_loss.join(optimizer) and accelerator.num_processes > 1:
            optimizer.register_step_pre_hook(reduce)
        return
    kind, options = trainer.get_optimizer_cls_and_kwargs(trainer.args)
    step_loss.optimizer = kind([parameter], **{**options, "weight_decay": 0.0})
    trainer.add_callback(StepThreshold(step_loss.optimizer, reduce))


class StepThreshold(TrainerCallback):
    """Step the threshold's own optimizer with that of the model, after its gradient was averaged."""

    def __init__(self, own: torch.optim.Optimizer, reduce: Callable[[], None]) -> None:
        self.own, self.reduce = own, reduce

    # A hook of the optimizer would not do: loading its state under FSDP steps it once.
    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Take a step at the learning rate of the model's."""
        optimizer = kwargs["optimizer"]
        assert isinstance(optimizer, torch.optim.Optimizer)
        self.reduce()
        self.own.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"]
        self.own.step()


@contextmanager
def whole_root(model: torch.nn.Module) -> Iterator[None]:
    """Hold what FSDP gathers at an adapter's own forward, the head too, while the model inside it is called.

    ZeRO-3 gathers module by module, but the head's weight is read without calling the head.
    """
    with gathered(sharded(reward_head(core_model(model)))):
        yield from _unsharded(model)


def _unsharded(model: torch.nn.Module) -> Iterator[None]:
    if not isinstance(model, FSDPModule) or core_model(model) is model:
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


@contextmanager
def whole_weights(accelerator: Accelerator) -> Iterator[None]:
    """Save whole weights in a block, also where checkpoints are sharded: Trainer would write no model at all."""
    if shards_weights(accelerator) and accelerator.distributed_type == DistributedType.DEEPSPEED:
        zero = accelerator.deepspeed_engine_wrapped.engine._config.zero_config
        before, zero.gather_16bit_weights_on_model_save = zero.gather_16bit_weights_on_model_save, True
        try:
            yield
        finally:
            zero.gather_16bit_weights_on_model_save = before
        return
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if accelerator.distributed_type != DistributedType.FSDP or plugin is None:
        yield
        return
    before = plugin.state_dict_type
    plugin.set_state_dict_type("FULL_STATE_DICT")
    try:
        yield
    finally:
        plugin.set_state_dict_type(before)


def shards_weights(accelerator: Accelerator) -> bool:
    """Whether every process holds a part of the weights, so that all have to take part in a forward."""
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    is_zero3 = plugin is not None and plugin.zero_stage == 3
    return accelerator.distributed_type == DistributedType.FSDP or is_zero3


def close_at_exit(accelerator: Accelerator) -> None:
    """End the group of processes before the interpreter ends."""
    if accelerator.num_processes > 1:
        atexit.register(close_processes)


def close_processes(timeout_seconds: float = 5.0) -> None:
    """End the group of processes, and wait until gloo's threads rest.

    What still refers to the group (meshes of FSDP, parameters of ZeRO-3) keeps its threads alive. One that lets go of a
    tensor asks for the GIL; Python before 3.14 ends such a thread once the interpreter ends, which C++ answers with
    SIGABRT ("terminate called without an active exception").
    """
    PartialState().destroy_process_group()
    until, before = time.monotonic() + timeout_seconds, None
    while (now := gloo_threads()) and time.monotonic() < until:
        if now == before and all("(sleeping)" in seen for seen in now.values()):
            return
        before = now
        time.sleep(0.02)


def gloo_threads() -> dict[str, str]:
    """Return what the kernel says of each of gloo's threads: its state and switches. Empty where there is no /proc."""
    found = {}
    for task in Path("/proc/self/task").glob("*/status"):
        with suppress(OSError):
            lines = task.read_text().splitlines()
            if lines[0].endswith("pt_gloo_runloop"):
                found[task.parent.name] = " ".join(line for line in lines if line.startswith(("State", "voluntary")))
    return found


def require_processes(args: RewardConfig, accelerator: Accelerator) -> None:
    """Refuse settings under which processes would train copies of their own, or other than what was asked for.

    Raises:
        ConfigError: several processes were started and each would train alone; FSDP would be DDP.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        raise ConfigError(
            f"{started} processes were started (WORLD_SIZE), but each would train a copy of its own; set use_cpu=True "
            "where there is no GPU, and create nothing of accelerate's before the trainer"
        )
    if args.fsdp and accelerator.distributed_type != DistributedType.FSDP:
        raise ConfigError(
            f"fsdp is set, but accelerate would train without it ({accelerator.distributed_type.value}): FSDP needs "
            "several processes on GPUs; leave fsdp out for DDP, or start one process a GPU with --nproc"
        )
