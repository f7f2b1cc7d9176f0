"""Training from a revision of the hub: its weights are read, and the folder says so."""

import pytest
import tiny_models
import torch
from hub_cache import cached, use_cache
from peft import LoraConfig
from small_runs import config

from rewardsmith import RewardModel, RewardTrainer
from rewardsmith.errors import CheckpointError
from rewardsmith.models.contract import read_contract

REPO = "me/base"
# PEFT asks the hub about the vocabulary, and says that it cannot.
pytestmark = pytest.mark.filterwarnings("ignore:Could not find a config file")


@pytest.fixture
def commits(tmp_path, monkeypatch):
    """A base whose second revision has other weights."""
    model, tokenizer = tiny_models.qwen2()
    for name in ("main", "v2"):
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        with torch.no_grad():
            for weight in model.model.layers.parameters():
                weight.mul_(1.5)
    use_cache(monkeypatch, tmp_path / "cache")
    return cached(tmp_path / "cache", REPO, {name: tmp_path / name for name in ("main", "v2")})


@pytest.mark.parametrize("adapter", [None, LoraConfig(r=2, target_modules=["q_proj"])])
@pytest.mark.parametrize("how", ["name", "option"])
def test_the_revision_is_read_again_and_stands_in_the_contract(commits, tmp_path, adapter, how):
    name, options = (f"{REPO}@v2", None) if how == "name" else (REPO, {"revision": "v2"})
    args = config(tmp_path / "run", max_steps=1, model_init_kwargs=options, save_merged=False, verify_saved_model=True)
    trainer = RewardTrainer(name, args, train_dataset=tiny_models.pairs(8), peft_config=adapter)
    trainer.train()
    # Saving loads the folder again, an adapter with its base, and holds it to the rewards in memory.
    trainer.save_model()
    assert read_contract(tmp_path / "run").source == f"{REPO}@{commits['v2']}"
    assert len(RewardModel.from_pretrained(str(tmp_path / "run")).score("good", [" fine"])) == 1


def test_a_folder_has_no_revision(commits, tmp_path):
    args = config(tmp_path / "run", max_steps=1, model_init_kwargs={"revision": "v2"})
    with pytest.raises(CheckpointError, match="is no hub id, so it has no revision 'v2'"):
        RewardTrainer(str(tmp_path / "main"), args, train_dataset=tiny_models.pairs(4))
