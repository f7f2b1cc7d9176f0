import numpy as np
import pytest

from rewardsmith.audit.reward_variance import measure_variance
from rewardsmith.evaluation import Resampling

HOW = Resampling(500, 0)


def test_reward_variance_is_relative_to_all_rewards_and_flat_prompts_are_counted():
    found = measure_variance([np.array([0.0, 2.0]), np.array([1.0, 1.0])], HOW)
    # Variances 2 and 0; of all four rewards (0, 2, 1, 1) it is 2/3.
    assert found.mean.value == pytest.approx(1.5)
    assert found.share_flat.value == 0.5
    assert [finding.level for finding in found.findings] == ["yellow"]
    assert "50% of 2 prompts are flat" in found.findings[0].text
    assert found.quantiles["0.5"] == pytest.approx(1.5)
