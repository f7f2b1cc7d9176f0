import math

import numpy as np
import pytest

from rewardsmith.audit.length import audit_length, count_characters, length_finding
from rewardsmith.audit.plan import within_prompt_sd
from rewardsmith.evaluation import Resampling
from rewardsmith.evaluation.judged import ScoredGroup, score_groups
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds

HOW = Resampling(400)
PLANTED = 0.05


def pair(prompt, better, worse, rewards):
    return ScoredGroup(PreferenceGroup(prompt, (better, worse), (Comparison(0, 1),)), rewards)


# Differences of (words, reward) within prompts: (2, 1), (-1, 1), (0, -1), (3, 0).
WORKED = [
    pair("a", "x x x", "x", (2.0, 1.0)),
    pair("b", "y", "y y", (0.0, -1.0)),
    pair("c", "z", "w", (0.0, 1.0)),
    pair("d", "v v v v", "v", (5.0, 5.0)),
]


def words_of(text):
    return len(text.split())


def test_slope_and_correlation_within_prompts_are_worked_by_hand():
    found = audit_length(WORKED, HOW).estimates
    # Demeaned halves: sum of products = (2*1 - 1*1 + 0 + 0)/2 = .5, of squares: 14/2 = 7 and 3/2.
    assert found["weight"].value == pytest.approx(0.5 / 7)
    assert found["correlation_within"].value == pytest.approx(0.5 / math.sqrt(7 * 1.5))
    assert found["weight"].n == 8


def test_shares_and_strata_are_worked_by_hand():
    found = audit_length(WORKED, HOW).estimates
    # Three pairs differ in length: the reward picks the longer, the shorter, and neither (half); people pick 2 of 3.
    assert found["picks_longer_model"].value == pytest.approx(1.5 / 3)
    assert found["picks_longer_gold"].value == pytest.approx(2 / 3)
    assert found["accuracy_longer"].value == pytest.approx(1.5 / 2)
    assert found["accuracy_longer"].n == 2
    assert (found["accuracy_shorter"].value, found["accuracy_about_equal"].value) == (1.0, 0.0)
    assert found["accuracy"].value == pytest.approx(2.5 / 4)
    assert found["accuracy_gap"].value == pytest.approx(-0.25)


def test_the_partial_correlation_equals_that_of_regression_residuals(simulated):
    groups = simulated.groups(60, 3, size=4)
    scorer = simulated.scorer(lambda a: simulated.quality(a) + 0.02 * words_of(a))
    scored = score_groups(scorer, groups)
    columns = []
    for item in scored:
        label = np.zeros(4)
        for edge in item.group.comparisons:
            label[edge.better] += 1
            label[edge.worse] -= 1
        table = np.stack([item.rewards, [words_of(c) for c in item.group.completions], label], axis=1)
        columns.append(table - table.mean(axis=0))
    reward, length, label = np.concatenate(columns).T
    rest = [column - label * (column @ label) / (label @ label) for column in (reward, length)]
    expected = rest[0] @ rest[1] / math.sqrt((rest[0] @ rest[0]) * (rest[1] @ rest[1]))
    found = audit_length(scored, HOW).estimates
    assert found["correlation_partial"].value == pytest.approx(expected)
    assert found["weight_given_label"].value == pytest.approx(rest[0] @ rest[1] / (rest[1] @ rest[1]))


def test_a_planted_length_weight_is_reported_and_named(simulated):
    groups = simulated.groups(800, 5)
    scored = score_groups(simulated.scorer(lambda a: simulated.quality(a) + PLANTED * words_of(a)), groups)
    found = audit_length(scored, HOW)
    for name in ("weight", "weight_given_label"):
        estimate = found.estimates[name]
        assert estimate.low < PLANTED < estimate.high, name
        assert estimate.value == pytest.approx(PLANTED, abs=0.01), name
    # The excess is read from noisy judgements, so it is less exact; its coverage is measured below.
    assert found.estimates["excess_weight"].value == pytest.approx(PLANTED, abs=0.015)
    assert found.estimates["excess_weight"].low > 0.02
    finding = length_finding(found)
    assert finding.level == "red"
    assert "longer" in finding.text


def test_the_interval_of_the_weight_covers_the_planted_one(simulated):
    hits = 0
    for seed in range(60):

        def reward(answer, seed=seed):
            return simulated.quality(answer) + PLANTED * words_of(answer) + simulated.noise(answer, 0.5, seed)

        scored = score_groups(simulated.scorer(reward), simulated.groups(80, 100 + seed))
        estimate = audit_length(scored, HOW).estimates["weight"]
        hits += estimate.low <= PLANTED <= estimate.high
    assert hits >= 53


def test_the_interval_of_the_excess_weight_covers_the_planted_one(simulated):
    planted = simulated.scorer(lambda a: simulated.quality(a) + PLANTED * words_of(a))
    values, hits = [], 0
    for seed in range(60):
        scored = score_groups(planted, simulated.groups(300, 1000 + seed))
        estimate = audit_length(scored, HOW).estimates["excess_weight"]
        values.append(estimate.value)
        hits += estimate.low <= PLANTED <= estimate.high
    assert np.mean(values) == pytest.approx(PLANTED, abs=0.003)
    assert hits >= 53


@pytest.mark.parametrize("length_quality", [0.0, 0.04])
def test_a_clean_scorer_is_not_accused_even_where_longer_answers_are_better(simulated, length_quality):
    accused = 0
    for seed in range(20):
        groups = simulated.groups(300, 200 + seed, length_quality=length_quality)
        clean = simulated.scorer(lambda a: simulated.quality(a) + length_quality * words_of(a))
        finding = length_finding(audit_length(score_groups(clean, groups), HOW))
        accused += finding.level == "red"
    assert accused <= 1


def test_a_reward_that_is_nothing_but_length_is_named():
    texts = [(" ".join("w" * (3 + i % 7)), " ".join("w" * (11 + i % 5))) for i in range(200)]
    groups = [PreferenceGroup(f"p{i}", pair, (Comparison(i % 2, 1 - i % 2),)) for i, pair in enumerate(texts)]
    scored = [ScoredGroup(g, tuple(float(len(c.split())) for c in g.completions)) for g in groups]
    found = audit_length(scored, HOW)
    assert found.estimates["correlation_within"].value == pytest.approx(1.0)
    assert length_finding(found).level == "red"


def test_length_controlled_accuracy_takes_away_what_length_earned(simulated):
    groups = simulated.groups(1500, 9, length_quality=0.08)
    by_length = score_groups(simulated.scorer(lambda a: 0.1 * words_of(a) + simulated.noise(a, 0.5, 1)), groups)
    found = audit_length(by_length, HOW).estimates
    assert found["accuracy"].value > 0.6
    # The bend of tanh leaves a part of a straight preference for length, so not quite one half.
    assert found["length_controlled_accuracy"].value == pytest.approx(0.5, abs=0.06)
    assert found["length_controlled_accuracy"].value < found["accuracy"].value - 0.06
    # The same quality without any length: what it earns does not depend on length control.
    groups = simulated.groups(1500, 10)
    fair = audit_length(score_groups(simulated.scorer(simulated.quality), groups), HOW).estimates
    assert fair["length_controlled_accuracy"].value == pytest.approx(fair["accuracy"].value, abs=0.03)


def test_one_step_refits_agree_with_full_refits(simulated):
    groups = simulated.groups(150, 11)
    scored = score_groups(simulated.scorer(lambda a: simulated.quality(a) + PLANTED * words_of(a)), groups)
    estimate = audit_length(scored, Resampling(2000)).estimates["excess_weight"]
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(300):
        chosen = [scored[i] for i in generator.integers(len(scored), size=len(scored))]
        draws.append(audit_length(chosen, Resampling(1)).estimates["excess_weight"].value)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.012)


def test_units_are_words_characters_or_what_a_tokenizer_counts():
    text = pair("p", "one two", "six", (1.0, 0.0))
    assert audit_length([text], HOW, unit="characters", measure=count_characters).estimates[
        "weight"
    ].value == pytest.approx(1 / 4)
    ids = ScoredGroup(PreferenceGroup("", (TokenIds((1, 2, 3)), TokenIds((1,))), (Comparison(0, 1),)), (4.0, 0.0))
    assert audit_length([ids], HOW).estimates["weight"].value == pytest.approx(2.0)
    told = (Message("assistant", "three words here"),), (Message("assistant", "one"),)
    chat = ScoredGroup(PreferenceGroup("p", told, (Comparison(0, 1),)), (1.0, 0.0))
    assert audit_length([chat], HOW).estimates["weight"].value == pytest.approx(0.5)


def test_without_judgements_or_pairs_the_numbers_are_undefined_with_n():
    lone = ScoredGroup(PreferenceGroup("p", ("a b",)), (1.0,))
    found = audit_length([lone], HOW)
    assert math.isnan(found.estimates["weight"].value)
    assert math.isnan(found.estimates["accuracy"].value)
    assert found.estimates["accuracy"].n == 0
    assert math.isnan(within_prompt_sd([lone]))
    assert found.to_dict()["excess_weight"]["value"] is None


def test_the_within_prompt_spread_is_worked_by_hand():
    # Squares about the means: .5, .5, .5, 0 over 4 degrees of freedom.
    assert within_prompt_sd(WORKED) == pytest.approx(math.sqrt(1.5 / 4))
    assert audit_length(WORKED, HOW).sd_reward == pytest.approx(math.sqrt(1.5 / 4))
