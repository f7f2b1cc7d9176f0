"""The mean of several models' weights."""

import shutil

import numpy as np
import pytest
import tiny_models
import torch
from small_runs import trainer_for

from rewardsmith import RewardModel
from rewardsmith.errors import ConfigError
from rewardsmith.models.contract import read_contract
from rewardsmith.models.verify import verify_folder
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.scoring.averaging import average_models


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folders = []
    for seed in (1, 2):
        trainer = trainer_for(tmp_path_factory.mktemp(f"member{seed}"), tiny_models.pairs(24), data_seed=seed)
        trainer.train()
        trainer.save_model()
        folders.append(str(trainer.args.output_dir))
    return folders


def weights_of(folder):
    return dict(RewardModel.from_pretrained(folder).model.named_parameters())


def test_every_weight_is_the_mean_and_the_folder_is_verified(members, tmp_path):
    found = average_models(members, tmp_path / "mean")
    first, second, mean = (weights_of(folder) for folder in (*members, str(tmp_path / "mean")))
    for name, value in mean.items():
        assert torch.allclose(value, (first[name] + second[name]) / 2, atol=1e-6)
    assert all(check.passed for check in verify_folder(found.folder))
    assert found.scale == 1.0
    assert found.cosine > 0.9


def test_held_out_judgements_set_the_scale(members, tmp_path):
    plain = average_models(members, tmp_path / "plain", verify=False)
    held_out = tiny_models.pairs(40, seed=3)
    scaled = average_models(members, tmp_path / "scaled", held_out=held_out, verify=False)
    asked = ("good?", ["bad", "nice answer"])
    before = RewardModel.from_pretrained(str(plain.folder)).score(*asked)
    model = RewardModel.from_pretrained(str(scaled.folder))
    assert model.score(*asked) == pytest.approx(np.array(before) * scaled.scale, rel=1e-4, abs=1e-6)
    assert model.contract.reward_std > 0


def test_other_bases_and_architectures_are_refused(members, tmp_path):
    other = trainer_for(tmp_path / "llama", tiny_models.pairs(8), family="llama")
    other.save_model()
    with pytest.raises(ConfigError, match="differ in architecture"):
        average_models([members[0], str(tmp_path / "llama")], tmp_path / "out")
    model, _ = tiny_models.qwen2()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    stranger = trainer_for(tmp_path / "stranger", tiny_models.pairs(8), model=model)
    stranger.save_model()
    with pytest.raises(ConfigError, match="not fine-tuned from one base"):
        average_models([members[0], str(tmp_path / "stranger")], tmp_path / "out")


def test_a_model_that_is_named_twice_is_refused(members, tmp_path):
    with pytest.raises(ConfigError, match="is named twice and would count twice"):
        average_models([members[0], members[1], f"{members[0]}/../{members[0].split('/')[-1]}"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def with_ties(members, folder, *objectives):
    """Copies of the members whose contracts say that they have learned ties."""
    found = []
    for number, objective in enumerate(objectives):
        found.append(str(shutil.copytree(members[number], folder / f"{number}{objective.get('loss_type')}")))
        contract = read_contract(found[-1])
        contract.model_copy(update={"objective": objective, "temperature": 3.0}).save(found[-1])
    return found


def test_thresholds_of_ties_are_averaged_and_other_models_of_ties_are_refused(members, tmp_path):
    learned = [{"loss_type": "davidson", "threshold": value} for value in (-1.0, 0.5)]
    found = average_models(with_ties(members, tmp_path, *learned), tmp_path / "mean", verify=False)
    contract = RewardModel.from_pretrained(str(found.folder)).contract
    assert (contract.objective["loss_type"], contract.objective["threshold"]) == ("davidson", -0.25)
    assert (contract.temperature, contract.tie_model) == (1.0, None)
    assert "threshold of davidson -0.25, the mean of what training learned" in found.ties
    mixed = with_ties(members, tmp_path / "mixed", learned[0], {"loss_type": "rao_kupper", "threshold": 0.5})
    with pytest.raises(ConfigError, match=r"1rao_kupper was trained with rao_kupper and .*0davidson with davidson"):
        average_models(mixed, tmp_path / "refused")
    half = with_ties(members, tmp_path / "half", learned[0], {"loss_type": "bradley_terry"})
    lost = average_models(half, tmp_path / "lost", verify=False)
    assert "no threshold of ties, which not all members learned" in lost.ties
    assert RewardModel.from_pretrained(str(lost.folder)).outcome_probabilities("a?", "b", "c").tie is None


def test_held_out_ties_set_scale_and_threshold_together(members, tmp_path):
    learned = [{"loss_type": "rao_kupper", "threshold": value} for value in (0.1, 0.3)]
    groups = [
        PreferenceGroup(f"is {word}", (word, other), (Comparison(0, 1, outcome),))
        for word in ("good", "bad", "nice", "awful")
        for other, outcome in (("maybe", "tie"), ("the", "better"), ("question", "tie"), ("answer", "better"))
    ]
    groups += [PreferenceGroup(g.prompt + "?", g.completions, (Comparison(1, 0),)) for g in groups[1::4]]
    found = average_models(with_ties(members, tmp_path, *learned), tmp_path / "m", held_out=groups, verify=False)
    contract = read_contract(found.folder)
    assert contract.objective["threshold"] == pytest.approx(0.2)
    assert (contract.tie_model, contract.temperature) == ("rao_kupper", 1.0)
    assert "fitted with the scale" in found.ties
    assert contract.tie_threshold != pytest.approx(0.2)
