"""The linear system of ratings gives what iterations give, and what numpy gives."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from rewardsmith import RewardConfig
from rewardsmith.models.attribute_head import Attribute, AttributeHead
from rewardsmith.objectives import make_comparisons
from rewardsmith.training.head_fitting import Coordinates, Problem
from rewardsmith.training.loss import StepLoss
from rewardsmith.training.ridge import free_direction, is_quadratic, penalties_of

ATTRIBUTES = (Attribute("helpfulness", 0.5), Attribute("verbosity", 0.5, mean=2.0, std=3.0))


def problem_of(tmp_path, has_bias, missing=0.3, **changes):
    rng, torch_seed = random.Random(0), torch.Generator().manual_seed(0)
    table = torch.randn(40, 6, generator=torch_seed) * torch.tensor([1.0, 2.0, 0.5, 1.0, 10.0, 1.0])
    ratings = torch.randn(40, 2, generator=torch_seed) + 2
    ratings[[rng.random() < missing for _ in range(40)], 1] = torch.nan
    args = RewardConfig(str(tmp_path), use_cpu=True, report_to="none", loss_type="regression", **changes)
    return Problem(
        args=args,
        table_UD=table,
        row_B=torch.arange(40),
        group_B=torch.arange(40) // 2,
        spread_D=table.std(0, correction=0),
        comparisons=make_comparisons([], [], num_groups=20),
        head=AttributeHead(nn.Linear(6, 2, has_bias), ATTRIBUTES),
        tie_share=0.1,
        ratings_BA=ratings,
    )


@pytest.mark.parametrize("has_bias", [True, False])
def test_the_system_gives_the_optimum_of_iterations(tmp_path, has_bias):
    problem = problem_of(tmp_path, has_bias)
    loss = StepLoss(problem.args, attributes=ATTRIBUTES)
    assert is_quadratic(problem.head, loss)
    tried = problem.fit("regression", 0.01)
    values = Coordinates.of(problem.head.double(), problem.spread_D, None)
    values.free_D = free_direction(problem.head, problem)
    found = problem.minimised(problem.head, loss, (values, values.read(), 0.01))
    values.write(found.x)
    assert tried.iterations == 1
    torch.testing.assert_close(tried.head["weight"], problem.head.weight.detach().float(), rtol=1e-3, atol=1e-4)
    assert tried.loss + values.penalty(found.x, 0.01) == pytest.approx(found.fun, rel=1e-4)


def test_without_a_penalty_it_is_least_squares(tmp_path):
    problem = problem_of(tmp_path, has_bias=True, missing=0.0)
    tried = problem.fit("regression", 0.0)
    design = np.column_stack([problem.table_UD.numpy(), np.ones(40)])
    expected, *_ = np.linalg.lstsq(design, problem.ratings_BA[:, 0].numpy(), rcond=None)
    assert tried.head["weight"][0].tolist() == pytest.approx(expected[:-1].tolist(), abs=1e-4)
    assert float(tried.head["bias"][0]) == pytest.approx(float(expected[-1]), abs=1e-4)


def test_settings_are_compared_by_the_error_on_groups_that_are_left_out(tmp_path):
    problem = problem_of(tmp_path, has_bias=True)
    tried = problem.fit("regression", 0.1, left_out=True)
    assert tried.merit < 0
    assert np.isnan(tried.accuracy)


def test_huber_and_joint_runs_are_iterated(tmp_path):
    problem = problem_of(tmp_path, has_bias=False, rating_loss="huber")
    assert not is_quadratic(problem.head, StepLoss(problem.args, attributes=ATTRIBUTES))
    assert problem.fit("regression", 0.1).iterations > 1


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("rating_loss", ["squared", "huber"])
def test_fewer_answers_than_features_that_say_nothing_are_rated_as_well_as_by_the_mean(tmp_path, has_bias, rating_loss):
    problem = problem_of(tmp_path, has_bias, rating_loss=rating_loss)
    seed = torch.Generator().manual_seed(1)
    table = torch.randn(260, 120, generator=seed) * torch.logspace(-1, 1, 120) + torch.linspace(-9, 9, 120)
    ratings = torch.randn(260, 2, generator=seed) + 4
    problem.table_UD, problem.spread_D = table[:60], table[:60].std(0, correction=0)
    problem.row_B, problem.group_B, problem.ratings_BA = torch.arange(60), torch.arange(60) // 2, ratings[:60]
    problem.comparisons = make_comparisons([], [], num_groups=30)
    problem.head = AttributeHead(nn.Linear(120, 2, has_bias), ATTRIBUTES)
    tried = [problem.fit("regression", l2, left_out=True) for l2 in penalties_of(problem.head, is_compared=False)]
    chosen = problem.fit("regression", max(tried, key=lambda one: one.merit).l2)
    head = AttributeHead(nn.Linear(120, 2, has_bias), ATTRIBUTES)
    head.load_state_dict(chosen.head)
    error = (head(table[60:])[:, 1:] - ratings[60:]).square().mean()
    of_the_mean = (ratings[:60].mean(0) - ratings[60:]).square().mean()
    # 200 answers: the standard error of their mean squared error is a fourteenth of it.
    assert error < of_the_mean * 1.15
