"""Regression onto ratings: worked by hand, masked, bounded."""

import math

import pytest
import torch

from rewardsmith.objectives import find_objective, mean_over_ratings, rating_losses

PREDICTED = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
RATINGS = torch.tensor([[2.0, math.nan], [0.0, 4.0]])
ONES = torch.ones(2)


def test_squares_are_over_labelled_cells_alone():
    losses = rating_losses(PREDICTED, RATINGS, ONES)
    assert losses.tolist() == [[1.0, 0.0], [9.0, 16.0]]
    total, count = mean_over_ratings(losses, RATINGS)
    assert (total.item(), count.item()) == (26.0, 3.0)


def test_errors_count_in_units_of_their_attribute():
    assert rating_losses(PREDICTED, RATINGS, torch.tensor([2.0, 4.0])).tolist() == [[0.25, 0.0], [2.25, 1.0]]


def test_huber_is_the_square_within_a_unit_and_linear_beyond():
    losses = rating_losses(torch.tensor([[0.5, 3.0]]), torch.zeros(1, 2), ONES, "huber")
    assert losses.tolist() == [[0.25, 5.0]]


def test_a_cell_without_a_rating_has_no_gradient():
    predicted = PREDICTED.clone().requires_grad_()
    rating_losses(predicted, RATINGS, ONES).sum().backward()
    assert predicted.grad.tolist() == [[-2.0, 0.0], [6.0, -8.0]]


@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_half_precision_gives_the_loss_of_fp32(loss):
    assert rating_losses(PREDICTED.bfloat16(), RATINGS, ONES, loss).dtype == torch.float32


def test_regression_stands_beside_the_objectives_of_comparisons():
    assert find_objective("regression").function is rating_losses
    assert find_objective("bradley_terry").kind == "pairwise"
