"""Hand-worked values first, then the laws that every objective obeys."""

import math
from itertools import permutations

import pytest
import torch

from rewardsmith import objectives as o
from rewardsmith.objectives.listwise import order_levels
from rewardsmith.objectives.table import OBJECTIVES
from rewardsmith.records import Comparison, PreferenceGroup, judgements

LN2 = math.log(2)


def rewards(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def pair(**columns) -> o.Comparisons:
    return o.make_comparisons([0], [1], **{name: [value] for name, value in columns.items()})


def ranking(ranks: list[int]) -> o.Comparisons:
    edges = [(i, j) for i in range(len(ranks)) for j in range(i + 1, len(ranks))]
    better = [i if ranks[i] <= ranks[j] else j for i, j in edges]
    worse = [j if ranks[i] <= ranks[j] else i for i, j in edges]
    ties = [ranks[i] == ranks[j] for i, j in edges]
    return o.make_comparisons(better, worse, [0] * len(edges), 1, is_tie=ties)


def value(name: str, rewards_B: torch.Tensor, comparisons: o.Comparisons, threshold: float = 0.3) -> torch.Tensor:
    """The reduced loss of one objective, as the trainer computes it."""
    objective = OBJECTIVES[name]
    if objective.kind == "listwise":
        total, count = o.mean_over_rankings(*objective.function(rewards_B, comparisons))
        return total / count
    extra = (torch.tensor(threshold, dtype=rewards_B.dtype),) if objective.start_threshold else ()
    losses_P = objective.function(rewards_B, comparisons, *extra)
    if objective.reduction == "groups":
        total, count = o.mean_over_groups(losses_P, comparisons.weight_P, comparisons.group_P, comparisons.num_groups)
    else:
        total, count = o.mean_over_comparisons(losses_P, comparisons.weight_P)
    return total / count


def test_bradley_terry_by_hand():
    # -log sigmoid(2 - 0.5) = log(1 + e^-1.5)
    assert o.bradley_terry(rewards(2.0, 0.5), pair()).item() == pytest.approx(math.log1p(math.exp(-1.5)))
    assert o.bradley_terry(rewards(2.0, 0.5), pair(margin=1.0)).item() == pytest.approx(math.log1p(math.exp(-0.5)))
    soft = 0.8 * math.log1p(math.exp(-1.5)) + 0.2 * (math.log1p(math.exp(-1.5)) + 1.5)
    assert o.bradley_terry(rewards(2.0, 0.5), pair(probability=0.8)).item() == pytest.approx(soft)
    smoothed = 0.9 * math.log1p(math.exp(-1.5)) + 0.1 * (math.log1p(math.exp(-1.5)) + 1.5)
    assert o.bradley_terry(rewards(2.0, 0.5), pair(), label_smoothing=0.1).item() == pytest.approx(smoothed)
    assert o.bradley_terry(rewards(1.0, 1.0), pair(is_tie=True)).item() == pytest.approx(LN2)


def test_scaled_bradley_terry_multiplies_by_the_margin():
    plain = o.bradley_terry(rewards(1.0, 0.0), pair()).item()
    assert o.scaled_bradley_terry(rewards(1.0, 0.0), pair(margin=3.0)).item() == pytest.approx(3 * plain)
    assert o.scaled_bradley_terry(rewards(1.0, 0.0), pair()).item() == pytest.approx(plain)


def test_hinge_by_hand():
    assert o.hinge(rewards(1.0, 0.5), pair()).item() == pytest.approx(0.5)
    assert o.hinge(rewards(3.0, 0.5), pair()).item() == 0.0
    assert o.hinge(rewards(1.0, 0.5), pair(margin=2.0)).item() == pytest.approx(1.5)


def test_rao_kupper_probabilities_sum_to_one():
    for difference, t in ((0.7, 0.2), (-1.3, 0.9), (0.0, 0.05)):
        scores, threshold = rewards(difference, 0.0), torch.tensor(t, dtype=torch.float64)
        win = math.exp(-o.rao_kupper(scores, pair(), threshold).item())
        loss = math.exp(-o.rao_kupper(scores.flip(0), pair(), threshold).item())
        tie = math.exp(-o.rao_kupper(scores, pair(is_tie=True), threshold).item())
        assert win == pytest.approx(1 / (1 + math.exp(-(difference - t))))
        assert win + loss + tie == pytest.approx(1.0)


def test_davidson_by_hand_and_its_limit():
    nu = 0.5
    scores, log_nu = rewards(1.0, 0.0), torch.tensor(math.log(nu), dtype=torch.float64)
    total = math.e + 1 + nu * math.exp(0.5)
    assert o.davidson(scores, pair(), log_nu).item() == pytest.approx(-math.log(math.e / total))
    assert o.davidson(scores, pair(is_tie=True), log_nu).item() == pytest.approx(-math.log(nu * math.exp(0.5) / total))
    tiny = torch.tensor(-40.0, dtype=torch.float64)
    assert o.davidson(scores, pair(), tiny).item() == pytest.approx(o.bradley_terry(scores, pair()).item())


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


def test_with_two_answers_listwise_and_k_wise_are_bradley_terry():
    scores = rewards(0.4, -0.7)
    expected = o.bradley_terry(scores, pair()).item()
    for name in ("k_wise", "plackett_luce", "best_against_rest"):
        assert value(name, scores, pair()).item() == pytest.approx(expected)
    tie = o.bradley_terry(scores, pair(is_tie=True)).item()
    assert value("plackett_luce", scores, pair(is_tie=True)).item() == pytest.approx(tie)


def test_k_wise_counts_prompts_alike_and_pairs_do_not():
    scores = rewards(1.0, 0.0, 2.0, 1.0, 0.0)
    both = o.make_comparisons([0, 2, 2, 3], [1, 3, 4, 4], [0, 1, 1, 1], 2)
    losses = o.bradley_terry(scores, both)
    assert value("k_wise", scores, both).item() == pytest.approx((losses[0] + losses[1:].mean()).item() / 2)
    assert value("bradley_terry", scores, both).item() == pytest.approx(losses.mean().item())


def test_regularisers_by_hand():
    scores = rewards(2.0, -0.5)
    assert o.centring(scores, pair()).item() == pytest.approx(2.25)
    assert o.l2_on_rewards(scores, pair(), beta=0.001).item() == pytest.approx(0.0005 * (4 + 0.25))


def test_weights_count_and_zero_weights_do_not():
    scores = rewards(1.0, 0.0, 5.0)
    edges = o.make_comparisons([0, 1], [1, 2], weight=[3.0, 0.0])
    total, count = o.mean_over_comparisons(o.bradley_terry(scores, edges), edges.weight_P)
    assert count.item() == 3.0
    assert (total / count).item() == pytest.approx(o.bradley_terry(scores[:2], pair()).item())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_constant_added_to_all_rewards_changes_nothing(name):
    scores, ranks = rewards(0.3, -1.0, 2.0), ranking([2, 2, 1])
    assert value(name, scores + 7.5, ranks).item() == pytest.approx(value(name, scores, ranks).item())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_raise_the_better_and_lower_the_worse(name):
    scores = rewards(0.1, 0.0).requires_grad_()
    value(name, scores, pair()).backward()
    assert scores.grad[0] < 0 < scores.grad[1]
    assert scores.grad.sum().item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_ties_pull_rewards_together(name):
    scores = rewards(0.8, 0.0).requires_grad_()
    value(name, scores, pair(is_tie=True)).backward()
    assert scores.grad[0] > 0 > scores.grad[1]


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_rewards_stay_finite(name, size):
    scores = torch.tensor([size, 0.0, -size / 2], requires_grad=True)
    loss = value(name, scores, ranking([1, 2, 2]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_half_precision_is_computed_in_fp32(name):
    scores = torch.tensor([1.5, 0.25, -2.0], dtype=torch.bfloat16)
    exact = value(name, scores.float(), ranking([1, 2, 3]), 0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = value(name, scores.float(), ranking([1, 2, 3]), 0.3)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)


def test_swapping_a_soft_pair_swaps_its_label():
    scores = rewards(0.9, -0.3)
    swapped = o.make_comparisons([1], [0], probability=[0.3])
    assert o.bradley_terry(scores, pair(probability=0.7)).item() == pytest.approx(
        o.bradley_terry(scores, swapped).item()
    )


def test_labels_are_read_as_the_record_reads_them():
    group = PreferenceGroup(
        "q",
        ("a", "b", "c"),
        (
            Comparison(0, 1, probability=0.2, margin=2.0),
            Comparison(0, 2, weight=0.0),
            Comparison(1, 2, probability=0.5),
            Comparison(2, 2),
            Comparison(2, 0, "tie", probability=0.9),
            Comparison(1, 0, probability=0.7),
        ),
    )
    judged = o.comparisons_of_groups([group]).judged()
    columns = (judged.better_P.tolist(), judged.worse_P.tolist(), judged.is_tie_P.tolist())
    read = [(j.better, j.worse, j.is_tie, pytest.approx(j.probability)) for j in judgements(group)]
    assert list(zip(*columns, judged.probability_P.tolist(), strict=True)) == read
    assert [row[:3] for row in read] == [(1, 0, False), (1, 2, True), (2, 2, True), (2, 0, True), (1, 0, False)]
