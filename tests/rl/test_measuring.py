import math

import pytest
import tiny_models
import torch
from policy_runs import Gold, letters

from rewardsmith.errors import DataError
from rewardsmith.records import Message
from rewardsmith.rl.measuring import Asking, Meter, Point, find_turn, read_points, steps_to_measure
from rewardsmith.rl.policy import Policy, Sampling, frozen_copy
from rewardsmith.rl.rewards import reward_function

PROMPTS = ("is it good", "is it bad", (Message("user", "the question"),))


def meter_in(folder, answers=1, gold=None):
    policy = Policy(*tiny_models.qwen2_causal())
    start = frozen_copy(policy.model)
    return Meter(policy, start, reward_function(letters), Asking(PROMPTS, Sampling(6, seed=3), answers, gold), folder)


def point(step, golds, kl=1.0):
    return Point(step, {"gold": golds, "kl": [kl] * len(golds)})


def test_a_start_has_no_kl_and_a_changed_policy_has(tmp_path):
    meter = meter_in(tmp_path, gold=Gold())
    start = meter.measure(0)
    assert set(start.values) == {"reward", "gold", "kl", "length", "entropy", "cut"}
    assert start.estimate("kl").value == pytest.approx(0.0, abs=1e-6)
    assert start.estimate("entropy").value <= math.log(420)
    with torch.no_grad():
        meter.policy.model.lm_head.weight.mul_(3)
    later = meter.measure(1)
    assert later.estimate("kl").value > 0.01
    assert all(value >= 0 for value in later.values["kl"])


def test_an_unchanged_policy_gives_the_same_answers_at_every_point(tmp_path):
    meter = meter_in(tmp_path, answers=2)
    assert meter.measure(0).values == meter.measure(5).values
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 2 * 2 * len(PROMPTS)


def test_points_are_kept_and_those_beyond_a_step_are_dropped(tmp_path):
    meter = meter_in(tmp_path)
    points = [meter.measure(step) for step in (0, 2, 4)]
    again = meter_in(tmp_path)
    again.take_up(2)
    assert again.points == points[:2]
    assert [p.step for p in read_points(tmp_path / "curve.jsonl")] == [0, 2]
    assert again.measure(2) is again.points[1]
    (tmp_path / "curve.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="line 1 is no point"):
        read_points(tmp_path / "curve.jsonl")


def test_what_cannot_be_scored_is_left_out_of_means_and_of_pairs():
    before, after = Point(0, {"reward": [1.0, math.nan, 3.0]}), Point(1, {"reward": [2.0, 5.0, math.nan]})
    assert before.estimate("reward").n == 2
    assert (after.change("reward", before).value, after.change("reward", before).n) == (1.0, 1)


def test_gold_turns_where_the_end_lies_below_the_best_point():
    rising = [0.1 * i for i in range(30)]
    best = [value + 1.0 + 0.01 * (i % 3) for i, value in enumerate(rising)]
    worse = [value - 1.0 + 0.01 * (i % 2) for i, value in enumerate(rising)]
    turn = find_turn([point(0, rising, 0.0), point(10, best, 2.5), point(20, worse, 9.0)])
    assert (turn.step, turn.kl) == (10, 2.5)
    assert turn.lost.high < 0


def test_gold_that_ends_at_its_best_or_by_chance_below_has_not_turned():
    rising = [0.1 * i for i in range(30)]
    assert find_turn([point(0, rising), point(10, [v + 1 for v in rising])]) is None
    noisy = [v + (-1) ** i for i, v in enumerate(rising)]
    assert find_turn([point(0, rising), point(10, noisy)]) is None
    assert find_turn([point(0, rising)]) is None
    assert find_turn([Point(0, {"reward": [1.0]}), Point(1, {"reward": [0.0]})]) is None


def test_the_interval_of_a_turn_counts_how_many_points_were_looked_at():
    start = [0.0] * 20
    end = [-0.05 - 0.2 * ((i % 5) - 1.6) for i in range(20)]
    alone = find_turn([point(0, start), point(1, [-x for x in end])])
    one, ten = [find_turn([*(point(s, start) for s in range(n)), point(n, [e - 0.12 for e in end])]) for n in (1, 10)]
    assert alone is None
    assert ten is None or one.lost.high < ten.lost.high


def test_steps_are_even_and_hold_the_last():
    assert steps_to_measure(10, 4) == {3, 5, 8, 10}
    assert steps_to_measure(3, 10) == {1, 2, 3}
