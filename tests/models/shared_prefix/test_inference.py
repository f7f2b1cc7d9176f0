"""Scoring many groups: order is kept, and what cannot be scored is named."""

import pytest
import tiny_models

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.inference import compute_rewards

GROUPS = [[[5, 6, 7], [5, 6, 8, 9]], [[10, 11]], [[5, 6, 7]]]


@pytest.fixture(scope="module")
def model():
    return tiny_models.qwen2()[0]


def test_rewards_come_in_the_order_of_the_input_whatever_fits_into_a_forward(model):
    whole = compute_rewards(model, GROUPS)
    assert [len(row) for row in whole] == [2, 1, 1]
    assert whole[2] == pytest.approx(whole[0][:1], rel=1e-5)
    small = compute_rewards(model, GROUPS, 1)
    assert [v for row in small for v in row] == pytest.approx([v for row in whole for v in row], rel=1e-4)


def test_the_mode_of_the_model_is_put_back(model):
    model.train()
    compute_rewards(model, GROUPS)
    assert model.training
    model.eval()


def test_a_sequence_without_tokens_is_named_by_its_group(model):
    with pytest.raises(ScoringError, match="group 1 has a sequence without tokens"):
        compute_rewards(model, [[[5]], [[]]])
