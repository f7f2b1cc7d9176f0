"""Live adapters of PEFT: which one a folder holds."""

import pytest
import tiny_models

from rewardsmith.errors import ConfigError
from rewardsmith.models.checkpoint import save_reward_model
from rewardsmith.models.shared_prefix.plan import prepare_model


def test_an_adapter_that_loaders_would_not_find_is_not_saved_also_without_a_check(tmp_path):
    peft = pytest.importorskip("peft")
    model, tokenizer = tiny_models.qwen2()
    adapter = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"])
    both = peft.get_peft_model(model, adapter)
    both.add_adapter("second", adapter)
    both.set_adapter("second")
    with pytest.raises(ConfigError, match=r"active adapter of the model is 'second'.*choose it with set_adapter"):
        save_reward_model(both, tokenizer, tmp_path / "out", prepare_model(model), verify=False)
    assert not (tmp_path / "out").exists()
