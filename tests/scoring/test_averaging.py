"""The mean of several models' weights."""

import numpy as np
import pytest
import tiny_models
import torch
from small_runs import trainer_for

from rewardsmith import RewardModel
from rewardsmith.errors import ConfigError
from rewardsmith.models.verify import verify_folder
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
