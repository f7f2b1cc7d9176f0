import json
import math
import random

import numpy as np
import pytest

from rewardsmith.audit.shift import accuracy_by_novelty, measure_novelty, measure_shift
from rewardsmith.errors import DataError
from rewardsmith.evaluation import FunctionScorer, Resampling, ScoredGroup
from rewardsmith.records import Comparison, PreferenceGroup

HOW = Resampling(500, 0)


def pair(prompt, better, worse, source=None) -> PreferenceGroup:
    return PreferenceGroup(prompt, (better, worse), (Comparison(0, 1),), source=source)


LONG = [pair(f"long {i}?", "a long answer", "short") for i in range(40)]
# In one of four the longer is better.
SHORT = [pair(f"short {i}?", *(("short", "a long answer") if i % 4 else ("a long answer", "short"))) for i in range(40)]
LONGEST = FunctionScorer(lambda prompt, answers: [float(len(a)) for a in answers], "longest")
SHORTEST = FunctionScorer(lambda prompt, answers: [-float(len(a)) for a in answers], "shortest")


def test_the_hand_worked_matrix():
    found = measure_shift({"long": LONGEST, "short": SHORTEST}, {"long": LONG, "short": SHORT}, HOW)
    values = {row: {name: e.value for name, e in columns.items()} for row, columns in found.accuracy.items()}
    assert values == {"long": {"long": 1.0, "short": 0.25}, "short": {"long": 0.0, "short": 0.75}}
    # Against the data set's own model: 0.75 - 0.25 on "short", 1 - 0 on "long".
    assert found.loss["long"]["short"].value == 0.5
    assert found.loss["short"]["long"].value == 1.0
    assert found.loss["long"]["long"].value == 0.0
    assert found.at_home.value == 0.875
    assert (found.lost_abroad.value, found.lost_abroad.n) == (0.75, 2)
    assert found.loss["long"]["short"].low < 0.5 < found.loss["long"]["short"].high
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_data_set_without_a_model_of_its_name_has_a_column_and_no_loss():
    found = measure_shift({"long": LONGEST}, {"long": LONG, "other": SHORT}, HOW)
    assert found.accuracy["long"]["other"].value == 0.25
    assert found.loss == {}
    assert set(found.to_dict()) == {"matrix"}


def test_nothing_to_measure_is_an_error():
    with pytest.raises(DataError, match="0 models and 1 data sets"):
        measure_shift({}, {"long": LONG})


def test_novelty_is_the_share_of_runs_that_training_lacks():
    train = [PreferenceGroup("one two three four", ("five six seven", "x"))]
    test = [
        PreferenceGroup("One, two: three four!", ("a", "b")),
        PreferenceGroup("one two three nine", ("five six seven", "nothing of it was said")),
        PreferenceGroup("other words altogether", ("a", "b")),
        PreferenceGroup("too short", ("a", "b")),
    ]
    found = measure_novelty(train, test)
    # Second: of 2 + 1 + 3 runs, "one two three" and "five six seven" are known.
    np.testing.assert_allclose(found[:3], [0, 4 / 6, 1])
    assert math.isnan(found[3])
    assert measure_novelty([], test[:1]) == [1.0]


def test_accuracy_by_novelty_finds_a_planted_fall():
    generator = random.Random(0)
    scored, novelty = [], []
    for index in range(2000):
        new = generator.random()
        right = generator.random() < 0.9 - 0.4 * new
        scored.append(ScoredGroup(pair(f"{index}?", "a", "b"), (1.0, 0.0) if right else (0.0, 1.0)))
        novelty.append(new)
    found = accuracy_by_novelty(scored, novelty, HOW)
    assert [item.groups for item in found.bins] == [400] * 5
    # The bins' middles are at 0.1 and 0.9.
    assert found.difference.low <= -0.4 * 0.8 <= found.difference.high
    for place, item in enumerate(found.bins):
        # Four standard errors of a share of 400.
        assert abs(item.accuracy.value - (0.86 - 0.08 * place)) < 4 * 0.025
    assert found.bins[0].high <= found.bins[1].low


def test_groups_of_equal_novelty_share_a_bin_and_unknown_ones_are_counted():
    scored = [ScoredGroup(pair(f"{i}?", "a", "b"), (1.0, 0.0)) for i in range(12)]
    found = accuracy_by_novelty(scored, [1.0] * 10 + [math.nan] * 2, HOW)
    assert [(item.low, item.high, item.groups) for item in found.bins] == [(1.0, 1.0, 10)]
    assert found.too_short == 2
    assert math.isnan(found.difference.value)
    json.dumps(found.to_dict(), allow_nan=False)
    empty = accuracy_by_novelty(scored, [math.nan] * 12, HOW)
    assert (empty.bins, empty.too_short) == ([], 12)
    with pytest.raises(DataError, match="give one for each"):
        accuracy_by_novelty(scored, [1.0], HOW)
