"""Orders of several answers: Plackett-Luce and best against rest."""

import math
from itertools import permutations

import pytest
import torch
from by_hand import ranking, rewards

from rewardsmith import objectives as o
from rewardsmith.objectives.listwise import order_levels


def test_plackett_luce_by_hand():
    scores = rewards(2.0, 1.0, 0.0)
    first = -2 + math.log(math.e**2 + math.e + 1)
    second = -1 + math.log(math.e + 1)
    losses, weight = o.plackett_luce(scores, ranking([1, 2, 3]))
    assert losses.item() == pytest.approx(first + second)
    assert weight.tolist() == [1.0]
    assert o.plackett_luce(scores, ranking([1, 2, 3]), top_k=1)[0].item() == pytest.approx(first)
    assert o.best_against_rest(scores, ranking([1, 2, 3]))[0].item() == pytest.approx(first)


def test_tied_ranks_are_the_mean_over_their_orders():
    scores = rewards(0.3, -0.2, 0.9, 0.1)
    expected = []
    for order in permutations([0, 1, 2]):
        ranks = [order[0] + 1, order[1] + 1, order[2] + 1, 9]
        expected.append(o.plackett_luce(scores, ranking(ranks))[0].item())
    tied = o.plackett_luce(scores, ranking([1, 1, 1, 9]))[0].item()
    assert tied == pytest.approx(sum(expected) / len(expected))


def test_many_tied_answers_stay_finite_and_symmetric():
    scores = torch.randn(9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first = o.plackett_luce(scores, ranking([1] * 8 + [2]))[0].item()
    swapped = scores[[1, 0, *range(2, 9)]]
    assert o.plackett_luce(swapped, ranking([1] * 8 + [2]))[0].item() == pytest.approx(first)


def test_orders_are_read_from_comparisons_or_refused():
    assert order_levels([(0, 1, False), (1, 2, False), (0, 2, False)]) == [[0], [1], [2]]
    assert order_levels([(0, 1, True), (1, 2, False), (0, 2, False)]) == [[0, 1], [2]]
    assert order_levels([(0, 1, False), (1, 2, False)]) is None
    assert order_levels([(0, 1, False), (1, 2, False), (2, 0, False)]) is None


def test_a_prompt_that_is_not_ordered_takes_the_mean_of_its_pairs():
    chain = o.make_comparisons([0, 1], [1, 2], [0, 0], 1)
    scores = rewards(1.0, 0.0, 2.0)
    expected = o.bradley_terry(scores, chain).mean().item()
    assert o.plackett_luce(scores, chain)[0].item() == pytest.approx(expected)
