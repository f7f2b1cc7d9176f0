"""From encoded groups, or the padded pairs of TRL's collator, to one micro-batch; which groups share a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from rewardsmith.errors import DataError
from rewardsmith.models.shared_prefix.packing import RewardBatch, RowChunk, fill_batches
from rewardsmith.models.shared_prefix.plan import ForwardPlan
from rewardsmith.models.wide_head import bootstrap_draws
from rewardsmith.objectives.comparisons import Comparisons, make_comparisons
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.encoding import COLUMNS
from rewardsmith.training.rated import is_rated


@dataclass(frozen=True)
class PreferenceCollator:
    """Collate encoded groups into `{"batch": RewardBatch, "comparisons": Comparisons}`.

    Rows of TRL's tokenised form (`chosen_ids`, `rejected_ids`, `margin`) are taken too.

    Args:
        plan: how the model computes rewards.
        tokens_per_chunk: padded tokens of one forward where prefixes are not shared.
        num_heads: of an ensemble; `draws` then say how often each head draws each group, [G, H].
        seed: of the draws.
    """

    plan: ForwardPlan
    tokens_per_chunk: int | None = None
    num_heads: int = 1
    seed: int = 0

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch = self.plan.batch([example["ids"] for example in examples], self.tokens_per_chunk)
        return {
            **self.draws(examples),
            **collate_labels(examples),
            "batch": replace(batch, logical_tokens=sum(map(tokens_of_pairs, examples))),
        }

    def draws(self, examples: Iterable[dict[str, Any]]) -> dict[str, Tensor]:
        """Return how often each head draws each group, [G, H]; nothing for a single head."""
        if self.num_heads == 1:
            return {}
        return {"draws": torch.tensor([bootstrap_draws(e["ids"], self.num_heads, self.seed) for e in examples])}


def collator_for(plan: ForwardPlan, args: RewardConfig) -> PreferenceCollator:
    """Return the collator of a run."""
    return PreferenceCollator(plan, args.tokens_per_batch, args.ensemble, args.order_seed)


def tokens_of_pairs(example: dict[str, Any]) -> int:
    """Return how many tokens a trainer of pair rows would feed for this group: both sides of every comparison.

    Of a group that compares nothing and rates its answers, every answer once; of one without labels, a filler, none.
    """
    lengths = [len(ids) for ids in example["ids"]]
    if not example["better"] and is_rated(example.get("ratings", ())):
        return sum(lengths)
    return sum(lengths[index] for side in ("better", "worse") for index in example[side])


def collate_labels(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what a batch is to learn: its comparisons and, where ratings are learned, these, [B, A], NaN for none."""
    labels: dict[str, Any] = {"comparisons": collate_comparisons(examples)}
    if examples and "ratings" in examples[0]:
        rows = [row for example in examples for row in example["ratings"]]
        labels["ratings"] = torch.tensor(rows, dtype=torch.float32)
    return labels


def collate_comparisons(examples: Sequence[dict[str, Any]]) -> Comparisons:
    """Number the sequences of a batch through and gather its comparisons."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    group: list[int] = []
    offset = 0
    for number, example in enumerate(examples):
        for name in COLUMNS:
            # Places in a group become places in the batch.
            shift = offset if name in ("better", "worse") else None
            columns[name] += example[name] if shift is None else [index + shift for index in example[name]]
        group += [number] * len(example["better"])
        offset += len(example["ids"])
    return make_comparisons(**columns, group=group, num_groups=len(examples))


def read_batch(inputs: Mapping[str, Any], device: torch.device) -> tuple[RewardBatch, Comparisons]:
    """Return what our collator made, or another of TRL's form, on the device."""
    if "batch" in inputs:
        return inputs["batch"].to(device), inputs["comparisons"].to(device)
    return read_padded_pairs(inputs)


def read_padded_pairs(inputs: Mapping[str, Any]) -> tuple[RewardBatch, Comparisons]:
    """Read `input_ids`, `attention_mask` ([2 P, L], right-padded) and an optional `margin` [P]."""
    if "input_ids" not in inputs or "attention_mask" not in inputs:
        raise DataError(
            f"the data collator gave {sorted(inputs)}; it must give input_ids and attention_mask, or leave "
            "data_collator unset"
        )
    input_ids, attention_mask = inputs["input_ids"], inputs["attention_mask"]
    size = len(input_ids) // 2
    tokens = int(attention_mask.sum())
    # The last token of a right-padded row stands where its mask ends.
    chunk = RowChunk(input_ids, attention_mask, attention_mask.sum(dim=1) - 1)
    index = torch.arange(2 * size, device=input_ids.device)
    batch = RewardBatch((chunk,), index, tokens, tokens)
    return batch, pair_comparisons(size, inputs.get("margin"), input_ids.device)


def pair_comparisons(size: int, margin_P: Tensor | None, device: torch.device) -> Comparisons:
    """Return the comparisons "row i over row size + i"."""
    pairs = make_comparisons(range(size), range(size, 2 * size)).to(device)
    return pairs if margin_P is None else replace(pairs, margin_P=margin_P.float())


class TokenBatchSampler(Sampler[list[int]]):
    """Return batches of groups filled by token budget; every group once an epoch.

    Which groups share a batch is decided once, from the seed; the order of the batches is shuffled anew each epoch.
    So every epoch has the same number of steps, and a resumed run sees exactly the batches it would have seen.
    """

    def __init__(self, costs: Sequence[int], tokens_per_batch: int, seed: int, shuffle: bool = True) -> None:
        self.seed, self.shuffle, self.epoch = seed, shuffle, 0
        order = list(range(len(costs)))
        if shuffle:
            order = torch.randperm(len(costs), generator=_generator(seed)).tolist()
        filled = fill_batches([costs[i] for i in order], tokens_per_batch)
        self.batches = [[order[i] for i in batch] for batch in filled]

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the batches; the trainer calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(range(len(self.batches)))
        if self.shuffle:
            # Another draw than the one that filled the batches, in the first epoch too.
            order = torch.randperm(len(order), generator=_generator(self.seed + 1 + self.epoch)).tolist()
        return iter([self.batches[i] for i in order])


class LengthSampler(Sampler[int]):
    """Return every row once an epoch, rows of like length side by side; the epoch and the seed decide the order."""

    def __init__(self, lengths: Sequence[int], rows_per_step: int, seed: int) -> None:
        self.lengths, self.rows_per_step, self.seed, self.epoch = list(lengths), rows_per_step, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; the trainer calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = _generator(self.seed + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.rows_per_step, generator=generator))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def whole_dataloader(
    dataset: Dataset,
    collate: Callable[..., Any],
    device: torch.device,
    **filled: Any,
) -> DataLoader:
    """Return batches of all rows on every process, in their order.

    Shards of equal length would repeat rows, and each process would report the metrics of its own.

    Args:
        filled: `batch_size`, or `costs` of the rows in tokens and the `budget` of a batch.
    """
    options = dict(filled)
    if "costs" in options:
        options = {"batch_sampler": TokenBatchSampler(options["costs"], options["budget"], 0, shuffle=False)}
    loader = DataLoader(dataset, collate_fn=collate, **options)
    prepared = prepare_data_loader(loader, device, num_processes=1, process_index=0, put_on_device=True)
    prepared.is_whole = True
    return prepared
