"""run.json holds what a reader needs to judge and to repeat a run."""

import json
import shutil
from pathlib import Path

import pytest
import tiny_models
import torch
from small_runs import trainer_for
from transformers import AutoModelForSequenceClassification

from rewardsmith import RewardModel, load_preferences, train
from rewardsmith.doctor import doctor
from rewardsmith.errors import ConfigError
from rewardsmith.models.verify import verify_folder
from rewardsmith.models.wide_head import num_heads
from rewardsmith.records import PreferenceGroup
from rewardsmith.rl.rewards import reward_function
from rewardsmith.rl.shaping import RewardOptions
from rewardsmith.serving.limits import ServerSettings
from rewardsmith.serving.service import Service
from rewardsmith.training.run import notes_on_known

SETTINGS = {
    "max_steps": 3,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
    "verify_saved_model": False,
}


def trained(folder, **changes):
    model, tokenizer = tiny_models.qwen2()
    train(model, tiny_models.pairs(40), folder, processing_class=tokenizer, **{**SETTINGS, **changes})
    return str(folder)


@pytest.fixture(scope="module")
def heads_folder(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("heads") / "out", ensemble=3, verify_saved_model=True)


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("models") / "out", ensemble=2, ensemble_kind="models")


def test_heads_are_opened_by_the_folder_with_the_spread_of_every_answer(heads_folder):
    assert all(found.passed for found in verify_folder(heads_folder))
    parts = RewardModel.from_pretrained(heads_folder).score("good?", ["bad", "nice"], return_parts=True)
    for part in parts:
        assert len(part.members) == 3
        assert part.spread > 0
        assert sum(part.members) / 3 == pytest.approx(part.reward, abs=1e-5)
    careful = RewardModel.from_pretrained(heads_folder, combine="mean_minus_std", penalty=2.0)
    expected = [part.reward - 2 * part.spread for part in parts]
    assert careful.score("good?", ["bad", "nice"]) == pytest.approx(expected, abs=1e-5)


def test_a_finished_ensemble_trains_nothing_more_and_is_written_down_anew(models_folder, tmp_path, caplog):
    folder = shutil.copytree(models_folder, tmp_path / "out")
    names = ("member-1/model.safetensors", "member-2/model.safetensors", "ensemble.json")
    left = {name: (folder / name).read_bytes() for name in names}
    record = json.loads((folder / "run.json").read_text())
    for name in ("run.json", "README.md"):
        (folder / name).unlink()
    trained(folder, ensemble=2, ensemble_kind="models", resume_from_checkpoint="true")
    assert {name: (folder / name).read_bytes() for name in names} == left
    assert "holds all 2 members: nothing more is trained" in caplog.text
    again = json.loads((folder / "run.json").read_text())
    assert (again["held_out"], again["history"]) == (record["held_out"], record["history"])
    assert (folder / "README.md").is_file()


def test_held_out_prompts_that_the_model_was_trained_on_are_counted_and_said(heads_folder):
    groups = list(load_preferences(tiny_models.pairs(40)))
    [note] = notes_on_known(heads_folder, groups)
    assert f" of {len(groups)} prompts already, so the accuracy is not that of new prompts" in note
    assert notes_on_known(heads_folder, [PreferenceGroup("asked by nobody", ("a", "b"))]) == []
    assert notes_on_known(None, groups) == []


def test_plain_transformers_loads_the_mean_of_the_heads(heads_folder):
    scorer = RewardModel.from_pretrained(heads_folder)
    plain = AutoModelForSequenceClassification.from_pretrained(heads_folder)
    text = scorer.render("good?", "nice")
    ids = scorer.renderer.encode_text(text, rendered=True)
    with torch.no_grad():
        reward = plain(input_ids=torch.tensor([ids])).logits
    assert reward.shape == (1, 1)
    assert float(reward) == pytest.approx(scorer.score("good?", "nice"), abs=1e-5)


def test_heads_of_one_zero_do_not_spread_by_their_zeros(heads_folder):
    scorer = RewardModel.from_pretrained(heads_folder)
    means = scorer.contract.head_means
    assert len(means) == 3
    assert max(means) - min(means) > 1e-3
    raw = scorer._parts([0.0, *means])
    assert raw.spread == pytest.approx(0.0, abs=1e-9)


def test_whole_models_are_opened_by_the_folder(models_folder):
    checks = list(verify_folder(models_folder))
    assert len(checks) == 6
    assert all(found.passed for found in checks)
    scorer = RewardModel.from_pretrained(models_folder, combine="min")
    [part] = scorer.score("good?", ["nice"], return_parts=True)
    assert len(part.members) == 2
    assert part.reward == min(part.members) < max(part.members)
    record = json.loads((Path(models_folder) / "run.json").read_text())
    assert "the mean of 2 models" in " ".join(record["data_notes"])


def test_both_kinds_are_rewards_of_a_policy(heads_folder, models_folder):
    for folder in (heads_folder, models_folder):
        mean = reward_function(folder)(prompts=["good?"] * 2, completions=["bad", "nice"])
        how = RewardOptions(combine="soft_min", penalty=1.0)
        careful = reward_function(folder, options=how)(prompts=["good?"] * 2, completions=["bad", "nice"])
        assert all(low < high for low, high in zip(careful, mean, strict=True))
        # Whole models are divided by a deviation each, heads by that of their mean.
        scaled = reward_function(folder, options=RewardOptions(normalized=True))
        expected = RewardModel.from_pretrained(folder).score("good?", ["bad", "nice"], normalized=True)
        assert scaled(prompts=["good?"] * 2, completions=["bad", "nice"]) == pytest.approx(expected, abs=1e-5)


def test_heads_under_lora_are_saved_with_the_adapter(tmp_path):
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear")
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path / "base")
    folder = tmp_path / "out"
    options = {**SETTINGS, "ensemble": 3, "peft_config": lora}
    train(str(tmp_path / "base"), tiny_models.pairs(24), folder, processing_class=tokenizer, **options)
    opened = RewardModel.from_pretrained(str(folder))
    [part] = opened.score("good?", ["nice"], return_parts=True)
    assert len(set(part.members)) == 3
    assert sum(part.members) / 3 == pytest.approx(part.reward, abs=1e-5)


def test_whole_models_are_served_by_the_name_of_their_folder(models_folder):
    model = RewardModel.from_pretrained(models_folder)
    assert Service(model, ServerSettings()).names == (models_folder, Path(models_folder).name)


def test_the_doctor_examines_every_member(models_folder):
    found = doctor(models_folder)
    assert found.level != "red", [finding.message for finding in found]
    names = [finding.check for finding in found]
    assert sum(name.startswith("member-1: ") for name in names) == sum(name.startswith("member-2: ") for name in names)
    assert "member-2: golden rewards" in names


def test_members_draw_their_prompts(tmp_path):
    drawn = trainer_for(tmp_path, tiny_models.pairs(30), bootstrap_prompts=True, seed=3).train_dataset
    texts = [str(ids) for ids in drawn["ids"]]
    assert len(drawn) == 30
    assert len(set(texts)) < 25


def test_each_head_has_its_own_loss(tmp_path):
    trainer = trainer_for(tmp_path, tiny_models.pairs(20), ensemble=2)
    batch = next(iter(trainer.get_train_dataloader()))
    draws = torch.tensor([[1.0, 0.0]]).repeat(batch["comparisons"].num_groups, 1)
    trainer.model.train()
    totals = trainer.step_loss.totals([batch])
    trainer.compute_loss(trainer.model, {**batch, "draws": draws}, num_items_in_batch=totals).backward()
    [deviations] = [p for n, p in trainer.model.named_parameters() if n.endswith("deviations")]
    # The second head draws nothing: what it gets is what the mean's share takes off the first.
    assert torch.allclose(deviations.grad[0], -deviations.grad[1], atol=1e-6)
    assert deviations.grad.abs().max() > 0
    assert num_heads(trainer.model) == 2


@pytest.mark.parametrize("changes", [{"weight_decay": 0.1}, {"ensemble": 1}])
def test_a_prior_that_would_decay_or_has_no_heads_is_refused(tmp_path, changes):
    with pytest.raises(ConfigError, match="ensemble_prior_scale, above 0, is of several heads"):
        trainer_for(tmp_path, tiny_models.pairs(8), **{"ensemble": 2, "ensemble_prior_scale": 2.0, **changes})


def test_a_trainer_of_one_model_refuses_several(tmp_path):
    with pytest.raises(ConfigError, match="RewardTrainer trains one model"):
        trainer_for(tmp_path, tiny_models.pairs(8), ensemble=2, ensemble_kind="models")
    with pytest.raises(ConfigError, match="positive number of members"):
        trainer_for(tmp_path, tiny_models.pairs(8), ensemble=0)
