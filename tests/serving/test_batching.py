"""Which sequences go together: worked by hand, then laws."""

import itertools
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.serving.batching import choose, group_by_prefix, num_shared_tokens, sort_key

SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=40), min_size=1, max_size=25)


@dataclass(eq=False)
class Row:
    key: bytes


def rows_of(*sequences):
    return [Row(sort_key(ids)) for ids in sequences]


def test_keys_sort_as_token_ids_do():
    ids = [[1, 256], [1, 2], [65536], [2], [1]]
    assert sorted(ids) == sorted(ids, key=sort_key)


def test_shared_tokens_are_counted_whole():
    assert num_shared_tokens(sort_key([1, 2, 3]), sort_key([1, 2, 4])) == 2
    assert num_shared_tokens(sort_key([256]), sort_key([257])) == 0
    assert num_shared_tokens(sort_key([7, 8]), sort_key([7, 8, 9])) == 2


@given(SEQUENCES)
def test_shared_tokens_equal_the_naive_count(sequences):
    left, right = sequences[0], sequences[-1]
    naive = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    assert num_shared_tokens(sort_key(left), sort_key(right)) == naive


def test_the_group_of_the_oldest_is_taken_before_a_younger_stranger():
    prompt = list(range(20))
    oldest, stranger, sibling = rows_of([*prompt, 1], list(range(100, 130)), [*prompt, 2])
    assert choose([oldest, stranger, sibling], budget=25) == [oldest, sibling]


def test_a_sequence_longer_than_the_budget_goes_alone():
    long, short = rows_of(list(range(50)), [1, 2])
    assert choose([long, short], budget=10) == [long]


@given(SEQUENCES, st.integers(1, 60))
def test_a_batch_holds_the_oldest_once_each_and_keeps_the_budget(sequences, budget):
    rows = rows_of(*sequences)
    batch = choose(rows, budget)
    assert batch[0] is rows[0]
    assert len(set(map(id, batch))) == len(batch)
    if len(batch) > 1:
        keys = sorted({row.key for row in batch})
        distinct = sum(len(k) // 4 for k in keys) - sum(num_shared_tokens(a, b) for a, b in itertools.pairwise(keys))
        assert distinct <= budget


def test_two_prompts_make_two_groups():
    first, second = list(range(10)), list(range(50, 60))
    keys = sorted(sort_key([*p, end]) for p in (first, second) for end in (1, 2, 3))
    assert group_by_prefix(keys) == [[0, 1, 2], [3, 4, 5]]


@given(SEQUENCES)
def test_groups_are_a_partition_in_order(sequences):
    keys = sorted({sort_key(ids) for ids in sequences})
    groups = group_by_prefix(keys)
    assert [index for group in groups for index in group] == list(range(len(keys)))
