"""Kept keys stand before those of a batch, can be cut, and hold no memory of the batch they came from."""

import pytest
import torch

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.layout import Keys, Memory

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
