"""Golden rewards across precisions: a faithful model is taken however much it feels rounding, another one never is."""

import json
import shutil

import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from step_rows import judge

from rewardsmith.errors import CheckpointError
from rewardsmith.models.checkpoint import load_reward_model, save_reward_model
from rewardsmith.models.contract import encode_golden
from rewardsmith.models.golden import golden_difference, require_golden
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.plan import compute_features, prepare_model
from rewardsmith.models.steps import StepRule
from rewardsmith.models.tokenizer import prepare_tokenizer


def touchy():
    """Return a model whose head is all but orthogonal to what it reads of the golden texts, which rounding is not."""
    torch.manual_seed(0)
    model, tokenizer = tiny_models.qwen2()
    prepare_tokenizer(tokenizer, model)
    ids = [[ids] for _, ids in encode_golden(Renderer(tokenizer))]
    features = torch.stack([row[0] for row in compute_features(model, ids)])
    _, _, directions = torch.linalg.svd(features)
    with torch.no_grad():
        model.score.weight.copy_(400 * directions[-1:])
    return model, tokenizer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same touchy model, saved in fp32 and in bf16."""
    model, tokenizer = touchy()
    found = {}
    for dtype in ("float32", "bfloat16"):
        found[dtype] = tmp_path_factory.mktemp(dtype)
        model.to(getattr(torch, dtype))
        save_reward_model(model, tokenizer, found[dtype], prepare_model(model), verify=False)
    return found


@pytest.mark.parametrize(
    ("saved", "loaded"), [("float32", "bfloat16"), ("bfloat16", "bfloat16"), ("bfloat16", "float32")]
)
def test_a_model_that_feels_rounding_is_held_to_its_weights_in_every_precision(folders, tmp_path, saved, loaded):
    require_golden(load_reward_model(folders[saved], dtype=loaded), "own")
    other = shutil.copytree(folders[saved], tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({**weights, "score.weight": -weights["score.weight"]}, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="golden rewards differ"):
        require_golden(load_reward_model(other, dtype=loaded), "other")


def test_a_contract_from_before_is_held_to_what_rounding_usually_costs(folders, tmp_path):
    older = shutil.copytree(folders["float32"], tmp_path / "older")
    contract = json.loads((older / "scoring_contract.json").read_text())
    for golden in contract["golden"]:
        del golden["half_reward"]
    (older / "scoring_contract.json").write_text(json.dumps(contract))
    largest, allowed = golden_difference(load_reward_model(older, dtype="bfloat16"))
    assert largest > allowed == pytest.approx(0.09)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    model, tokenizer = judge()
    rule = StepRule.of(tokenizer, "\n").to_dict()
    save_reward_model(model, tokenizer, folder, prepare_model(model), steps=rule, verify=False)
    return folder


def test_a_loaded_step_model_gives_its_golden_rewards(judged):
    loaded = load_reward_model(judged)
    assert golden_difference(loaded)[0] == pytest.approx(0, abs=1e-6)
    assert loaded.contract.scored_token == "steps"
    assert len(loaded.contract.golden) == 9


def test_other_weights_or_another_separator_under_the_contract_are_refused(judged):
    loaded = load_reward_model(judged)
    loaded.model.score.weight.data += 1.0 * loaded.model.score.weight.data.sign()
    with pytest.raises(CheckpointError, match="golden rewards differ by"):
        require_golden(loaded, "judge")
    path = judged / "scoring_contract.json"
    text = path.read_text()
    contract = json.loads(text)
    contract["steps"]["separator_ids"] = [5]
    path.write_text(json.dumps(contract))
    try:
        with pytest.raises(CheckpointError, match="the tokenizer gives other ids"):
            require_golden(load_reward_model(judged), "judge")
    finally:
        path.write_text(text)
