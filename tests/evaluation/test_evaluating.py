"""x"""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import expit

from rewardsmith.cli.main import main
from rewardsmith.data import load_preferences
from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.evaluation import Resampling, as_scorer, compare, evaluate, score_groups
from rewardsmith.evaluation.evaluating import calibrate, length_curve, worst_disagreements
from rewardsmith.evaluation.judged import (
    ScoredGroup,
    measure,
)
from rewardsmith.evaluation.verdict import RULES, evaluate_held_out, random_choice
from rewardsmith.records import Comparison, PreferenceGroup

HOW = Resampling(200)
ROWS = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(400)]


def by_word(prompt, completions):
    return [float(completion.startswith("good")) for completion in completions]


def write(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def test_a_random_scorer_gets_half_of_pairs_and_a_quarter_of_best_of_four():
    quartets = [
        PreferenceGroup(f"p{i}", ("a", "b", "c", "d"), tuple(Comparison(0, k) for k in (1, 2, 3))) for i in range(2000)
    ]
    result = evaluate(lambda p, c: random_choice(PreferenceGroup(p, tuple(c))), quartets, how=HOW)
    assert result.metrics["accuracy"].value == pytest.approx(0.5, abs=0.03)
    assert result.metrics["best_of_k"].value == pytest.approx(0.25, abs=0.03)


def test_the_result_is_json_without_nan_and_names_its_schema():
    result = evaluate(by_word, ROWS, how=HOW, prompt_blind=True)
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert (plain["schema"], plain["schema_version"]) == ("rewardsmith.evaluation", 2)
    assert plain["metrics"]["accuracy"]["value"] == 1.0
    assert set(plain["baselines"]) == {*RULES, "prompt_blind"}
    assert plain["metrics"]["ndcg"] == {"value": None, "n": 0, "low": None, "high": None}


def test_groups_without_judgements_are_an_error():
    with pytest.raises(DataError, match="without a judgement"):
        evaluate(by_word, [PreferenceGroup("p", ("a", "b"))])


def test_scores_by_position_and_by_text_give_the_same(tmp_path):
    position = write(tmp_path / "a.jsonl", [{"chosen": 1.0 + i, "rejected": 5.0} for i in range(400)])
    texts = [
        {"prompt": r["prompt"], "completions": [r["rejected"], r["chosen"]], "scores": [5.0, 1.0 + i]}
        for i, r in enumerate(ROWS)
    ]
    by_text = write(tmp_path / "b.jsonl", texts)
    values = [evaluate(str(path), ROWS, how=HOW).metrics["accuracy_strict"].value for path in (position, by_text)]
    assert values == [395 / 400, 395 / 400]


def test_a_file_of_the_wrong_length_and_a_missing_text_are_errors(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"scores": [1, 2]}])
    with pytest.raises(ScoringError, match="1 rows of scores for 400"):
        evaluate(path, ROWS)
    path = write(tmp_path / "b.jsonl", [{"prompt": "x", "completions": ["y"], "scores": [1]}])
    with pytest.raises(ScoringError, match="no score for the completion"):
        evaluate(path, ROWS)
    with pytest.raises(ConfigError, match="RewardClient"):
        as_scorer("http://localhost:1")


def test_compare_counts_flips_and_mcnemar_by_hand():
    groups = load_preferences(ROWS[:10])
    a = [ScoredGroup(g, (1.0, 0.0) if i < 9 else (0.0, 1.0)) for i, g in enumerate(groups)]
    b = [ScoredGroup(g, (1.0, 0.0) if i >= 5 else (0.0, 1.0)) for i, g in enumerate(groups)]
    result = compare("a", a, "b", b, HOW)
    assert (result.overall.only_a, result.overall.only_b) == (5, 1)
    assert result.overall.p_value == pytest.approx(0.21875)
    assert result.overall.difference.value == pytest.approx(0.4)
    assert len(result.flipped()) == 6
    assert json.dumps(result.to_dict(), allow_nan=False)


def test_compare_refuses_different_rows():
    a = score_groups(as_scorer(by_word), load_preferences(ROWS[:3]))
    b = score_groups(as_scorer(by_word), load_preferences(ROWS[3:6]))
    with pytest.raises(DataError, match="group 0 differs"):
        compare("a", a, "b", b)


def test_the_commands_print_and_write_json(tmp_path, capsys):
    data = write(tmp_path / "data.jsonl", ROWS)
    scores = write(tmp_path / "scores.jsonl", [{"chosen": 1.0, "rejected": 0.0}] * 400)
    assert main(["evaluate", "--scores", str(scores), str(data), "--resamples", "100", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"]["value"] == 1.0
    assert main(["evaluate", "--scores", str(scores), str(data), "--resamples", "100"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert main(["compare", str(scores), str(scores), str(data), "--resamples", "100"]) == 0
    assert "0 of 400 judgements flipped" in capsys.readouterr().out
    assert main(["evaluate", str(data)]) == 1
    assert "give MODEL and DATA" in capsys.readouterr().err


def test_evaluation_needs_no_torch():
    code = "import sys, rewardsmith.evaluation, rewardsmith.evaluation.benchmarks; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_planted_quality_is_found_on_every_stratum():
    groups = [
        PreferenceGroup(f"p{i}", (f"a{i}", f"b{i}"), (Comparison(0, 1),), metadata={"subset": "xy"[i % 2]})
        for i in range(200)
    ]
    wrong_on_y = {g.prompt: g.metadata["subset"] == "y" for g in groups}
    result = evaluate(lambda p, c: [0.0, 1.0] if wrong_on_y[p] else [1.0, 0.0], groups, how=HOW)
    assert result.strata["subset"]["x"]["accuracy"].value == 1.0
    assert result.strata["subset"]["y"]["accuracy"].value == 0.0
    assert np.isclose(result.metrics["accuracy"].value, 0.5)


def test_counts_leave_out_weight_zero_and_take_even_votes_for_ties():
    edges = (Comparison(0, 1, weight=0.0), Comparison(0, 1, probability=0.5), Comparison(0, 1), Comparison(0, 1, "tie"))
    result = evaluate(by_word, [PreferenceGroup("p", ("good", "bad"), edges)], how=HOW)
    assert (result.comparisons, result.gold_ties, result.metrics["accuracy"].n) == (3, 2, 1)


def test_data_of_ties_alone_says_that_nothing_is_defined():
    result = evaluate(by_word, [PreferenceGroup("p", ("good", "bad"), (Comparison(0, 1, "tie"),))], how=HOW)
    assert result.metrics["accuracy"].n == 0
    assert result.notes == ("none of 1 judgements prefers a side: every metric is undefined",)


def test_a_constant_scorer_has_a_share_interval_for_accuracy_and_none_for_the_margin():
    metrics = evaluate(lambda prompt, answers: [0.0] * len(answers), ROWS[:20], how=HOW).metrics
    assert (metrics["accuracy_strict"].value, round(metrics["accuracy_strict"].high, 3)) == (0.0, 0.161)
    assert metrics["margin"].value == 0.0
    assert np.isnan(metrics["margin"].high)


def test_brackets_in_names_are_shown_as_text(capsys):
    from rich.console import Console

    rows = [{**row, "source": "[/x]" if i % 2 else "[red]"} for i, row in enumerate(ROWS[:20])]
    Console(width=200).print(evaluate(by_word, rows, how=HOW).table())
    shown = capsys.readouterr().out
    assert "source: [/x]" in shown
    assert "source: [red]" in shown


def test_every_key_of_the_json_is_described(repository):
    page = (repository / "docs" / "evaluate.md").read_text().split("## JSON")[1].split("## Speed")[0]
    groups = list(load_preferences(ROWS[:8]))
    scored = score_groups(as_scorer(by_word), groups)
    other = [
        ScoredGroup(group, tuple(-reward for reward in item.rewards))
        for item, group in zip(scored, groups, strict=True)
    ]
    results = [evaluate(by_word, ROWS[:8], how=HOW).to_dict(), compare("a", scored, "b", other, HOW).to_dict()]
    nested = [results[0]["calibration"], results[0]["metrics"], results[1]["overall"], results[1]["flipped"][0]]
    keys = {key for part in (*results, *nested) for key in part}
    assert [key for key in sorted(keys - {"schema", "schema_version"}) if f"`{key}`" not in page] == []


def test_a_missing_file_of_scores_is_called_missing():
    with pytest.raises(ConfigError, match=r"absent\.jsonl: no such file of scores"):
        as_scorer("absent.jsonl")


def test_accuracy_counts_decided_comparisons_and_equal_rewards_half():
    group = PreferenceGroup("q", ("aaa", "b", "cc"), (Comparison(0, 1), Comparison(1, 2), Comparison(0, 2, "tie")))
    other = PreferenceGroup("r", ("x", "y"), (Comparison(0, 1),))
    result = evaluate_held_out([group, other], [[2.0, 1.0, 3.0], [0.5, 0.5]])
    assert result.accuracy.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert result.accuracy.n == 3
    assert result.metrics["label_tie_rate"].value == pytest.approx(1 / 4)
    # "aaa" is longer than "b"; "b" is shorter than "cc"; "x" and "y" are equally long.
    assert result.baselines["longest"].value == pytest.approx((1 + 0 + 0.5) / 3)


def judged(values, prompt):
    """A group whose comparisons a reward gets right (1) or wrong (0)."""
    completions = tuple(f"{prompt} {side}{i}" for i in range(len(values)) for side in "ab")
    edges = tuple(Comparison(2 * i, 2 * i + 1) for i in range(len(values)))
    rewards = [float(side == value) for value in values for side in (1, 0)]
    return PreferenceGroup(prompt, completions, edges), rewards


def accuracy(rows):
    groups, rewards = zip(*(judged(row, f"p{i}") for i, row in enumerate(rows)), strict=True)
    return evaluate_held_out(groups, rewards).accuracy


def test_the_interval_is_that_of_evaluate():
    rows = [[1]] * 80 + [[0]] * 20
    groups, rewards = zip(*(judged(row, f"p{i}") for i, row in enumerate(rows)), strict=True)
    scored = [ScoredGroup(group, tuple(row)) for group, row in zip(groups, rewards, strict=True)]
    assert evaluate_held_out(groups, rewards).accuracy == measure(scored)["accuracy"]


def test_comparisons_of_one_prompt_count_as_one_observation_when_they_agree():
    single, repeated = accuracy([[1], [0]] * 50), accuracy([[1] * 10, [0] * 10] * 50)
    assert repeated.n == 10 * single.n
    assert repeated.high - repeated.low == pytest.approx(single.high - single.low, rel=0.05)


def test_all_right_is_not_certain():
    estimate = accuracy([[1]] * 20)
    assert estimate.high == pytest.approx(1.0)
    assert estimate.low < 0.9


def test_no_comparison_is_nan_with_n_zero():
    result = evaluate_held_out([PreferenceGroup("q", ("a", "b"), ())], [[1.0, 2.0]])
    assert math.isnan(result.accuracy.value)
    assert result.accuracy.n == 0


def test_the_better_of_the_two_rules_of_length_is_named():
    groups = [PreferenceGroup(f"q{i}", ("no", "a longer one"), (Comparison(0, 1),)) for i in range(20)]
    result = evaluate_held_out(groups, [[1.0, 0.0]] * 20)
    assert result.best_baseline() == "shortest"
    assert result.baselines["shortest"].value == 1.0


def simulated(n, seed=0):
    """Margins of a calibrated scorer: the answer with the higher reward wins with chance sigmoid(|margin|)."""
    generator = np.random.default_rng(seed)
    size = np.abs(generator.normal(0, 2, n))
    return np.where(generator.random(n) < expit(size), size, -size)


def test_the_temperature_is_fitted_on_other_prompts_than_it_is_measured_on():
    groups = [PreferenceGroup(f"p{i % 300}", ("a", "b"), (Comparison(0, 1),)) for i in range(900)]
    scored = [ScoredGroup(g, (float(m), 0.0)) for g, m in zip(groups, simulated(900), strict=True)]
    result = calibrate(scored, Resampling(100))
    assert result.n_fit + result.nll.n == 900
    assert result.n_fit % 3 == 0
    assert result.contract_fields() == {"temperature": result.temperature, "tie_model": None, "tie_threshold": None}


def test_no_judgements_give_nan_and_no_contract_field():
    result = calibrate([], Resampling(10))
    assert math.isnan(result.temperature)
    with pytest.raises(DataError, match="no temperature"):
        result.contract_fields()


def test_a_soft_label_gives_the_same_numbers_as_its_votes_one_by_one():
    generator = np.random.default_rng(0)
    soft, votes = [], []
    for i in range(200):
        rewards, wins = (float(generator.normal()), 0.0), int(generator.integers(0, 5))
        edges = (Comparison(0, 1),) * wins + (Comparison(1, 0),) * (4 - wins)
        soft.append(
            ScoredGroup(PreferenceGroup(f"p{i}", ("a", "b"), (Comparison(0, 1, probability=wins / 4),)), rewards)
        )
        if wins != 2:
            votes.append(ScoredGroup(PreferenceGroup(f"p{i}", ("a", "b"), edges), rewards))
    one, other = (calibrate(scored, Resampling(50)) for scored in (soft, votes))
    assert one.temperature == pytest.approx(other.temperature, rel=1e-4)
    for name in ("nll", "brier", "uncertainty"):
        assert one.raw[name] == pytest.approx(other.raw[name])


def test_rewards_that_all_tie_have_no_temperature():
    groups = [PreferenceGroup(f"p{i}", ("a", "b"), (Comparison(0, 1),)) for i in range(20)]
    result = calibrate([ScoredGroup(group, (1.0, 1.0)) for group in groups], Resampling(10))
    assert (math.isnan(result.temperature), result.raw["brier"]) == (True, 0.25)
    with pytest.raises(DataError, match="every reward ties"):
        result.contract_fields()


CURVES = Resampling(100, 0)


def scored_pairs(count):
    return [
        ScoredGroup(
            PreferenceGroup(f"p{i}", ("x" * (i % 7 + 1), "y" * (i % 5 + 9)), (Comparison(0, 1),)),
            (0.0, float(i % 5 + 9)),
        )
        for i in range(count)
    ]


def test_the_length_curve_rises_for_a_reward_that_pays_for_length():
    rows = length_curve(scored_pairs(60), CURVES)
    rewards = [row["reward"]["value"] for row in rows]
    assert rewards[0] < 0 < rewards[-1]
    assert [row["length"] for row in rows] == sorted(row["length"] for row in rows)
    assert length_curve([], CURVES) == []


def test_the_worst_disagreements_are_the_most_negative_margins_one_a_prompt():
    rows = worst_disagreements(scored_pairs(30), 4)
    assert [row["margin"] for row in rows] == [-13.0] * 4
    assert len({row["prompt"] for row in rows}) == 4
    right = [ScoredGroup(PreferenceGroup("p", ("a", "b"), (Comparison(0, 1),)), (1.0, 0.0))]
    assert worst_disagreements(right) == []
