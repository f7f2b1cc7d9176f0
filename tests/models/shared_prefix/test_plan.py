"""How long a model's input may be, by family."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny_models

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.plan import compute_rewards

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


def test_threads_that_score_at_once_get_the_rewards_of_one(model):
    """A forward hangs hooks on the last layer; those of one batch must not see another's."""
    groups = [[[4 + n, 5, 6, *range(3, 3 + n)], [4 + n, 5, 6, 9]] for n in range(24)]
    alone = [compute_rewards(model, [group]) for group in groups]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda group: compute_rewards(model, [group]), groups))
    assert together == alone
