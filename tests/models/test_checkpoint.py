"""A folder is input: what was changed, is missing, unused or hostile in it is named, and no code of it runs unasked."""

import json
import shutil

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from rewardsmith import RewardModel
from rewardsmith.errors import CheckpointError
from rewardsmith.models.checkpoint import load_reward_model, save_reward_model
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.models.tokenizer import prepare_tokenizer
from rewardsmith.models.verify import verify_folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of ours with its contract."""
    folder = tmp_path_factory.mktemp("saved")
    model, tokenizer = tiny_models.qwen2()
    prepare_tokenizer(tokenizer, model)
    save_reward_model(model, tokenizer, folder, prepare_model(model), verify=False)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def change_weights(folder, change):
    weights = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_negated_under_a_kept_contract_are_refused(copy):
    change_weights(copy, lambda w: {**w, "score.weight": -w["score.weight"]})
    with pytest.raises(CheckpointError, match=r"golden rewards differ by .*--no-verify"):
        RewardModel.from_pretrained(str(copy), device="cpu")
    assert RewardModel.from_pretrained(str(copy), device="cpu", verify=False).score("is", "good") != 0


def test_bf16_gives_the_golden_rewards_within_its_tolerance(saved):
    RewardModel.from_pretrained(str(saved), device="cpu", dtype="bfloat16")


def test_a_tokenizer_that_was_exchanged_is_named(copy):
    contract = json.loads((copy / "scoring_contract.json").read_text())
    contract["golden"][0]["ids"][0] += 1
    (copy / "scoring_contract.json").write_text(json.dumps(contract))
    with pytest.raises(CheckpointError, match="the tokenizer gives other ids"):
        RewardModel.from_pretrained(str(copy), device="cpu")


def test_a_folder_as_it_was_saved_verifies(saved):
    found = {item.check: item for item in verify_folder(saved)}
    assert all(item.passed for item in found.values())
    assert list(found) == ["contract", "files", "golden rewards"]


def test_verifying_names_the_files_that_changed_and_goes_on(copy):
    change_weights(copy, lambda w: {**w, "score.weight": -w["score.weight"]})
    (copy / "tokenizer_config.json").unlink()
    (copy / "extra.py").write_text("print(1)")
    _, files, golden = verify_folder(copy)
    assert files.message == "missing: tokenizer_config.json; changed: model.safetensors; new: extra.py"
    assert not golden.passed


def test_verifying_a_folder_without_a_contract_says_how_to_get_one(copy):
    (copy / "scoring_contract.json").unlink()
    (found,) = verify_folder(copy)
    assert not found.passed
    assert "rewardsmith export" in found.message


UNUSED = {
    "a bias of the head": (lambda w: {"score.bias": torch.tensor([3.0])}, "score.bias"),
    "a layer that the config does not have": (
        lambda w: {k.replace("layers.1.", "layers.2."): v.clone() for k, v in w.items() if "layers.1." in k},
        "model.layers.2",
    ),
    "another head": (lambda w: {"value_head.weight": torch.ones(1, 32)}, "value_head.weight"),
}


@pytest.mark.parametrize("name", UNUSED)
def test_weights_that_the_model_does_not_take_are_named(copy, name):
    extra, word = UNUSED[name]
    (copy / "scoring_contract.json").unlink()
    change_weights(copy, lambda w: {**w, **extra(w)})
    notes = load_reward_model(copy).notes
    assert any(f"does not take: {word}" in note for note in notes)


def test_a_language_models_own_head_goes_without_a_word(copy):
    (copy / "scoring_contract.json").unlink()
    change_weights(copy, lambda w: {**w, "lm_head.weight": torch.ones(420, 32)})
    assert not any("does not take" in note for note in load_reward_model(copy).notes)


@pytest.mark.parametrize("architecture", ["Qwen2ForSequenceClassification", "Qwen2ForRewardModelling"])
def test_a_head_of_two_layers_is_called_that(copy, architecture):
    (copy / "scoring_contract.json").unlink()

    def deepen(weights):
        del weights["score.weight"]
        return {**weights, "score.0.weight": torch.ones(32, 32), "score.2.weight": torch.ones(1, 32)}

    change_weights(copy, deepen)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "architectures": [architecture]}))
    with pytest.raises(CheckpointError, match=r"a head of 2 layers \(score\.0\.weight, score\.2\.weight\)"):
        load_reward_model(copy)


HOSTILE = {
    "config that is a list": ("config.json", "[]"),
    "config that is empty": ("config.json", ""),
    "config without a type": ("config.json", "{}"),
    "config of an unknown type": ("config.json", '{"model_type": "nonsense"}'),
    "config with negative sizes": ("config.json", {"hidden_size": -4}),
    "config with text for a number": ("config.json", {"num_hidden_layers": "two"}),
    "config of another width": ("config.json", {"hidden_size": 64}),
    "labels that are none": ("config.json", {"id2label": 3}),
    "weights cut short": ("model.safetensors", b"\x10\x00"),
    "weights of nothing": ("model.safetensors", b""),
    "an index that is a list": ("model.safetensors.index.json", "[]"),
    "a tokenizer that is a list": ("tokenizer.json", "[]"),
    "a tokenizer config that is a number": ("tokenizer_config.json", "7"),
    "a template that is broken": ("chat_template.jinja", "{% if %}"),
    "an adapter config that is a list": ("adapter_config.json", "[]"),
    "an adapter without a base": ("adapter_config.json", '{"peft_type": "LORA"}'),
}


@pytest.mark.parametrize("has_contract", [True, False], ids=["contract", "no contract"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_folder_is_one_line_or_loads(copy, name, has_contract):
    file, content = HOSTILE[name]
    if not has_contract:
        (copy / "scoring_contract.json").unlink()
    if isinstance(content, dict):
        content = json.dumps({**json.loads((copy / file).read_text()), **content})
    (copy / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    said = ""
    try:
        RewardModel.from_pretrained(str(copy), device="cpu")
    except CheckpointError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 700


@pytest.mark.parametrize("layout", ["classifier", "value head", "pooled"])
def test_no_code_of_a_folder_runs_without_permission_and_nobody_is_asked(copy, monkeypatch, layout):
    (copy / "scoring_contract.json").unlink()
    (copy / "evil.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch(); C = M = None\n")
    config = json.loads((copy / "config.json").read_text())
    config |= {"auto_map": dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForSequenceClassification"), "evil.M")}
    config |= {"model_type": "evil"} | ({"reward_pooling": "mean"} if layout == "pooled" else {})
    if layout == "value head":
        change_weights(copy, lambda w: {k: v for k, v in w.items() if k != "score.weight"})
        save_file({"v_head.summary.weight": torch.ones(1, 32)}, copy / "value_head.safetensors")
        config["architectures"] = ["EvilForCausalLM"]
    (copy / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on stdin"))
    with pytest.raises(CheckpointError):
        RewardModel.from_pretrained(str(copy), device="cpu")
    assert not (copy / "ran").exists()
