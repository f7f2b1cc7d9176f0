"""A decoder without a sequence classifier in transformers becomes a reward model that plain transformers loads."""

import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rewardsmith.errors import CheckpointError
from rewardsmith.models.heads import copy_code, load_sequence_classifier, with_hidden_layer
from rewardsmith.models.shared_prefix.plan import compute_rewards

SMALL = {
    "vocab_size": 101,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "max_position_embeddings": 256,
}
IDS = [[5, 6, 7, 8, 9, 10, 11, 2], [5, 6, 7, 8, 9, 10, 30, 31, 2]]
LOAD = """
import sys, torch
sys.modules["rewardsmith"] = None
from transformers import AutoModelForSequenceClassification
for folder in sys.argv[2:]:
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    print(*(float(model(input_ids=torch.tensor([ids])).logits) for ids in eval(sys.argv[1])))
"""


@pytest.fixture
def granite(tmp_path):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(CONFIG_MAPPING["granite"](**SMALL)).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def test_a_causal_model_without_a_classifier_is_saved_so_that_plain_transformers_loads_it(granite, tmp_path):
    rewards = []
    for pooling in (poolings := ["last", "mean", "mean_max"]):
        model, notes = load_sequence_classifier(str(granite), pooling=pooling)
        assert any("new one was initialised" in note for note in notes)
        rewards += compute_rewards(model, [IDS])[0]
        model.save_pretrained(tmp_path / pooling)
        copy_code(tmp_path / pooling, model)
    command = [sys.executable, "-c", LOAD, str(IDS), *(str(tmp_path / pooling) for pooling in poolings)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert list(map(float, done.stdout.split())) == pytest.approx(rewards, abs=1e-5)


def test_its_backbone_keeps_the_weights_of_the_language_model(granite):
    base = AutoModelForCausalLM.from_pretrained(granite, dtype=torch.float32)
    model, _ = load_sequence_classifier(str(granite))
    for name, weight in base.model.named_parameters():
        assert torch.equal(weight, model.model.get_parameter(name))


def test_a_saved_head_of_ours_is_trained_on_without_permission_as_no_code_of_its_folder_runs(granite, tmp_path):
    model, _ = load_sequence_classifier(str(granite), pooling="mean")
    model.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "modeling_pooled_reward.py").write_text("raise SystemExit('the code of the folder runs')")
    again, notes = load_sequence_classifier(str(tmp_path / "saved"), pooling="mean")
    assert notes == []
    assert compute_rewards(again, [IDS]) == compute_rewards(model, [IDS])


OTHER_NAMES = {
    "ctrl": {"n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48, "resid_pdrop": 0.0, "embd_pdrop": 0.0},
    "modernbert-decoder": {name: SMALL[name] for name in SMALL if name not in ("num_key_value_heads", "head_dim")},
}


@pytest.mark.parametrize("kind", OTHER_NAMES)
def test_decoders_whose_head_has_another_name_take_every_pooling_and_head(kind, tmp_path):
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**{**OTHER_NAMES[kind], "vocab_size": 101, "pad_token_id": 0})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    for pooling in ("mean", "mean_max"):
        model, _ = load_sequence_classifier(str(tmp_path / "base"), pooling=pooling)
        with torch.no_grad():
            rows = [float(model.eval()(input_ids=torch.tensor([ids])).logits) for ids in IDS]
        assert compute_rewards(model, [IDS])[0] == pytest.approx(rows, abs=1e-5)
        model.save_pretrained(tmp_path / pooling)
        again, _ = load_sequence_classifier(str(tmp_path / pooling), pooling=pooling)
        assert compute_rewards(again, [IDS])[0] == pytest.approx(rows, abs=1e-5)
    classifier, _ = load_sequence_classifier(str(tmp_path / "base"))
    assert len(with_hidden_layer(classifier, 8)[0].score) == 3


def test_a_type_that_cannot_be_a_reward_model_is_named_in_a_line(tmp_path):
    CONFIG_MAPPING["clip_vision_model"]().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="of type 'clip_vision_model', of which no reward model can be made") as e:
        load_sequence_classifier(str(tmp_path))
    assert len(str(e.value)) < 300
