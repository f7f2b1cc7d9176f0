"""Settings that cannot train are refused when they are made."""

import pytest

from rewardsmith import RewardConfig
from rewardsmith.errors import ConfigError


def config(tmp_path, **changes) -> RewardConfig:
    settings = {"per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1, "report_to": "none"}
    settings |= {"use_cpu": True, "save_strategy": "no", "disable_tqdm": True, "verify_saved_model": False}
    return RewardConfig(str(tmp_path), **(settings | {"num_train_epochs": 1} | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1.0}, "learning_rate must be a finite number"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"per_device_train_batch_size": 0}, "positive number of rows"),
        ({"gradient_accumulation_steps": 0}, "positive number of batches"),
        ({"center_rewards_coefficient": -1}, "0 or larger"),
        ({"loss_type": "rao_kupper", "label_smoothing": 0.1}, "label_smoothing has no effect on rao_kupper"),
        ({"ranking_top_k": 1}, "ranking_top_k has no effect on bradley_terry"),
        ({"seed": -1}, "seed must lie in"),
        ({"include_for_metrics": ["inputs"]}, "cannot hold 'inputs'"),
        ({"train_sampling_strategy": "batch_rebalance"}, "group_by_length"),
        ({"auto_find_batch_size": True, "tokens_per_batch": 64}, "which tokens_per_batch does not read"),
        ({"compile": "onn"}, "did you mean 'on'"),
        ({"max_length": "long"}, "positive number of tokens"),
    ],
)
def test_settings_that_cannot_train_are_refused_at_once(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **changes)


def test_a_start_says_nothing_of_renamed_fields(tmp_path, recwarn):
    config = RewardConfig(str(tmp_path))
    assert config.gradient_checkpointing
    assert not RewardConfig(str(tmp_path), gradient_checkpointing=False).gradient_checkpointing
    assert [w for w in recwarn if issubclass(w.category, FutureWarning)] == []


def test_trls_torch_compile_is_ours_and_keeps_trainer_from_compiling_the_whole_model(tmp_path, caplog):
    asked = config(tmp_path, torch_compile=True)
    assert (asked.compile, asked.torch_compile, asked.torch_compile_backend) == ("on", True, None)
    assert (config(tmp_path).compile, config(tmp_path).torch_compile) == ("off", False)
    assert config(tmp_path, torch_compile_mode="max-autotune").compile == "on"
    assert "torch_compile_backend and torch_compile_mode are not taken" in caplog.text


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("lion_32bit", "bitsandbytes"),
        ("adamw_8bit", "bitsandbytes"),
        ("galore_adamw", "galore-torch"),
        ("lomo", "lomo"),
        ("adamw_anyprecision", "torchdistx"),
        ("adamw_torch_xla", "torch-xla"),
        ("adamw_torch_npu_fused", "torch-npu"),
    ],
)
def test_an_optimiser_whose_package_is_missing_is_refused(tmp_path, monkeypatch, name, package):
    monkeypatch.setattr("rewardsmith.training.config.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=f"{name}.*pip install {package}"):
        RewardConfig(str(tmp_path), optim=name)


def test_kernels_that_are_missing_and_options_that_checkpoints_do_not_know_are_refused(tmp_path, monkeypatch):
    known = config(tmp_path, gradient_checkpointing_kwargs='{"use_reentrant": true, "every_n_layers": 2}')
    assert known.gradient_checkpointing_kwargs == {"use_reentrant": True, "every_n_layers": 2}
    for given in ({"use_reentrent": False}, '{"use_reentrent": false}'):
        with pytest.raises(ConfigError, match="has no 'use_reentrent'; did you mean 'use_reentrant'"):
            config(tmp_path, gradient_checkpointing_kwargs=given)
    monkeypatch.setattr("rewardsmith.training.config.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match="pip install liger-kernel"):
        config(tmp_path, use_liger_kernel=True)


def test_a_loss_on_texts_is_refused_where_the_backbone_is_frozen(tmp_path):
    with pytest.raises(ConfigError, match="lm_loss_coefficient trains the backbone"):
        RewardConfig(str(tmp_path), use_cpu=True, freeze_backbone=True, lm_loss_coefficient=1.0)


def test_ties_cannot_be_skipped_by_what_learns_from_them():
    with pytest.raises(ConfigError, match="ties='skip' has no effect on davidson"):
        RewardConfig(loss_type="davidson", ties="skip")
