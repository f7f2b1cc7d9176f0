"""The guard: thresholds that clean runs set, and alarms in words."""

import json
import logging
import math

import pytest

from rewardsmith.errors import ConfigError
from rewardsmith.rl.guard import SIGNALS, Guard, conformal, fit_threshold, read_updates, steps_per_update, trace_of
from rewardsmith.rl.measuring import Point


def points(kls, **others):
    """Return points every 3 steps; each number stands for two prompts, around it."""
    measures = {"kl": kls, **others}
    rows = zip(*measures.values(), strict=True)
    return [
        Point(3 * place, {name: [value - 0.1, value + 0.1] for name, value in zip(measures, row, strict=True)})
        for place, row in enumerate(rows)
    ]


def test_signals_by_hand():
    run = points([0, 3, 12], length=[10, 10, 15], entropy=[1, 1, math.e], cut=[0.2, 0.2, 0.5], reward=[0, 1, 2])
    assert trace_of("kl", run) == pytest.approx([0, 3, 12])
    assert trace_of("kl_rate", run)[1:] == pytest.approx([1, 3])
    assert trace_of("kl_rate", run, steps_per_update=3)[1:] == pytest.approx([3, 9])
    assert trace_of("kl_acceleration", run)[2] == pytest.approx(2)
    assert trace_of("length", run)[2] == pytest.approx(1.5)
    assert trace_of("entropy", run)[2] == pytest.approx(1)
    assert trace_of("cut", run)[2] == pytest.approx(0.3)
    assert trace_of("gain", run)[2] == pytest.approx(2 / (0.1 * math.sqrt(2)))
    assert all(math.isnan(value) for value in trace_of("gold_drop", run))


def test_a_drop_is_paired_with_the_best_earlier_point_and_counts_in_standard_errors():
    run = [Point(0, {"gold": [0.0, 0.0]}), Point(1, {"gold": [3.0, 5.0]}), Point(2, {"gold": [1.0, 2.0]})]
    losses = [2.0, 3.0]
    error = math.sqrt(0.5) / math.sqrt(2)
    assert trace_of("gold_drop", run)[2] == pytest.approx(sum(losses) / 2 / error)


def test_a_threshold_is_the_conformal_quantile_of_the_highest_values():
    assert conformal(list(range(19))) == 18
    assert conformal(list(range(39))) == 37
    assert conformal([1.0, 2.0]) == 2.0
    clean = [points([0, top, top / 2]) for top in range(1, 40)]
    assert fit_threshold("kl", clean) == pytest.approx(38)
    with pytest.raises(ConfigError, match="no clean run measured what gold_drop needs"):
        fit_threshold("gold_drop", clean)


def test_an_alarm_says_what_is_too_high_and_what_to_do_once(caplog):
    guard = Guard({"kl_rate": 2.0}, "warn")
    run = points([0, 3, 12, 30])
    with caplog.at_level(logging.WARNING):
        assert guard.watch(run[:2]) == []
        assert [alarm.step for alarm in guard.watch(run[:3])] == [6]
        assert guard.watch(run) == []
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "guard: step 6: the growth of KL, in nats an update, is 3, more than 2, which one clean run in 20 "
        "reaches: the reward may be gamed; raise the price of KL or take an earlier checkpoint"
    )
    record = guard.record(run)
    assert record["alarms"][0]["step"] == 6
    assert json.dumps(record)


@pytest.mark.parametrize(("bad", "word"), [(math.nan, "not a number"), (math.inf, "infinite"), (-math.inf, "infinite")])
@pytest.mark.parametrize("name", ["kl", "kl_rate", "length", "entropy", "cut", "gain", "gold_drop"])
def test_a_signal_that_is_no_finite_number_is_an_alarm_of_its_own(name, bad, word, caplog):
    measure = SIGNALS[name].needs
    run = [Point(step, {measure: [1.0, 2.0]}) for step in (0, 3)] + [Point(6, {measure: [bad, bad]})]
    guard = Guard({name: 100.0}, "warn")
    assert guard.watch(run[:2]) == []
    (alarm,) = guard.watch(run)
    assert (alarm.signal, alarm.step) == (name, 6)
    assert f"{SIGNALS[name].words} is {word}: the run may be broken" in caplog.text
    assert guard.watch([*run, Point(9, {measure: [bad, 1.0]})]) == []
    record = guard.record(run)
    assert record["alarms"][0]["value"] is None
    assert json.dumps(record, allow_nan=False)


def test_one_prompt_without_a_number_is_an_alarm_of_kl_but_not_of_rewards():
    run = [Point(0, {name: [1.0, 2.0] for name in ("kl", "reward")})]
    run.append(Point(1, {name: [1.0, math.nan] for name in ("kl", "reward")}))
    assert [alarm.signal for alarm in Guard({"kl_rate": 9.0, "kl": 9.0, "gain": 9.0}).alarms(run)] == ["kl_rate"]


def test_an_entropy_that_falls_to_nothing_is_an_alarm():
    (alarm,) = Guard({"entropy": 1.0}).alarms([Point(0, {"entropy": [1.0]}), Point(1, {"entropy": [0.0]})])
    assert str(alarm).startswith("step 1: the change of entropy, as a logarithm, is infinite: ")


@pytest.mark.parametrize("missing", [{}, {"kl": []}, {"kl": [math.nan, math.nan]}, {"kl": [math.inf, -math.inf]}])
def test_a_missing_point_is_bridged_over_the_steps_between(missing):
    run = points([0, 3, 12, 30])
    run[1] = Point(3, missing)
    trace = trace_of("kl_rate", run)
    assert math.isnan(trace[1])
    assert trace[2:] == pytest.approx([12 / 6, 18 / 3])
    assert trace_of("kl_acceleration", run)[3] == pytest.approx(18 / 3 - 12 / 6)
    assert Guard({"kl_rate": 5.0}).alarms(run)[-1].step == 9
    assert len(Guard({"kl_rate": 5.0}).alarms(run)) == (2 if any(missing.values()) else 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "3", True])
def test_a_threshold_that_is_no_finite_number_is_refused(value):
    with pytest.raises(ConfigError, match="the threshold of kl must be a finite number, not "):
        Guard({"kl": value})


def test_what_is_only_reported_is_not_logged(caplog):
    assert Guard({"kl": 1.0}).watch(points([0, 5]))
    assert not caplog.records


def test_updates_are_batches_of_samples_not_optimizer_steps():
    assert steps_per_update({"num_iterations": 2, "steps_per_generation": 4, "gradient_accumulation_steps": 4}) == 2
    assert steps_per_update({"num_iterations": 1, "steps_per_generation": 8, "gradient_accumulation_steps": 2}) == 4
    assert steps_per_update({"num_ppo_epochs": 4, "gradient_accumulation_steps": 2}) == 1


def test_clean_runs_of_yours_set_the_thresholds(tmp_path, caplog):
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows = [{"step": 2 * step, "values": {"kl": [step * (number + 1.0)]}} for step in range(3)]
        (folder / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "run.json").write_text(json.dumps({"settings": {"num_iterations": 2}}))
    assert [point.step for point in read_updates(tmp_path / "0")] == [0, 1, 2]
    guard = Guard.from_clean_runs([tmp_path / str(number) for number in range(3)], ["kl_rate"])
    assert guard.thresholds == {"kl_rate": 3.0}
    assert "3 clean runs hold false alarms of about 1 in 4 runs, not 1 in 20; give 19 or more" in caplog.text
    with pytest.raises(ConfigError, match=r"holds no run\.json; name the output_dir of finished runs"):
        Guard.from_clean_runs([tmp_path])


def test_unknown_signals_and_modes_are_refused():
    with pytest.raises(ConfigError, match="no signal 'mood'; one of kl, "):
        Guard({"mood": 1.0})
    with pytest.raises(ConfigError, match="guard must be one of report, warn, stop, off, not 'shout'"):
        Guard({}, "shout")
    assert set(Guard().thresholds) <= set(SIGNALS)
