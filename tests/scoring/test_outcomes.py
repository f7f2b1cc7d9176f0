"""How a comparison ends: by hand for each objective, its laws, ensembles, and what gives no probabilities."""

import json
import math
from pathlib import Path

import foreign_layouts
import pytest
import tiny_models
import torch

from rewardsmith import RewardModel
from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.evaluation import Resampling, evaluate
from rewardsmith.evaluation.judged import comparison_rows
from rewardsmith.models.checkpoint import save_reward_model
from rewardsmith.models.contract import read_contract
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.objectives import OBJECTIVES
from rewardsmith.records import ScoreRequest
from rewardsmith.report.twins import score_file
from rewardsmith.scoring.ensemble import EnsembleModel
from rewardsmith.scoring.laplace import fit_laplace
from rewardsmith.scoring.outcomes import NUM_POINTS, read_outcomes

ASKED = ("is maybe", "good", " the question is maybe awful")
THRESHOLDS = {"rao_kupper": 0.7, "davidson": -0.4}


def save(folder, seed, objective):
    model, tokenizer = tiny_models.qwen2()
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    save_reward_model(model, tokenizer, folder, prepare_model(model), verify=False, objective=objective)
    return str(folder)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    ties = {name: {"loss_type": name, "threshold": value, "num_tokens": 1} for name, value in THRESHOLDS.items()}
    kinds = {"plain": {"loss_type": "bradley_terry", "threshold": None}, **ties, "other": ties["davidson"]}
    return {name: save(folder / name, seed, kinds[name]) for seed, name in enumerate(kinds)}


@pytest.fixture(scope="module")
def models(paths):
    return {name: RewardModel.from_pretrained(path, device="cpu") for name, path in paths.items()}


def lead(model):
    first, second = model.score(ASKED[0], list(ASKED[1:]))
    return first - second


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def test_each_objective_by_hand(models):
    d = lead(models["plain"])
    assert models["plain"].outcome_probabilities(*ASKED) == (
        pytest.approx(sigmoid(d)),
        pytest.approx(sigmoid(-d)),
        None,
    )
    d, t = lead(models["rao_kupper"]), THRESHOLDS["rao_kupper"]
    win, loss = sigmoid(d - t), sigmoid(-d - t)
    assert models["rao_kupper"].outcome_probabilities(*ASKED) == pytest.approx((win, loss, 1 - win - loss))
    d, nu = lead(models["davidson"]), math.exp(THRESHOLDS["davidson"])
    total = math.exp(d / 2) + math.exp(-d / 2) + nu
    expected = (math.exp(d / 2) / total, math.exp(-d / 2) / total, nu / total)
    assert models["davidson"].outcome_probabilities(*ASKED) == pytest.approx(expected)
    # Of those who prefer a side, Davidson's share is that of Bradley-Terry.
    assert models["davidson"].preference_probability(*ASKED) == pytest.approx(sigmoid(d))


@pytest.mark.parametrize("name", THRESHOLDS)
def test_they_sum_to_one_and_swap_with_the_answers(models, name):
    one = models[name].outcome_probabilities(*ASKED)
    two = models[name].outcome_probabilities(ASKED[0], ASKED[2], ASKED[1])
    assert sum(one) == pytest.approx(1)
    assert (two.first, two.second, two.tie) == pytest.approx((one.second, one.first, one.tie))


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_temperature_divides_rewards_and_leaves_the_threshold(models, name):
    model = models[name]
    same = model.outcome_probabilities("is", "good", "good").tie
    before = model.contract.temperature
    try:
        model.contract.temperature = 4.0
        by_hand = OBJECTIVES[name].log_outcomes(
            torch.tensor([lead(model) / 4]).double(), torch.tensor(THRESHOLDS[name])
        )
        assert model.outcome_probabilities(*ASKED) == pytest.approx([float(log.exp()) for log in by_hand])
        assert model.outcome_probabilities("is", "good", "good").tie == pytest.approx(same)
    finally:
        model.contract.temperature = before


def test_what_was_fitted_goes_before_what_training_learned_and_stands_in_rows(models):
    model = models["davidson"]
    before = model.contract
    rows = [{"prompt": ASKED[0], "chosen": ASKED[1], "rejected": ASKED[2]}]
    try:
        fitted = {"temperature": 3.0, "tie_model": "rao_kupper", "tie_threshold": 0.4}
        model.contract = before.model_copy(update=fitted)
        by_hand = OBJECTIVES["rao_kupper"].log_outcomes(torch.tensor([lead(model) / 3]).double(), torch.tensor(0.4))
        expected = [float(log.exp()) for log in by_hand]
        assert model.outcome_probabilities(*ASKED) == pytest.approx(expected)
        assert read_outcomes(model).trained_ties == ("davidson",)
        result = evaluate(model, rows, how=Resampling(10))
        [row] = comparison_rows(result.scored)
        names = ("better_probability", "worse_probability", "tie_probability")
        assert [row[name] for name in names] == pytest.approx(expected)
        assert result.calibration.ties.chosen_by == "training"
    finally:
        model.contract = before
    [plain] = comparison_rows(evaluate(models["plain"], rows, how=Resampling(10)).scored)
    assert "tie_probability" not in plain


def test_a_contract_with_half_a_threshold_is_refused_in_one_line(paths, tmp_path):
    values = json.loads((Path(paths["plain"]) / "scoring_contract.json").read_text())
    for update, why in (
        ({"tie_model": "davidson"}, r"json: tie_model and tie_threshold belong together; restore"),
        ({"tie_model": "rao_kupper", "tie_threshold": -1.0}, "a tie_threshold of rao_kupper is above 0"),
    ):
        (tmp_path / "scoring_contract.json").write_text(json.dumps(values | update))
        with pytest.raises(CheckpointError, match=why):
            read_contract(tmp_path)
    older = {name: value for name, value in values.items() if not name.startswith("tie_")}
    (tmp_path / "scoring_contract.json").write_text(json.dumps(older))
    assert read_contract(tmp_path).tie_model is None


@pytest.mark.parametrize("combine", ["mean", "min"])
def test_an_ensemble_gives_the_mean_of_its_members_however_rewards_are_combined(models, combine):
    members = [models["rao_kupper"], models["davidson"], models["other"]]
    several = EnsembleModel(members, combine)
    alone = [member.outcome_probabilities(*ASKED) for member in members]
    found = several.outcome_probabilities(*ASKED)
    assert found == pytest.approx([sum(values) / 3 for values in zip(*alone, strict=True)])
    assert several.preference_probability(*ASKED) == pytest.approx(found.first / (found.first + found.second))
    plain = EnsembleModel([models["plain"], models["plain"]], combine)
    assert plain.outcome_probabilities(*ASKED) == models["plain"].outcome_probabilities(*ASKED)


def test_members_with_and_without_ties_are_refused_by_name(models):
    mixed = EnsembleModel([models["plain"], models["davidson"]])
    with pytest.raises(ConfigError, match=r"davidson knows ties and .*plain none.*members of one loss_type"):
        mixed.outcome_probabilities(*ASKED)


def test_a_wide_distribution_of_the_head_is_averaged_over(tmp_path):
    folder = save(tmp_path / "m", 3, {"loss_type": "rao_kupper", "threshold": 0.7})
    sure = RewardModel.from_pretrained(folder).outcome_probabilities(*ASKED)
    fit_laplace(folder, tiny_models.pairs(24))
    model = RewardModel.from_pretrained(folder)
    [[one, two]] = model.read_columns([ScoreRequest(ASKED[0], ASKED[1:])])
    mean, *rest = (a - b for a, b in zip(one, two, strict=True))
    draws = torch.distributions.Normal(mean, math.hypot(*rest))
    grid = draws.icdf((torch.arange(20_000).double() + 0.5) / 20_000)
    by_hand = OBJECTIVES["rao_kupper"].log_outcomes(grid, torch.tensor(0.7).double())
    found = model.outcome_probabilities(*ASKED)
    assert found == pytest.approx([float(log.exp().mean()) for log in by_hand], abs=2e-3)
    assert NUM_POINTS == 64
    assert abs(found.preference - 0.5) < abs(sure.preference - 0.5)


def test_rewards_that_are_no_log_odds_give_none(tmp_path):
    path, _ = foreign_layouts.step_model(tmp_path / "prm")
    model = RewardModel.from_pretrained(str(path))
    with pytest.raises(ConfigError, match="not scored by a head of log odds, so it gives no probabilities"):
        read_outcomes(model)


def test_a_file_of_pairs_gets_the_probabilities_that_python_gives(models, tmp_path):
    prompt, first, second = ASKED
    rows = [{"prompt": prompt, "chosen": first, "rejected": second}, {"prompt": prompt, "completions": [second, first]}]
    rows += [{"prompt": prompt, "completions": [first, None]}, {"prompt": prompt, "completion": first}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = score_file(models["davidson"], tmp_path / "in.jsonl", tmp_path / "out.jsonl", probabilities=True)
    assert dict(report.failed) == {"not a pair": 1}
    pair, two, half = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    expected = models["davidson"].outcome_probabilities(*ASKED)
    names = ("chosen_probability", "rejected_probability", "tie_probability")
    assert [pair[name] for name in names] == pytest.approx(expected)
    assert [*two["probabilities"], two["tie_probability"]] == pytest.approx((expected[1], expected[0], expected[2]))
    assert half["probabilities"] == [None, None]
    assert "chosen_reward_parts" not in pair
    score_file(models["plain"], tmp_path / "in.jsonl", tmp_path / "plain.jsonl", probabilities=True)
    first_row = json.loads((tmp_path / "plain.jsonl").read_text().splitlines()[0])
    assert first_row["chosen_probability"] + first_row["rejected_probability"] == pytest.approx(1)
    assert "tie_probability" not in first_row
