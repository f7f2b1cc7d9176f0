"""Judgements become columns of numbers: rows keep their names, labels are read by the one rule, keys know order."""

import math

import numpy as np
import pytest

from rewardsmith.data.checks.agreement import (
    JudgementTable,
    Lengths,
    RowNames,
    join_keys,
    measure_agreement,
    prompt_key,
)
from rewardsmith.data.checks.lengths import WordMeasure
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Comparison, Message, PreferenceGroup
from rewardsmith.stats.agreement import LEVELS, count_ratings, krippendorff_alpha
from rewardsmith.stats.calibration import ceiling_from_agreement

LENGTHS = Lengths(1, [1, 2], [2, 3], 1)


def table_of(*comparisons, prompt="q", texts=("a", "bb")):
    table = JudgementTable()
    table.add("pairs.jsonl:row 7", PreferenceGroup(prompt, texts, comparisons, source="s"), LENGTHS)
    return table


@pytest.mark.parametrize(
    "name", ["pairs.jsonl:row 12", "a:row 3:row 4", "no rows", "x:row 0", "dir/näme.jsonl:row 99999"]
)
def test_a_row_keeps_its_name(name):
    names = RowNames()
    assert [names.decode(number) for number in map(names.encode, (name, "other:row 1", name))] == [
        name,
        "other:row 1",
        name,
    ]


def test_keys_know_the_order_of_their_columns():
    one, two = np.array([1], dtype=np.uint64), np.array([2], dtype=np.uint64)
    assert join_keys(one, two)[0] != join_keys(two, one)[0]


def test_a_soft_label_turns_the_pair_and_weight_0_leaves_no_edge():
    turned = table_of(Comparison(0, 1, probability=0.25), Comparison(0, 1, weight=0.0)).edges()
    plain = table_of(Comparison(1, 0, probability=0.75)).edges()
    assert len(turned) == 1
    assert (turned.better, turned.probability) == (plain.better, plain.probability)
    assert (int(turned.longer[0]), bool(turned.first[0])) == (1, False)


def test_ties_and_equal_texts_have_no_direction():
    edges = table_of(Comparison(0, 1, "tie"), Comparison(1, 1), Comparison(0, 1, probability=0.5)).edges()
    assert edges.direction.tolist() == [0, 0, 0]
    assert edges.identical.tolist() == [False, True, False]


def test_the_pair_is_one_whichever_side_is_preferred_and_the_direction_tells_them_apart():
    edges = table_of(Comparison(0, 1), Comparison(1, 0)).edges()
    assert edges.pair[0] == edges.pair[1]
    assert sorted(edges.direction.tolist()) == [-1, 1]


def test_groups_of_one_prompt_share_a_key_and_those_without_one_never_merge():
    table = JudgementTable()
    asked = [table.add(f"f:row {i}", PreferenceGroup("q", ("a", "b")), LENGTHS) for i in range(2)]
    silent = [table.add(f"f:row {i}", PreferenceGroup("", ("a", "b")), LENGTHS) for i in range(2)]
    assert asked[0] == asked[1]
    assert silent[0][0] == silent[1][0]
    assert silent[0][1] != silent[1][1]


def test_tools_are_a_part_of_what_was_asked():
    chat = (Message("user", "q"),)
    assert prompt_key(PreferenceGroup(chat, ("a",))) != prompt_key(PreferenceGroup(chat, ("a",), tools=[{"name": "t"}]))


N = math.nan
# Four observers, twelve units: section E of Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).
EXAMPLE = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]


def agreement_of(*groups):
    table = JudgementTable()
    for number, group in enumerate(groups):
        table.add(f"rows:row {number}", group, WordMeasure().measure(group))
    return measure_agreement(table.edges())


@pytest.mark.parametrize(("level", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_published_example_gives_the_published_alpha(level, expected):
    alpha = krippendorff_alpha(*count_ratings(EXAMPLE), level)
    assert alpha.value == pytest.approx(expected, abs=5e-4)
    assert alpha.n == 11  # the twelfth unit has one rating
    assert alpha.low < alpha.value < alpha.high


def test_two_raters_and_two_values_by_hand():
    # Coincidences: unit 4 holds 2 and 1. o_12 = 1 on each side, n = 8, n_1 = 5, n_2 = 3: 1 - 7 * 2 / (2 * 15).
    alpha = krippendorff_alpha(*count_ratings([[1, 2, 1, 2], [1, 2, 1, 1]]), resamples=0)
    assert alpha.value == pytest.approx(1 - 7 * 1 / 15)


def test_alpha_agrees_with_the_krippendorff_package_on_random_tables():
    oracle = pytest.importorskip("krippendorff")
    random = np.random.default_rng(0)
    for _ in range(5):
        ratings = random.integers(0, 4, (5, 30)).astype(float)
        ratings[random.random(ratings.shape) < 0.3] = np.nan
        for level in LEVELS:
            mine = krippendorff_alpha(*count_ratings(ratings), level, resamples=0).value
            assert mine == pytest.approx(oracle.alpha(reliability_data=ratings, level_of_measurement=level), abs=1e-9)


def test_perfect_agreement_is_one_chance_is_about_zero_and_no_variation_is_undefined():
    rows = np.random.default_rng(1).integers(0, 2, (2, 4000)).astype(float)
    assert krippendorff_alpha(*count_ratings([rows[0], rows[0]])).value == 1
    assert abs(krippendorff_alpha(*count_ratings(rows)).value) < 0.05
    assert math.isnan(krippendorff_alpha(*count_ratings(np.ones((2, 5)))).value)
    assert math.isnan(krippendorff_alpha(np.zeros((0, 3)), [1, 2, 3]).value)


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_nominal_and_ordinal_ignore_how_far_values_lie_apart(level):
    stretched = np.array(EXAMPLE) ** 3
    one, two = (krippendorff_alpha(*count_ratings(table), level, resamples=0) for table in (EXAMPLE, stretched))
    assert one.value == pytest.approx(two.value)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(2)
    truth, hits = 1 - 2 * 0.2 * 0.8 / 0.5, 0
    for seed in range(200):
        gold = random.integers(0, 2, 150)
        ratings = np.where(random.random((2, 150)) < 0.2, 1 - gold, gold)
        alpha = krippendorff_alpha(*count_ratings(ratings), resamples=300, seed=seed)
        hits += alpha.low <= truth <= alpha.high
    assert 0.88 <= hits / 200 <= 0.99


def test_wrong_input_is_refused():
    with pytest.raises(ConfigError, match="ordinal"):
        krippendorff_alpha([[1, 1]], [0, 1], "ratio")
    with pytest.raises(DataError, match="raters x units"):
        count_ratings([1, 2])


@pytest.mark.parametrize(("agreement", "ceiling"), [(0.63, 0.755), (0.70, 0.816), (0.73, 0.839), (0.77, 0.867), (1, 1)])
def test_the_ceiling_inverts_the_flip_model(agreement, ceiling):
    assert ceiling_from_agreement(agreement) == pytest.approx(ceiling, abs=1e-3)
    error = 1 - ceiling_from_agreement(agreement)
    assert (1 - error) ** 2 + error**2 == pytest.approx(agreement)


def test_no_ceiling_below_chance():
    assert math.isnan(ceiling_from_agreement(0.49))
    assert math.isnan(ceiling_from_agreement(math.nan))


def test_three_votes_by_hand():
    votes = [Comparison(0, 1, annotator="x"), Comparison(0, 1, annotator="y"), Comparison(1, 0, annotator="z")]
    same = [Comparison(0, 1, annotator="x"), Comparison(0, 1, annotator="y")]
    result = agreement_of(
        PreferenceGroup("p", ("a", "b"), tuple(votes)),
        PreferenceGroup("q", ("a", "b"), tuple(same)),
        PreferenceGroup("r", ("a", "b"), (Comparison(0, 1, annotator="x"),)),
    )
    assert (result.units, result.judgements, result.raters) == (2, 5, 3)
    assert result.agreement.value == pytest.approx((1 / 3 + 1) / 2)
    assert result.ceiling.value == pytest.approx((1 + math.sqrt(2 * 2 / 3 - 1)) / 2)


def test_one_rater_who_says_it_twice_is_one_rater_and_ties_do_not_count_as_votes():
    twice = PreferenceGroup("p", ("a", "b"), (Comparison(0, 1, annotator="x"),) * 2)
    tie = PreferenceGroup("q", ("a", "b"), (Comparison(0, 1, "tie", annotator="x"), Comparison(0, 1, annotator="y")))
    result = agreement_of(twice, tie)
    assert result.units == 1
    assert math.isnan(result.agreement.value)
    assert result.alpha["nominal"].n == 1


def test_soft_labels_enter_their_own_ceiling_only():
    soft = PreferenceGroup("p", ("a", "b"), (Comparison(0, 1, probability=0.2), Comparison(0, 1, probability=0.9)))
    result = agreement_of(soft)
    assert result.units == 0
    assert result.soft_ceiling.value == pytest.approx(0.85)
