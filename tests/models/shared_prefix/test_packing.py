"""Groups as tensors: what stands where in a packed sequence, in padded rows, and in batches under a budget."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.models.shared_prefix.packing import (
    count_tokens,
    distinct,
    fill_batches,
    pack,
    pad_rows,
    shared_prefix_length,
)


def test_packing_counts_logical_and_distinct_tokens_by_hand():
    batch = pack([[[1, 2, 3, 4], [1, 2, 5]], [[9, 9]]])
    assert batch.chunks[0].input_ids.tolist() == [[1, 2, 3, 4, 5, 9, 9]]
    assert batch.chunks[0].position_ids.tolist() == [[0, 1, 2, 3, 2, 0, 1]]
    assert batch.chunks[0].last_U.tolist() == [3, 4, 6]
    assert (batch.logical_tokens, batch.distinct_tokens) == (9, 7)


def test_positions_restart_after_the_prefix_for_every_branch():
    (chunk,) = pack([[[5, 6, 7], [5, 6, 8, 9]]]).chunks
    assert chunk.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert chunk.position_ids.tolist() == [[0, 1, 2, 2, 3]]
    assert chunk.last_U.tolist() == [2, 4]


def test_an_equal_answer_is_computed_once_and_asked_for_twice():
    batch = pack([[[5, 6], [5, 6], [5, 7]]])
    assert batch.sequence_B.tolist() == [0, 0, 1]
    assert (batch.logical_tokens, batch.distinct_tokens) == (6, 3)


def test_rows_are_padded_on_the_right_and_the_last_token_is_known():
    batch = pad_rows([[[5, 6, 7], [8]]], pad_token_id=0)
    (chunk,) = batch.chunks
    assert chunk.input_ids.tolist() == [[8, 0, 0], [5, 6, 7]]
    assert chunk.attention_mask.tolist() == [[1, 0, 0], [1, 1, 1]]
    assert chunk.last_U.tolist() == [0, 2]
    assert batch.sequence_B.tolist() == [1, 0]


def test_filling_to_a_block_adds_padding_that_no_group_sees():
    (chunk,) = pack([[[1, 2], [1, 3]]], pad_token_id=9, pad_to=8).chunks
    assert chunk.input_ids.tolist() == [[1, 2, 3, 9, 9, 9, 9, 9]]
    assert chunk.layout.padding == 5


@given(
    st.lists(
        st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=8), min_size=1, max_size=4), min_size=1, max_size=5
    )
)
def test_packed_and_padded_hold_every_sequence_that_was_asked_for(groups):
    flat = [sequence for group in groups for sequence in group]
    batch = pad_rows(groups, pad_token_id=0, tokens_per_chunk=12)
    rows = [
        row[mask.bool()].tolist() for c in batch.chunks for row, mask in zip(c.input_ids, c.attention_mask, strict=True)
    ]
    assert [rows[number] for number in batch.sequence_B.tolist()] == flat
    packed = pack(groups)
    assert packed.distinct_tokens == sum(map(count_tokens, groups))
    ends = packed.chunks[0].last_U[packed.sequence_B]
    assert torch.equal(packed.chunks[0].input_ids[0, ends], torch.tensor([sequence[-1] for sequence in flat]))


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 60))
def test_no_item_is_lost_and_no_batch_is_over_its_budget_but_for_a_single_large_item(costs, budget):
    batches = fill_batches(costs, budget)
    assert [index for batch in batches for index in batch] == list(range(len(costs)))
    assert all(len(batch) == 1 or sum(costs[i] for i in batch) <= budget for batch in batches)


def test_the_shared_prefix_leaves_every_branch_a_token():
    assert shared_prefix_length([(1, 2, 3), (1, 2, 4)]) == 2
    assert shared_prefix_length([(1, 2), (1, 2, 3)]) == 1
    assert shared_prefix_length([(1,), (2,)]) == 0
    assert shared_prefix_length([(1, 2, 3)]) == 0


def test_equal_sequences_are_one_and_keep_their_places():
    assert distinct([[1, 2], [3], [1, 2]]) == ([(1, 2), (3,)], [0, 1, 0])
