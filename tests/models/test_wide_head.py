"""Heads that say more than the reward: an ensemble's members, and a distribution's deviations."""

import pytest
import tiny_models
import torch
from torch import nn

from rewardsmith.errors import ConfigError
from rewardsmith.models.shared_prefix.plan import compute_columns, compute_rewards
from rewardsmith.models.wide_head import (
    HeadEnsemble,
    bootstrap_draws,
    collapse,
    install_heads,
    install_laplace,
    num_heads,
)

GROUPS = [[[5, 6, 7, 8], [5, 6, 9]], [[11, 12, 13]]]


def test_the_first_column_is_the_mean_of_the_others():
    layer = HeadEnsemble(nn.Linear(2, 1, bias=True), 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.bias.fill_(0.5)
        layer.deviations.copy_(torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    # Deviations less their mean: (1, 0) and (-1, 0), so the heads are (2, 2) and (0, 2).
    assert layer(torch.tensor([[1.0, 1.0]])).tolist() == [[3.5, 4.5, 2.5]]


@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_the_reward_of_an_ensemble_is_that_of_the_plain_head(family):
    model, _ = getattr(tiny_models, family)()
    before = compute_rewards(model, GROUPS)
    install_heads(model, 3)
    columns = compute_columns(model, GROUPS)
    assert num_heads(model) == 3
    assert len(columns[0][0]) == 4
    for row, rewards in zip(columns, before, strict=True):
        for text, reward in zip(row, rewards, strict=True):
            assert text[0] == pytest.approx(reward, abs=1e-6)
            assert sum(text[1:]) / 3 == pytest.approx(reward, abs=1e-5)
            assert max(text[1:]) - min(text[1:]) > 0.01
    collapse(model)
    assert num_heads(model) == 1
    assert compute_rewards(model, GROUPS) == before


def test_a_distribution_gives_the_deviation_of_a_difference_as_the_length_of_a_difference():
    holder = tiny_models.qwen2()[0]
    torch.manual_seed(0)
    root = torch.randn(32, 32)
    layer = install_laplace(holder, torch.ones(32), root)
    first, second = torch.randn(2, 32)
    columns = layer(torch.stack([first, second]))[:, 1:].detach()
    covariance, difference = root @ root.T, first - second
    assert float((columns[0] - columns[1]).norm() ** 2) == pytest.approx(
        float(difference @ covariance @ difference), rel=1e-4
    )
    assert float(columns[0].norm() ** 2) == pytest.approx(float((first - 1) @ covariance @ (first - 1)), rel=1e-4)


def test_several_heads_take_no_distribution():
    model, _ = tiny_models.qwen2()
    install_heads(model, 2)
    with pytest.raises(ConfigError, match="several heads"):
        install_laplace(model, torch.zeros(32), torch.eye(32))


def test_a_prior_scale_is_the_size_of_what_is_drawn_for_each_head():
    drawn = []
    for scale in (1.0, 3.0):
        torch.manual_seed(0)
        model, _ = tiny_models.qwen2()
        torch.manual_seed(1)
        drawn.append(install_heads(model, 3, scale).deviations.detach())
    assert torch.allclose(3 * drawn[0], drawn[1])


def test_draws_depend_on_the_texts_and_the_seed_alone_and_are_one_on_average():
    rows = [[[number, 7], [number, 8, 9]] for number in range(400)]
    draws = torch.tensor([bootstrap_draws(row, 4, 0) for row in rows])
    assert bootstrap_draws(rows[3], 4, 0) == draws[3].tolist()
    assert draws[:50].tolist() != [bootstrap_draws(row, 4, 1) for row in rows[:50]]
    # 1,600 draws of variance 1: three standard errors are 0.075.
    assert float(draws.mean()) == pytest.approx(1.0, abs=0.075)
    assert float((draws == 0).float().mean()) == pytest.approx(0.368, abs=0.05)
