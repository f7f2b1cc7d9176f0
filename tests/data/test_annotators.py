import math

import numpy as np
import pytest

from rewardsmith.data.simulate import AnnotatorConfig, judge_pair
from rewardsmith.errors import ConfigError

SHORT, LONG = "x" * 170, "x" * 360


def rates(config: AnnotatorConfig, difference: float, n: int = 4000, answers=(SHORT, SHORT)) -> dict[str, float]:
    """Judge one pair n times: shares of first wins, second wins and ties."""
    edges = [judge_pair(config, answers, (difference, 0.0), (0, 1), str(i))[0] for i in range(n)]
    ties = sum(edge.is_tie for edge in edges)
    first = sum(edge.better == 0 and not edge.is_tie for edge in edges)
    return {"first": first / n, "second": (n - first - ties) / n, "tie": ties / n}


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def four_errors(p: float, n: int = 4000) -> float:
    return 4 * math.sqrt(p * (1 - p) / n) + 1e-9


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("difference", [-1.0, 0.4, 2.0])
def test_win_rates_are_bradley_terry_at_the_temperature(temperature, difference):
    expected = sigmoid(difference / temperature)
    assert abs(rates(AnnotatorConfig(temperature=temperature), difference)["first"] - expected) < four_errors(expected)


def test_ties_follow_rao_and_kupper():
    found = rates(AnnotatorConfig(temperature=0.8, tie_threshold=0.6), 0.5)
    first, second = sigmoid((0.5 - 0.6) / 0.8), sigmoid((-0.5 - 0.6) / 0.8)
    assert abs(found["first"] - first) < four_errors(first)
    assert abs(found["second"] - second) < four_errors(second)
    assert abs(found["tie"] - (1 - first - second)) < four_errors(1 - first - second)


def test_without_noise_the_better_answer_always_wins_and_equal_answers_tie():
    assert rates(AnnotatorConfig(temperature=0), 0.01, 50)["first"] == 1
    assert rates(AnnotatorConfig(temperature=0), 0.0, 50)["tie"] == 1


def test_a_lapse_is_a_coin():
    found = rates(AnnotatorConfig(temperature=0, lapse=0.3), 5.0)
    assert abs(found["second"] - 0.15) < four_errors(0.15)


def test_length_bias_has_the_planted_size():
    # 190 characters are one standard deviation, so the longer answer gains the bias itself.
    found = rates(AnnotatorConfig(temperature=1, length_bias=0.8), 0.0, answers=(LONG, SHORT))
    assert abs(found["first"] - sigmoid(0.8)) < four_errors(sigmoid(0.8))


def test_position_bias_favours_the_first_and_shuffling_turns_it_into_noise():
    fixed = rates(AnnotatorConfig(temperature=1, position_bias=1.0), 0.0)
    assert abs(fixed["first"] - sigmoid(1.0)) < four_errors(sigmoid(1.0))
    shuffled = rates(AnnotatorConfig(temperature=1, position_bias=1.0, order="shuffled"), 1.0)
    expected = (sigmoid(2.0) + sigmoid(0.0)) / 2
    assert abs(shuffled["first"] - expected) < four_errors(expected)


def test_further_raters_change_no_earlier_judgement_and_all_differ():
    few = AnnotatorConfig(raters=2, pool=6)
    many = AnnotatorConfig(raters=5, pool=6)
    for key in map(str, range(30)):
        first = judge_pair(few, (SHORT, LONG), (0.2, 0.0), (0, 1), key)
        assert judge_pair(many, (SHORT, LONG), (0.2, 0.0), (0, 1), key)[:2] == first
    assert len({edge.annotator for edge in judge_pair(many, (SHORT, LONG), (0, 0), (0, 1), "x")}) == 5


def test_agreement_of_raters_falls_with_noise():
    def alpha(temperature: float) -> float:
        config = AnnotatorConfig(raters=3, temperature=temperature)
        gold = np.random.default_rng(0).normal(size=300)
        votes = np.array(
            [
                [edge.better == 0 for edge in judge_pair(config, (SHORT, SHORT), (g, 0.0), (0, 1), str(i))]
                for i, g in enumerate(gold)
            ]
        )
        # Krippendorff's alpha of two categories without missing votes: 1 - observed / expected disagreement.
        ones, n = votes.sum(axis=1), votes.size
        observed = (ones * (3 - ones)).sum() / (3 - 1) * 2 / n
        return 1 - observed / (2 * votes.sum() * (n - votes.sum()) / (n * (n - 1)))

    alphas = [alpha(temperature) for temperature in (0.0, 0.3, 1.0, 5.0)]
    assert alphas[0] == pytest.approx(1.0)
    assert alphas == sorted(alphas, reverse=True)
    assert alphas[-1] < 0.15


@pytest.mark.parametrize(
    "wrong",
    [{"raters": -1}, {"raters": 3, "pool": 2}, {"temperature": -1}, {"lapse": 1.5}, {"length_bias": math.nan},
     {"order": "random"}, {"tie_threshold": math.inf}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError):
        AnnotatorConfig(**wrong)
