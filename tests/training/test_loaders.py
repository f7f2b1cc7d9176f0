"""Rows at hand, streams and batches by tokens each have the loader that keeps their promises."""

import tiny_models
from datasets import Dataset
from small_runs import trainer_for

from rewardsmith.training.collator import TokenBatchSampler
from rewardsmith.training.loaders import eval_loader, train_loader
from rewardsmith.training.stream_batches import StreamBatches
from rewardsmith.training.streams import EncodedStream


def test_rows_without_a_budget_are_left_to_transformers(tmp_path):
    trainer = trainer_for(tmp_path, tiny_models.pairs(8), eval_rows=Dataset.from_list(tiny_models.pairs(4)))
    assert not isinstance(trainer.get_train_dataloader().batch_sampler, TokenBatchSampler)
    assert eval_loader(trainer, trainer.eval_dataset) is None


def test_a_budget_fills_batches_by_tokens_and_evaluates_in_order(tmp_path):
    rows = tiny_models.pairs(8)
    trainer = trainer_for(tmp_path, rows, eval_rows=Dataset.from_list(rows), tokens_per_batch=40)
    assert isinstance(train_loader(trainer).batch_sampler, TokenBatchSampler)
    order = [index for batch in eval_loader(trainer, trainer.eval_dataset).batch_sampler for index in batch]
    assert order == list(range(8))


def test_a_stream_is_read_by_batches_that_know_their_place(tmp_path):
    rows = Dataset.from_list(tiny_models.pairs(8)).to_iterable_dataset()
    trainer = trainer_for(tmp_path, rows, max_steps=2)
    assert isinstance(trainer.train_dataset, EncodedStream)
    loader = train_loader(trainer)
    assert isinstance(loader.dataset, StreamBatches)
    assert loader.dataset is trainer.stream
    assert sum(len(batch["comparisons"]) for batch in loader) == 8
