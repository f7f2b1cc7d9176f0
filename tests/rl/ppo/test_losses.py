"""The loss of a batch: how it is divided, and what one answer adds."""

import pytest
import tiny_models
import torch

from rewardsmith import PPOConfig
from rewardsmith.rl.ppo.losses import compute_losses
from rewardsmith.rl.ppo.models import PolicyAndValue
from rewardsmith.rl.ppo.rollout import Measured, build_rollout

PROMPTS, ANSWERS = [(5, 6, 7), (8, 9), (10,)], [(11, 12, 2), (13, 14), (15,)]


@pytest.fixture(scope="module")
def model():
    return PolicyAndValue(tiny_models.qwen2_causal()[0], tiny_models.qwen2()[0], 0)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return PPOConfig(output_dir=str(tmp_path_factory.mktemp("out")), use_cpu=True, temperature=1.0)


@pytest.fixture(scope="module")
def rollout(model, settings):
    with torch.no_grad():
        logprobs, _, values, mask = model(PROMPTS, ANSWERS, 1.0)
    measured = Measured(logprobs, logprobs - 0.1 * mask, values, mask, torch.tensor([1.0, -2.0, 0.5]))
    return build_rollout(PROMPTS, ANSWERS, measured, settings, 0.05)


def gradient(model, losses):
    model.zero_grad()
    for loss, _ in losses:
        loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_accumulated_gradients_are_those_of_one_batch(model, rollout, settings):
    totals = rollout.tokens_BL.sum(), rollout.states_BM.sum()
    whole = gradient(model, [compute_losses(model, rollout, [0, 1, 2], settings, None)])
    pieces = [[0], [1, 2]]
    parts = gradient(model, [compute_losses(model, rollout, rows, settings, totals) for rows in pieces])
    assert torch.allclose(whole, parts, atol=1e-6)


def test_before_the_first_step_nothing_is_clipped(model, rollout, settings):
    _, found = compute_losses(model, rollout, [0, 1, 2], settings, None)
    assert found["val/ratio"] == pytest.approx(1, abs=1e-6)
    assert found["policy/clipfrac_avg"] == found["val/clipfrac_avg"] == 0
    # Whitened advantages add up to 0 over the tokens.
    assert found["loss/policy_avg"] == pytest.approx(0, abs=1e-5)
