"""Which loader gives the batches of a run: of rows or by tokens, of one process or several, of a stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.data_loader import SeedableRandomSampler, prepare_data_loader
from datasets import Dataset
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from rewardsmith.errors import ConfigError
from rewardsmith.training.collator import TokenBatchSampler, whole_dataloader
from rewardsmith.training.encoding import token_costs
from rewardsmith.training.processes import Share, StepSampler, WithFillers
from rewardsmith.training.stream_batches import Filling, FollowStream, StreamBatches
from rewardsmith.training.streams import EncodedStream

if TYPE_CHECKING:
    from rewardsmith.training.trainer import RewardTrainer


def train_loader(trainer: RewardTrainer) -> DataLoader:
    """Return this process's batches, where those of transformers are not right: a stream, a budget, several processes.

    Raises:
        ConfigError: a shuffle buffer for rows that are at hand.
    """
    dataset, args = trainer.train_dataset, trainer.args
    if isinstance(dataset, EncodedStream):
        trainer.stream = _train_stream(trainer)
        return _stream_loader(trainer.stream, trainer.data_collator)
    if args.shuffle_buffer:
        raise ConfigError("shuffle_buffer is for streams; rows at hand are shuffled as a whole: leave it out")
    return _shared_loader(trainer) if args.world_size > 1 else _token_loader(trainer, dataset, shuffle=True)


def eval_loader(trainer: RewardTrainer, dataset: object) -> DataLoader | None:
    """Return all rows on every process, filled by tokens where training is; None where transformers' own is right."""
    args = trainer.args
    whole = args.world_size == 1 or trainer.compute_metrics is None
    if isinstance(dataset, EncodedStream) and whole:
        filling = Filling(trainer.plan.cost, args.tokens_per_batch, args.eval_batch_size)
        # The counts are those of one evaluation.
        dataset.report.clear()
        return _stream_loader(StreamBatches(dataset, filling, Share(1, 1, 0)), trainer.data_collator)
    if not isinstance(dataset, Dataset):
        return None
    if args.world_size > 1 and whole:
        filled: dict[str, Any] = {"batch_size": args.eval_batch_size}
        if args.tokens_per_batch is not None:
            filled = {"costs": token_costs(dataset, trainer.plan.cost), "budget": args.tokens_per_batch}
        return whole_dataloader(dataset, trainer.data_collator, trainer.accelerator.device, **filled)
    return None if args.tokens_per_batch is None else _token_loader(trainer, dataset, shuffle=False)


def _token_loader(trainer: RewardTrainer, dataset: Dataset, shuffle: bool) -> DataLoader:
    args = trainer.args
    assert args.tokens_per_batch is not None
    costs = token_costs(dataset, trainer.plan.cost)
    batches = TokenBatchSampler(costs, args.tokens_per_batch, args.order_seed, shuffle)
    workers = args.dataloader_num_workers
    loader = DataLoader(dataset, batch_sampler=batches, collate_fn=trainer.data_collator, num_workers=workers)
    prepared: DataLoader = trainer.accelerator.prepare(loader)
    return prepared


def _shared_loader(trainer: RewardTrainer) -> DataLoader:
    """Return this process's share of the batches that one process would train on."""
    args, dataset = trainer.args, trainer.train_dataset
    costs = token_costs(dataset, trainer.plan.cost)
    if args.tokens_per_batch is not None:
        batches: TokenBatchSampler | BatchSampler = TokenBatchSampler(costs, args.tokens_per_batch, args.order_seed)
    else:
        sampler = trainer._get_train_sampler(dataset)
        if isinstance(sampler, RandomSampler):
            # The order that accelerate gives one process.
            sampler = SeedableRandomSampler(dataset, data_seed=args.order_seed)
        batches = BatchSampler(sampler, args.per_device_train_batch_size, args.dataloader_drop_last)
    share = Share(trainer.batches_per_step, args.world_size, args.process_index)
    loader = DataLoader(
        WithFillers(dataset), batch_sampler=StepSampler(batches, costs, share), collate_fn=trainer.data_collator
    )
    # What it reads is this process's share already, so nothing is sharded again.
    device = trainer.accelerator.device
    return prepare_data_loader(loader, device, num_processes=1, process_index=0, put_on_device=True)


def _train_stream(trainer: RewardTrainer) -> StreamBatches:
    """Return the batches of a stream, from the place of the checkpoint on that a run is resumed from."""
    args = trainer.args
    filling = Filling(
        trainer.plan.cost,
        args.tokens_per_batch,
        args.per_device_train_batch_size,
        args.dataloader_drop_last,
        args.shuffle_buffer,
        args.order_seed,
    )
    share = Share(trainer.batches_per_step, args.world_size, args.process_index)
    batches = StreamBatches(trainer.train_dataset, filling, share)
    if trainer.resumed_from is not None and not args.ignore_data_skip:
        batches.load(Path(trainer.resumed_from))
    trainer.remove_callback(FollowStream)
    trainer.add_callback(FollowStream(batches))
    return batches


def _stream_loader(batches: StreamBatches, collate: Callable[..., Any]) -> DataLoader:
    """Return the loader of batches; it reads nothing ahead, so that the position is that of the step."""
    # A generator of its own: drawing from torch's would change what dropout draws after a resume.
    return DataLoader(batches, batch_size=None, collate_fn=collate, generator=torch.Generator())
