"""Which sequences begin alike, worked by hand, then laws; what they left behind is found, and dropped in time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.store import (
    Keys,
    Memory,
    PrefixStore,
    group_by_prefix,
    num_shared_tokens,
    sort_key,
)

SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=40), min_size=1, max_size=25)


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


def test_two_prompts_make_two_groups():
    first, second = list(range(10)), list(range(50, 60))
    keys = sorted(sort_key([*p, end]) for p in (first, second) for end in (1, 2, 3))
    assert group_by_prefix(keys) == [[0, 1, 2], [3, 4, 5]]


@given(SEQUENCES)
def test_groups_are_a_partition_in_order(sequences):
    keys = sorted({sort_key(ids) for ids in sequences})
    groups = group_by_prefix(keys)
    assert [index for group in groups for index in group] == list(range(len(keys)))


def test_the_least_recently_used_entry_goes_first_and_the_budget_holds():
    store, past = PrefixStore(100), object()
    keys = [sort_key([n] * 40) for n in (1, 2, 3)]
    store.put(keys[0], past)
    store.put(keys[1], past)
    assert store.past(keys[0]) is past
    store.put(keys[2], past)
    assert store.num_tokens == 80
    assert store.closest(keys[1])[0] == 0
    assert store.closest(keys[0]) == (40, keys[0])
    store.put(sort_key([4] * 101), past)
    assert len(store) == 2


def test_the_longest_whole_prefix_is_found_past_entries_that_are_none():
    store, past = PrefixStore(1000), object()
    ids = list(range(100))
    store.put(sort_key(ids[:40]), past)
    store.put(sort_key(ids[:50]), None)
    store.put(sort_key([*ids[:60], 7]), past)
    assert store.longest_prefix(sort_key(ids[:90])) == sort_key(ids[:40])
    assert store.longest_prefix(sort_key(ids[:39])) == b""


SPANS = ((0, 2, (1, 1)), (4, 0, (3,)))


def keys_of(*places):
    return torch.tensor(places, dtype=torch.float32).reshape(1, 1, -1, 1)


def test_what_a_group_goes_on_from_stands_first_and_what_it_leaves_comes_after_it():
    before = Keys([(keys_of(90, 91), keys_of(80, 81))])
    memory = Memory([None, before], (0, 2), [2, 3])
    with torch.no_grad():
        key, value = memory.extended(keys_of(*range(7)), keys_of(*range(10, 17)), SPANS)
    assert key.flatten().tolist() == [90, 91, *range(7)]
    assert value.flatten().tolist() == [80, 81, *range(10, 17)]
    (left,) = memory.left(1).cut(4).layers
    assert [tensor.flatten().tolist() for tensor in left] == [[90, 91, 4, 5], [80, 81, 14, 15]]
    (own,) = memory.left(0).layers
    assert own[0].flatten().tolist() == [0, 1]
    assert own[0].untyped_storage().nbytes() == 2 * 4


def test_a_gradient_through_kept_prefixes_is_refused():
    with pytest.raises(ScoringError, match="no gradient"):
        Memory([None], (0,), [0]).extended(keys_of(1), keys_of(1), SPANS[:1])
