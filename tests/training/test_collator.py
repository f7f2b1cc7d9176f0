"""Groups become one batch whose comparisons point at its sequences; batches hold rows of like length."""

import pytest
import tiny_models
import torch
from datasets import Dataset
from small_runs import train_logs, trainer_for

from rewardsmith.errors import DataError
from rewardsmith.training.collator import TokenBatchSampler, collate_comparisons, read_padded_pairs, tokens_of_pairs
from rewardsmith.training.encoding import token_costs
from rewardsmith.training.processes import without_labels

GROUP = {
    "ids": [[1, 2, 3], [1, 2], [1, 4, 5, 6]],
    "better": [0, 2],
    "worse": [1, 0],
    "is_tie": [False, True],
    "tie_share": [0.0, 1.0],
    "margin": [0.5, 0.0],
    "weight": [2.0, 1.0],
    "probability": [1.0, 0.5],
}


def test_comparisons_of_the_second_group_point_behind_the_first():
    found = collate_comparisons([GROUP, GROUP])
    assert found.better_P.tolist() == [0, 2, 3, 5]
    assert found.worse_P.tolist() == [1, 0, 4, 3]
    assert found.group_P.tolist() == [0, 0, 1, 1]
    assert found.margin_P.tolist() == [0.5, 0.0, 0.5, 0.0]
    assert found.num_groups == 2


def test_tokens_of_pairs_counts_both_sides_of_every_comparison():
    assert tokens_of_pairs(GROUP) == (3 + 2) + (4 + 3)


def test_a_filler_has_no_tokens_and_a_rated_group_those_of_its_answers():
    rated = GROUP | {"better": [], "worse": [], "ratings": [[1.0] for _ in GROUP["ids"]]}
    assert tokens_of_pairs(rated) == sum(len(ids) for ids in GROUP["ids"])
    assert tokens_of_pairs(without_labels(rated)) == tokens_of_pairs(without_labels(GROUP)) == 0


def test_padded_pairs_compare_the_first_half_with_the_second():
    ids = torch.tensor([[5, 6, 7], [5, 6, 0], [5, 8, 0], [5, 9, 9]])
    batch, comparisons = read_padded_pairs({"input_ids": ids, "attention_mask": (ids > 0).long()})
    assert comparisons.better_P.tolist() == [0, 1]
    assert comparisons.worse_P.tolist() == [2, 3]
    assert batch.chunks[0].last_U.tolist() == [2, 1, 1, 2]
    assert batch.distinct_tokens == 10


def test_a_collator_of_another_form_is_named():
    with pytest.raises(DataError, match="it must give input_ids and attention_mask"):
        read_padded_pairs({"labels": torch.zeros(2)})


def test_token_batches_are_the_same_every_epoch_in_another_order():
    sampler = TokenBatchSampler([10, 20, 30, 5, 25, 10], 40, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(map(sorted, first)) == sorted(map(sorted, second))
    assert sorted(index for batch in first for index in batch) == list(range(6))


def test_rows_of_like_length_share_a_batch_where_asked_for(tmp_path):
    rows = tiny_models.pairs(32)
    trainer = trainer_for(tmp_path, rows, eval_rows=Dataset.from_list(rows), train_sampling_strategy="group_by_length")
    lengths = token_costs(trainer.train_dataset, trainer.plan.cost)
    order = list(trainer._get_train_sampler())
    assert sorted(order) == list(range(32))
    spread = [max(part) - min(part) for part in ([lengths[i] for i in order[n : n + 4]] for n in range(0, 32, 4))]
    assert sum(spread) < 0.5 * 8 * (max(lengths) - min(lengths))
    assert len(train_logs(trainer)) == 8
    assert trainer.evaluate()["eval_num_comparisons"] == 32


def test_batches_of_like_length_resume_in_a_later_epoch_to_the_same_weights(tmp_path):
    settings = {"train_sampling_strategy": "group_by_length", "num_train_epochs": 2, "save_strategy": "steps"}
    whole = trainer_for(tmp_path, tiny_models.pairs(16), save_steps=2, **settings)
    whole.train()
    resumed = trainer_for(tmp_path, tiny_models.pairs(16), save_steps=9, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
