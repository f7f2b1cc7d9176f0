"""One model and one set of rows have one accuracy, one margin, one tie rate and one n, whoever reports them."""

import math
from types import SimpleNamespace

import pytest
import tiny_models
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_runs import trainer_for

from rewardsmith.audit import AuditPlan, audit
from rewardsmith.errors import DataError
from rewardsmith.evaluation import compare, evaluate
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.verdict import evaluate_held_out
from rewardsmith.objectives import comparisons_of_groups
from rewardsmith.records import Comparison, PreferenceGroup, text_key
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.stats.intervals import Resampling
from rewardsmith.training.collator import collate_comparisons
from rewardsmith.training.encoding import keep_completions
from rewardsmith.training.loss import RewardMetrics

FEW = Resampling(20)
NAMES = ("accuracy", "accuracy_strict", "margin", "label_tie_rate", "reward_tie_rate")


@st.composite
def judged_rows(draw):
    """Groups with every kind of label, and coarse rewards, so that equal ones are common."""
    groups, rewards = [], []
    for number in range(draw(st.integers(1, 4))):
        size = draw(st.integers(2, 4))
        sides = st.integers(0, size - 1)
        edge = st.builds(
            Comparison,
            better=sides,
            worse=sides,
            outcome=st.sampled_from(["better", "better", "tie"]),
            margin=st.sampled_from([None, 1.0]),
            weight=st.sampled_from([1.0, 0.0, 0.3]),
            probability=st.sampled_from([None, 0.0, 0.2, 0.5, 0.8, 1.0]),
            annotator=st.sampled_from([None, "a", "b"]),
        )
        edges = draw(st.lists(edge, min_size=1, max_size=5))
        texts = tuple(f"answer {number} {side}" for side in range(size))
        prompt = draw(st.sampled_from(["", "shared", f"own {number}"]))
        groups.append(PreferenceGroup(prompt, texts, tuple(edges)))
        rewards.append(draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5]), min_size=size, max_size=size)))
    return groups, rewards


def logged_by_training(groups, rewards):
    """The metrics that the trainer logs, from the rows as it encodes and collates them."""
    encoded = [keep_completions(group, [[1]] * len(group), [True] * len(group)) for group in groups]
    metrics = RewardMetrics()
    flat = torch.tensor([reward for row in rewards for reward in row])
    metrics.update(flat, collate_comparisons(encoded), SimpleNamespace(logical_tokens=1, distinct_tokens=1))
    return metrics


def reports(groups, rewards):
    """Every report's metrics for these rewards, by name of the reporter."""
    table = {text_key(c): r for g, row in zip(groups, rewards, strict=True) for c, r in zip(g.completions, row)}  # noqa: B905

    def scorer(prompt, answers):
        return [table[text_key(answer)] for answer in answers]

    evaluated = evaluate(scorer, groups, how=FEW)
    audited = audit(scorer, groups, AuditPlan(how=FEW, probes=(), sample=2))
    training = logged_by_training(groups, rewards)
    return {
        "evaluate": {name: evaluated.metrics[name].value for name in NAMES},
        "audit": {name: audited.evaluation.metrics[name].value for name in NAMES},
        "held out": {name: evaluate_held_out(groups, rewards, FEW).metrics[name].value for name in NAMES},
        "training": {name: training.summary()[name] for name in NAMES},
    }, (evaluated, training)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(judged_rows())
def test_every_report_gives_one_number_for_one_name(rows):
    groups, rewards = rows
    found, (evaluated, training) = reports(groups, rewards)
    for name in NAMES:
        values = [report[name] for report in found.values()]
        assert values == [pytest.approx(values[0], abs=1e-6, nan_ok=True)] * len(values), (name, found)
    assert training.comparisons == evaluated.comparisons
    assert training.decided == evaluated.metrics["accuracy"].n
    scored = [ScoredGroup(group, tuple(row)) for group, row in zip(groups, rewards, strict=True)]
    accuracy = found["evaluate"]["accuracy"]
    if math.isnan(accuracy):
        with pytest.raises(DataError, match="prefers a side"):
            compare("a", scored, "b", scored, FEW)
    else:
        both = compare("a", scored, "b", scored, FEW).overall
        assert (both.accuracy_a, both.accuracy_b) == pytest.approx((accuracy, accuracy))
        assert both.difference.n == evaluated.metrics["accuracy"].n


def test_soft_labels_weight_zero_and_equal_rewards_in_one_file():
    kinds = [({"probability": 0.2}, [1.0, 0.0]), ({"weight": 0.0}, [1.0, 0.0]), ({}, [0.5, 0.5])]
    groups, rewards = [], []
    for number in range(30):
        label, row = kinds[number % 3]
        groups.append(PreferenceGroup(f"q{number}", (f"a{number}", f"b{number}"), (Comparison(0, 1, **label),)))
        rewards.append(row)
    found, (evaluated, _) = reports(groups, rewards)
    # Ten soft labels are turned and wrong, ten equal rewards are half right, ten of weight 0 do not count.
    assert {report["accuracy"] for report in found.values()} == {0.25}
    assert {report["accuracy_strict"] for report in found.values()} == {0.0}
    assert evaluated.metrics["accuracy"].n == 20


def test_a_trainer_logs_the_accuracy_that_evaluate_gives_the_saved_model(tmp_path):
    labels = [{}, {"probability": 0.2}, {"probability": 0.5}, {"weight": 0.0}, {"outcome": "tie"}, {"probability": 0.9}]
    words = tiny_models.WORDS
    groups = [
        PreferenceGroup(f"question {a}", (f" {b}", f" {c}"), (Comparison(0, 1, **labels[i % len(labels)]),))
        for i, (a, b, c) in enumerate(zip(words, words[1:], words[2:], strict=False))
    ]
    trainer = trainer_for(tmp_path, tiny_models.pairs(4), eval_rows=groups)
    logged = trainer.evaluate()
    trainer.save_model(str(tmp_path / "model"))
    found = evaluate(RewardModel.from_pretrained(str(tmp_path / "model")), groups, how=FEW)
    assert {name: logged[f"eval_{name}"] for name in NAMES} == pytest.approx(
        {name: found.metrics[name].value for name in NAMES}, abs=1e-4
    )
    assert logged["eval_num_comparisons"] == found.comparisons


def test_the_tensor_record_reads_labels_as_training_does():
    group = PreferenceGroup(
        "q", ("a", "b"), (Comparison(0, 1, "tie", probability=0.9), Comparison(1, 0, probability=0.5))
    )
    one = comparisons_of_groups([group])
    other = collate_comparisons([keep_completions(group, [[1], [2]], [True, True])])
    for name in ("better_P", "worse_P", "is_tie_P", "probability_P", "weight_P", "margin_P"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()
