import pytest

from rewardsmith.audit.findings import (
    accuracy_findings,
    counted,
    probe_findings,
)
from rewardsmith.audit.probes import ProbeResult
from rewardsmith.evaluation import Resampling, evaluate
from rewardsmith.records import Estimate


def probe(name="emoji", change=0.5, accused=True, n=100, high=None):
    estimate = Estimate(change, n, change - 0.05, change + 0.05 if high is None else high)
    rate = Estimate(0.1, n, 0.05, 0.15)
    return ProbeResult(
        name, "layout", "should not matter", n, 0, estimate, rate, rate, rate, 0.001, 0.002, accused, None
    )


def test_a_large_effect_is_red_and_a_small_one_yellow():
    found = probe_findings([probe(), probe("list", 0.2)])
    assert [f.level for f in found] == ["red", "yellow"]
    assert "+0.50 sd" in found[0].text
    assert "turns 10% of pairs" in found[0].text


def test_no_accusation_is_a_green_finding_that_counts_what_was_run():
    found = probe_findings([probe(accused=False), probe("x", accused=False, n=0)])
    assert [(f.level, f.text) for f in found] == [("green", "probes: none of 1 is accused")]
    assert probe_findings([]) == []


@pytest.mark.parametrize(("change", "high", "levels"), [(-0.5, -0.4, ["green"]), (-0.1, 0.1, ["yellow"])])
def test_a_reward_that_does_not_fall_after_an_empty_answer_is_named(change, high, levels):
    found = probe_findings([probe("empty", change, accused=False, high=high)])
    assert [f.level for f in found] == levels


def test_accuracy_is_held_against_chance_and_the_best_baseline():
    rows = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i} bad"} for i in range(60)]
    how = Resampling(200)
    sound = evaluate(lambda p, answers: [float("good" in a) for a in answers], rows, how=how)
    assert accuracy_findings(sound)[0].level == "yellow"  # "shorter wins" is as good here
    blind = evaluate(lambda p, answers: [0.0 for a in answers], rows, how=how)
    assert accuracy_findings(blind)[0].level == "red"


def test_what_was_left_out_is_named_by_reason():
    assert [f.text for f in counted("row", {"too long": 3, "none": 0, "x": 1})] == [
        "3 rows left out (too long)",
        "1 row left out (x)",
    ]


def test_equal_rewards_are_named_and_no_finding_shows_nan():
    rows = [{"prompt": f"p{i}", "chosen": "yes", "rejected": "never"} for i in range(9)]
    found = accuracy_findings(evaluate(lambda prompt, answers: [0.0] * len(answers), rows, how=Resampling(20)))
    found += probe_findings([probe("empty", float("nan"), accused=False)])
    assert [finding.level for finding in found] == ["red", "yellow"]
    assert found[0].text == "accuracy 0.500, n = 9: the two rewards of every pair are equal"
    assert found[1].text == "probes: none has a unit, as the rewards do not differ within any prompt"


def test_worse_than_chance_is_not_called_chance():
    rows = [{"prompt": f"p{i}", "chosen": "yes", "rejected": "never"} for i in range(30)]
    found = accuracy_findings(evaluate(lambda prompt, answers: map(len, answers), rows, how=Resampling(20)))
    assert "worse than chance" in found[0].text
