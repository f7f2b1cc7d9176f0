"""Rows at hand, streams and batches by tokens each have the loader that keeps their promises."""

import json
from itertools import count

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models
import torch
from datasets import Dataset, IterableDataset
from small_runs import train_logs, trainer_for

from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.training.collator import TokenBatchSampler
from rewardsmith.training.encoding import EncodingReport
from rewardsmith.training.loaders import Filling, StreamBatches, eval_loader, train_loader
from rewardsmith.training.processes import Share
from rewardsmith.training.streams import DatasetStream, EncodedStream, FileStream


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


LENGTHS = [3, 9, 4, 7, 7, 2, 11, 5, 3, 8, 6, 4, 10, 2, 5, 7, 3]
MARKED = {"worse": [1], "is_tie": [False], "margin": [0.0], "weight": [1.0], "probability": [1.0]} | {
    "tie_share": [0.0]
}
ENCODED = [{"ids": [[i] * n, [i] * n], "better": [0], **MARKED} for i, n in enumerate(LENGTHS)]


def cost(sequences) -> int:
    return len(sequences[0])


def batches(share: Share, groups=ENCODED, tokens=20, **options) -> StreamBatches:
    stream = EncodedStream(DatasetStream(list(groups)), None, "train", EncodingReport())
    return StreamBatches(stream, Filling(cost, tokens, 3, **options), share)


def numbers(batch) -> list[int]:
    return [group["ids"][0][0] for group in batch if group["better"]]


ALONE = Share(1, 1, 0)


def test_batches_are_filled_in_order_up_to_the_budget():
    found = list(batches(ALONE))
    assert [n for batch in found for n in numbers(batch)] == list(range(len(ENCODED)))
    assert all(sum(cost(group["ids"]) for group in batch) <= 20 for batch in found)
    assert list(map(numbers, found))[:2] == [[0, 1, 2], [3, 4, 5]]


def test_a_group_larger_than_the_budget_stands_alone():
    assert [len(batch) for batch in batches(ALONE, tokens=1)] == [1] * len(ENCODED)


def test_batches_of_rows_keep_or_drop_the_last():
    assert [len(batch) for batch in batches(ALONE, tokens=None)] == [3] * 5 + [2]
    assert [len(batch) for batch in batches(ALONE, tokens=None, drop_last=True)] == [3] * 5


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("per_step", [1, 2, 6])
@pytest.mark.parametrize("buffer", [0, 5])
def test_every_group_is_seen_once_and_every_step_is_that_of_one_process(size, per_step, buffer):
    share = [Share(per_step, size, rank) for rank in range(size)]
    own = [list(batches(one, buffer=buffer)) for one in share]
    rounds = share[0].batches
    assert {len(found) % rounds for found in own} == {0}
    assert len({len(found) for found in own}) == 1
    one = list(batches(Share(per_step, 1, 0), buffer=buffer))
    for step in range(len(own[0]) // rounds):
        wanted = sorted(n for batch in one[per_step * step : per_step * (step + 1)] for n in numbers(batch))
        dealt = [n for found in own for batch in found[rounds * step : rounds * (step + 1)] for n in numbers(batch)]
        assert sorted(dealt) == wanted
    assert sorted(n for found in own for batch in found for n in numbers(batch)) == list(range(len(ENCODED)))


def test_a_buffer_draws_another_order_every_epoch_and_the_same_with_the_same_seed():
    def epochs(seed):
        made = batches(ALONE, buffer=6, seed=seed)
        return [[n for batch in made for n in numbers(batch)] for _ in range(2)]

    first, second = epochs(0)
    assert sorted(first) == sorted(second) == list(range(len(ENCODED)))
    assert first != second != list(range(len(ENCODED)))
    assert epochs(0) == [first, second]
    assert epochs(1)[0] != first


@pytest.mark.parametrize("buffer", [0, 4, 40])
def test_every_position_of_two_epochs_can_be_taken_up(tmp_path, buffer):
    def run(made, steps):
        found = []
        while len(found) < steps:
            for batch in made:
                found.append(numbers(batch))
                if len(found) == steps:
                    break
        return found

    whole = run(batches(ALONE, buffer=buffer), 14)
    for step in range(1, 14):
        folder = tmp_path / f"{buffer}-{step}"
        folder.mkdir()
        first = batches(ALONE, buffer=buffer)
        assert run(first, step) == whole[:step]
        first.save(folder)
        second = batches(ALONE, buffer=buffer)
        second.load(folder)
        assert run(second, 14 - step) == whole[step:], step


def test_a_checkpoint_without_a_place_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="ignore_data_skip"):
        batches(ALONE).load(tmp_path)


# Real runs


def jsonl(folder):
    path = folder / "rows.jsonl"
    # The broken line is counted as often as it is read, also by a run that was resumed.
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny_models.pairs(23)) + "{broken\n")
    return FileStream(path)


def parquet(folder):
    pq.write_table(pa.Table.from_pylist(tiny_models.pairs(23)), folder / "rows.parquet", row_group_size=5)
    return FileStream(folder / "rows.parquet")


def generator(folder):
    return IterableDataset.from_generator(lambda: iter(tiny_models.pairs(23)))


def table(folder):
    return Dataset.from_list(tiny_models.pairs(23)).to_iterable_dataset(num_shards=2)


SETTINGS = {"max_steps": 7, "save_strategy": "steps", "save_steps": 1, "logging_steps": 1}
RUNS = [
    pytest.param(jsonl, {"tokens_per_batch": 60, "shuffle_buffer": 6}, id="jsonl-tokens-buffer"),
    pytest.param(parquet, {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 3}, id="parquet-rows"),
    pytest.param(generator, {"tokens_per_batch": 60, "disable_dropout": False}, id="generator-dropout"),
    pytest.param(table, {"tokens_per_batch": 60, "shuffle_buffer": 50}, id="table-whole-buffer"),
]


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.mark.parametrize(("kind", "changes"), RUNS)
def test_a_run_goes_on_to_the_same_bits(tmp_path, kind, changes):
    whole = trainer_for(tmp_path / "run", kind(tmp_path), **SETTINGS | changes)
    whole.train()
    for step in (2, 5):
        resumed = trainer_for(tmp_path / "run", kind(tmp_path), **SETTINGS | changes, save_total_limit=None)
        resumed.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{step}"))
        assert resumed.state.global_step == 7
        for name, value in weights(whole).items():
            assert torch.equal(resumed.model.state_dict()[name], value), (step, name)
        mine, its = (
            [
                {k: v for k, v in log.items() if "runtime" not in k and "per_second" not in k}
                for log in t.state.log_history
            ]
            for t in (whole, resumed)
        )
        assert its[:-1] == mine[:-1]
        assert str(resumed.encoding_reports["train"]) == str(whole.encoding_reports["train"])


def test_other_files_or_another_buffer_are_refused_on_resume(tmp_path):
    trainer_for(tmp_path / "run", jsonl(tmp_path), **SETTINGS).train()
    folder = str(tmp_path / "run" / "checkpoint-4")
    with pytest.raises(CheckpointError, match="shuffle_buffer"):
        trainer_for(tmp_path / "run", jsonl(tmp_path), **SETTINGS, shuffle_buffer=9).train(folder)
    other = jsonl(tmp_path)
    other.path.write_text(other.path.read_text() * 2)
    with pytest.raises(CheckpointError, match="other data"):
        trainer_for(tmp_path / "run", FileStream(other.path), **SETTINGS).train(folder)


def test_a_stream_trains_as_the_same_rows_at_hand_in_their_order(tmp_path):
    rows = tiny_models.pairs(24)
    order = {"train_sampling_strategy": "sequential", "max_steps": 6}
    logs = train_logs(trainer_for(tmp_path, Dataset.from_list(rows), **order))
    streamed = train_logs(trainer_for(tmp_path, IterableDataset.from_generator(lambda: iter(rows)), **order))
    assert [log["loss"] for log in streamed] == [log["loss"] for log in logs]
    assert [log["epoch"] for log in streamed] == [pytest.approx(step / 6) for step in range(1, 7)]


def test_an_endless_stream_is_read_no_further_than_its_steps(tmp_path):
    pairs, seen = tiny_models.pairs(8), []

    def rows():
        for number in count():
            seen.append(number)
            yield pairs[number % 8]

    trainer = trainer_for(tmp_path, IterableDataset.from_generator(rows), max_steps=3)
    assert len(train_logs(trainer)) == 3
    assert len(seen) <= 13


def test_a_stream_is_evaluated_while_another_trains(tmp_path):
    rows = tiny_models.pairs(12)
    settings = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 2, "tokens_per_batch": 60}
    trainer = trainer_for(
        tmp_path, generator(tmp_path), eval_rows=IterableDataset.from_generator(lambda: iter(rows)), **settings
    )
    trainer.train()
    logs = [log for log in trainer.state.log_history if "eval_loss" in log]
    assert [log["eval_num_comparisons"] for log in logs] == [12, 12]
    assert trainer.evaluate(Dataset.from_list(rows))["eval_loss"] == pytest.approx(logs[-1]["eval_loss"], abs=1e-6)
    assert trainer.encoding_reports["eval"].rows == 12


def test_a_stream_without_a_number_of_steps_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a stream needs max_steps"):
        trainer_for(tmp_path, IterableDataset.from_generator(lambda: iter(tiny_models.pairs(4))))


def test_a_buffer_for_rows_at_hand_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is for streams"):
        trainer_for(tmp_path, tiny_models.pairs(8), shuffle_buffer=5).train()
    with pytest.raises(ConfigError, match="number of groups"):
        trainer_for(tmp_path, tiny_models.pairs(8), shuffle_buffer=-1)


def test_batches_of_a_stream_whose_size_is_to_be_found_are_refused(tmp_path):
    rows = Dataset.from_list(tiny_models.pairs(8)).to_iterable_dataset()
    trainer = trainer_for(tmp_path, rows, max_steps=2, auto_find_batch_size=True)
    with pytest.raises(ConfigError, match=r"auto_find_batch_size halves .* which a stream and several processes"):
        trainer.train()
