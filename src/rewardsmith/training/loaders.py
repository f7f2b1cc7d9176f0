"""Which loader gives the batches of a run: of rows or by tokens, of one process or several, of a stream.

Every process reads the whole stream, shuffled in a buffer, and computes its share of every step, so a step is the same
whatever the number of processes, nothing is seen twice, and a run goes on with another number of them.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate.data_loader import SeedableRandomSampler, prepare_data_loader
from datasets import Dataset, Features
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler
from transformers import TrainerCallback, TrainerState

from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.files.writing import write_json
from rewardsmith.training.collator import LengthSampler, TokenBatchSampler, tokens_of_pairs, whole_dataloader
from rewardsmith.training.config import AUTO_BATCH
from rewardsmith.training.encoding import FEATURES, RATINGS, token_costs
from rewardsmith.training.processes import Share, StepSampler, WithFillers, own_batches, without_labels
from rewardsmith.training.streams import EncodedStream

if TYPE_CHECKING:
    from rewardsmith.training.trainer import RewardTrainer


def length_sampler(trainer: RewardTrainer, dataset: object) -> LengthSampler | None:
    """Return the sampler that puts rows of like length into one step; None for a stream."""
    args = trainer.args
    if not isinstance(dataset, Dataset):
        return None
    rows_per_step = args.train_batch_size * trainer.batches_per_step
    return LengthSampler(token_costs(dataset, trainer.plan.cost), rows_per_step, args.order_seed)


def train_loader(trainer: RewardTrainer) -> DataLoader:
    """Return this process's batches, where those of transformers are not right: a stream, a budget, several processes.

    Raises:
        ConfigError: a shuffle buffer for rows that are at hand; batches whose size is to be found, of those.
    """
    dataset, args = trainer.train_dataset, trainer.args
    if args.auto_find_batch_size:
        raise ConfigError(f"{AUTO_BATCH} a stream and several processes do not read; set the size yourself")
    if isinstance(dataset, EncodedStream):
        trainer.stream = _train_stream(trainer)
        return _stream_loader(trainer.stream, trainer.data_collator)
    if args.shuffle_buffer:
        raise ConfigError("shuffle_buffer is for streams; rows at hand are shuffled as a whole: leave it out")
    return _shared_loader(trainer) if args.world_size > 1 else _token_loader(trainer, dataset, shuffle=True)


def last_step(trainer: RewardTrainer) -> int:
    """Return the step with which the run of a trainer ends, those before a checkpoint included."""
    steps: int = trainer.args.max_steps
    return steps if steps > 0 else trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1]


def eval_loader(trainer: RewardTrainer, dataset: object) -> DataLoader | None:
    """Return all rows on every process, filled by tokens where training is; None where transformers' own is right."""
    args = trainer.args
    if isinstance(dataset, EncodedStream):
        filling = Filling(trainer.plan.cost, args.tokens_per_batch, args.eval_batch_size)
        # The counts are those of one evaluation.
        dataset.report.clear()
        if args.batch_eval_metrics and trainer.compute_metrics is not None:
            raise ConfigError(
                "batch_eval_metrics has compute_metrics told which batch is the last, and a stream does not know: "
                "leave it out"
            )
        loader = _stream_loader(StreamBatches(dataset, filling, Share(1, 1, 0)), trainer.data_collator)
        loader.is_whole = True
        return loader
    if not isinstance(dataset, Dataset):
        return None
    # transformers would leave the last rows out with dataloader_drop_last, which is for training.
    if args.world_size > 1 or args.dataloader_drop_last:
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


logger = logging.getLogger(__name__)

# What a checkpoint holds of a stream: where reading goes on, and the groups that were read and not yet trained on.
PLACE, GROUPS = "stream.json", "stream_groups.parquet"
Group = dict[str, Any]


@dataclass(frozen=True)
class Filling:
    """How batches are filled.

    Args:
        cost: distinct tokens of a group's sequences.
        tokens: budget of a batch in distinct tokens; None fills by rows.
        rows: groups of a batch where there is no budget.
        drop_last: leave out a last batch of fewer rows.
        buffer: how many groups the next one is drawn from; 0 keeps the order of the stream.
        seed: of the draws.
    """

    cost: Callable[[Sequence[Sequence[int]]], int]
    tokens: int | None
    rows: int
    drop_last: bool = False
    buffer: int = 0
    seed: int = 0


@dataclass
class Position:
    """Where training stands in a stream.

    Args:
        epoch: how often the stream was read to its end.
        steps: optimizer steps of this epoch.
        drawn: draws from the buffer in this epoch.
        place: of the stream's own.
        buffer: groups that wait to be drawn.
        waiting: the group that did not fit into the last batch, if there is one.
    """

    epoch: int = 0
    steps: int = 0
    drawn: int = 0
    place: dict[str, Any] = field(default_factory=dict)
    buffer: list[Group] = field(default_factory=list)
    waiting: list[Group] = field(default_factory=list)


class StreamBatches(IterableDataset[list[Group]]):
    """This process's micro-batches of a stream; every epoch goes on where the last one ended.

    The position is exact whenever all micro-batches of a step have been taken.

    Args:
        stream: encoded groups.
        filling: how batches are filled.
        share: what this process computes of a step.
    """

    def __init__(self, stream: EncodedStream, filling: Filling, share: Share) -> None:
        self.stream, self.filling, self.share = stream, filling, share
        self.position = Position()
        # Of the steps since the run began or went on, over all processes.
        self.comparisons = self.distinct_tokens = self.logical_tokens = 0

    def __iter__(self) -> Iterator[list[Group]]:
        ended = False
        while not ended:
            position = self.position
            groups = self._drawn(self.stream.read(position.place, position.epoch))
            while step := self._step(groups):
                position.steps, ended = position.steps + 1, True
                yield from self._own(step)
            if not position.steps:
                return
            # A checkpoint may stand at the very end; Trainer takes an epoch without a batch for the end of all.
            self.position = Position(epoch=position.epoch + 1)

    def _step(self, groups: Iterator[Group]) -> list[list[Group]]:
        batches: list[list[Group]] = []
        while len(batches) < self.share.batches_per_step and (batch := self._batch(groups)):
            batches.append(batch)
        return batches

    def _batch(self, groups: Iterator[Group]) -> list[Group]:
        """Return the next groups that fit the budget, one at least."""
        filling, waiting = self.filling, self.position.waiting
        if filling.tokens is None:
            batch = list(islice(groups, filling.rows))
            return [] if filling.drop_last and len(batch) < filling.rows else batch
        batch, room = [], filling.tokens
        while (group := waiting.pop() if waiting else next(groups, None)) is not None:
            cost = filling.cost(group["ids"])
            if batch and cost > room:
                waiting.append(group)
                break
            batch.append(group)
            room -= cost
        return batch

    def _own(self, step: list[list[Group]]) -> Iterator[list[Group]]:
        """Yield this process's micro-batches of a step, all of them also where the stream ends within it."""
        groups = [group for batch in step for group in batch]
        costs = [self.filling.cost(group["ids"]) for group in groups]
        self.comparisons += sum(len(group["better"]) for group in groups)
        self.distinct_tokens += sum(costs)
        self.logical_tokens += sum(map(tokens_of_pairs, groups))
        numbers = iter(range(len(groups)))
        dealt = [list(islice(numbers, len(batch))) for batch in step]
        if self.share.num_processes > 1:
            dealt = list(own_batches(dealt, costs, self.share))
        smallest = ~min(range(len(groups)), key=lambda index: (costs[index], index))
        for batch in dealt + [[smallest]] * (self.share.batches - len(dealt)):
            yield [groups[index] if index >= 0 else without_labels(groups[~index]) for index in batch]

    def _drawn(self, groups: Iterator[Group]) -> Iterator[Group]:
        """Yield groups in an order that the seed draws: each from a buffer, in whose place the next one comes."""
        position, size = self.position, self.filling.buffer
        if not size:
            yield from groups
            return
        for group in groups:
            if len(position.buffer) < size:
                position.buffer.append(group)
                continue
            index = self._draw()
            drawn, position.buffer[index] = position.buffer[index], group
            yield drawn
        while position.buffer:
            index = self._draw()
            position.buffer[index], position.buffer[-1] = position.buffer[-1], position.buffer[index]
            yield position.buffer.pop()

    def _draw(self) -> int:
        position = self.position
        position.drawn += 1
        # A count instead of a generator's state: it stands in a checkpoint as one number.
        draw = random.Random(f"{self.filling.seed} {position.epoch} {position.drawn}")
        return draw.randrange(len(position.buffer))

    def save(self, folder: Path) -> None:
        """Write the position into a checkpoint."""
        position = {**vars(self.position), "place": self.stream.rows.tell(), "report": vars(self.stream.report)}
        if not self.position.steps:
            position["place"] = {}
        groups = [*position.pop("buffer"), *position.pop("waiting")]
        write_json(folder / PLACE, position | {"waiting": len(self.position.waiting)})
        if groups:
            features = {**FEATURES, **(RATINGS if "ratings" in groups[0] else {})}
            pq.write_table(pa.Table.from_pylist(groups, schema=Features(features).arrow_schema), folder / GROUPS)

    def load(self, folder: Path) -> None:
        """Take a position up. Raises CheckpointError where the checkpoint does not say it."""
        path = folder / PLACE
        if not path.is_file():
            raise CheckpointError(
                f"{folder} does not say where its stream was ({PLACE} is missing): set ignore_data_skip=True to read "
                "the stream from its beginning, or start a new run"
            )
        saved = json.loads(path.read_text(encoding="utf-8"))
        groups = pq.read_table(folder / GROUPS).to_pylist() if (folder / GROUPS).is_file() else []
        report, waiting = saved.pop("report"), saved.pop("waiting")
        kept = len(groups) - waiting
        self.position = Position(**saved, buffer=groups[:kept], waiting=groups[kept:])
        for name, value in report.items():
            held = getattr(self.stream.report, name)
            held.update(value) if isinstance(held, dict) else setattr(self.stream.report, name, value)


class FollowStream(TrainerCallback):
    """Count epochs by the stream, and say at the end what became of its rows."""

    def __init__(self, batches: StreamBatches) -> None:
        self.batches = batches

    def on_step_end(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        """Say how often the stream was read, and how far the run is since."""
        position = self.batches.position
        state.epoch = position.epoch + position.steps / max(1, state.max_steps)

    def on_train_end(self, args: object, state: TrainerState, control: object, **kwargs: object) -> None:
        """Log the counts."""
        report = self.batches.stream.report
        logger.log(logging.WARNING if report.dropped else logging.INFO, "%s: %s", self.batches.stream.name, report)
