"""What is exported gives the rewards of what it was made of, in tools that know nothing of us."""

import json
import os
import shutil
from pathlib import Path

import foreign_layouts
import pytest
import tiny_models
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rewardsmith import RewardModel
from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.scoring import exporting
from rewardsmith.scoring.exporting import ExportOptions

PROMPT, ANSWERS = "is maybe", ["good", " the question is maybe awful", "fine nice great poor"]
CHAT = [{"role": "user", "content": PROMPT}]


def export_model(source, out, **options):
    """Export without the check in a fresh process, which takes seconds and has a test of its own."""
    return exporting.export_model(source, out, ExportOptions(**{"verify": False, **options}))


def transformers_rewards(folder, **options):
    """Score conversations with transformers alone, in one padded batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **options).eval()
    texts = [
        tokenizer.apply_chat_template([*CHAT, {"role": "assistant", "content": a}], tokenize=False) for a in ANSWERS
    ]
    batch = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
    batch.pop("token_type_ids", None)
    with torch.no_grad():
        return model(**batch).logits[:, 0].tolist()


@pytest.mark.parametrize("layout", ["skywork", "openrlhf", "deepspeed_chat"])
def test_foreign_models_become_what_transformers_loads(tmp_path, layout):
    path, _ = getattr(foreign_layouts, layout)(tmp_path / "rm")
    report = export_model(path, tmp_path / "out")
    before = RewardModel.from_pretrained(path, device="cpu").score(CHAT, ANSWERS)
    assert not report.own_code
    assert report.difference <= 1e-5
    assert RewardModel.from_pretrained(str(tmp_path / "out"), device="cpu").score(CHAT, ANSWERS) == pytest.approx(
        before, abs=1e-5
    )
    assert transformers_rewards(tmp_path / "out") == pytest.approx(before, abs=1e-5)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"][0].endswith("ForSequenceClassification")
    assert config["problem_type"] == "regression"
    assert config["id2label"] == {"0": "LABEL_0"}
    assert config["value_head_prefix"] == "score"
    assert not list(tmp_path.glob(".out*"))


def test_a_bias_is_kept_with_our_code_or_taken_off_all_rewards(tmp_path):
    path, _ = foreign_layouts.value_head(tmp_path / "rm")
    before = RewardModel.from_pretrained(path, device="cpu").score(CHAT, ANSWERS)
    kept = export_model(path, tmp_path / "kept")
    assert kept.own_code
    assert transformers_rewards(tmp_path / "kept", trust_remote_code=True) == pytest.approx(before, abs=1e-5)
    assert RewardModel.from_pretrained(str(tmp_path / "kept"), device="cpu").score(CHAT, ANSWERS) == pytest.approx(
        before, abs=1e-5
    )
    dropped = export_model(path, tmp_path / "dropped", drop_bias=True)
    bias = float(foreign_layouts.draw(1, seed=3))
    assert not dropped.own_code
    assert dropped.shift == pytest.approx(bias, abs=1e-6)
    assert transformers_rewards(tmp_path / "dropped") == pytest.approx([r - bias for r in before], abs=1e-5)


def test_mean_pooling_is_kept(tmp_path):
    path, _ = foreign_layouts.open_assistant(tmp_path / "rm", "mean")
    before = RewardModel.from_pretrained(path, device="cpu").score(CHAT, ANSWERS)
    export_model(path, tmp_path / "out")
    assert transformers_rewards(tmp_path / "out", trust_remote_code=True) == pytest.approx(before, abs=1e-5)


def test_where_pad_is_eos_the_copy_scores_as_the_original_did(tmp_path):
    path, _ = foreign_layouts.skywork(tmp_path / "rm", pad_token_id=2)
    (Path(path) / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}{% endfor %}{{ eos_token }}"
    )
    before = RewardModel.from_pretrained(path, device="cpu").score(CHAT, ANSWERS)
    export_model(path, tmp_path / "out")
    assert RewardModel.from_pretrained(str(tmp_path / "out"), device="cpu").score(CHAT, ANSWERS) == pytest.approx(
        before, abs=1e-5
    )
    assert transformers_rewards(tmp_path / "out") == pytest.approx(before, abs=1e-5)


def test_mean_and_deviation_travel_to_contract_and_config(tmp_path):
    path, _ = foreign_layouts.openrlhf(tmp_path / "rm", mean=0.5, std=2.0)
    export_model(path, tmp_path / "out")
    model = RewardModel.from_pretrained(str(tmp_path / "out"), device="cpu")
    assert (model.contract.reward_mean, model.contract.reward_std) == (0.5, 2.0)
    assert (model.model.config.mean, model.model.config.std) == (0.5, 2.0)


def save_adapter(folder):
    """A LoRA adapter over a language model, with the head that training saved."""
    from peft import LoraConfig, get_peft_model

    base, tokenizer = tiny_models.qwen2_causal()
    base.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    model = AutoModelForSequenceClassification.from_pretrained(folder / "base", num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="SEQ_CLS", init_lora_weights=False)
    torch.manual_seed(5)
    adapted = get_peft_model(model, adapter)
    torch.nn.init.normal_(adapted.base_model.model.score.modules_to_save["default"].weight, std=0.3)
    adapted.save_pretrained(folder / "adapter")
    tokenizer.save_pretrained(folder / "adapter")
    return str(folder / "adapter")


def test_an_adapter_is_merged_with_its_head(tmp_path):
    path = save_adapter(tmp_path)
    before = RewardModel.from_pretrained(path, device="cpu").score(CHAT, ANSWERS)
    report = export_model(path, tmp_path / "out", verify=True)
    assert report.merged
    assert transformers_rewards(tmp_path / "out") == pytest.approx(before, abs=1e-5)
    assert not (tmp_path / "out" / "adapter_config.json").exists()


def test_bf16_is_compared_at_its_own_precision(tmp_path):
    path, _ = foreign_layouts.skywork(tmp_path / "rm")
    report = export_model(path, tmp_path / "out", dtype="bfloat16")
    assert report.dtype == "bfloat16"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_copy_with_other_rewards_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    path, _ = foreign_layouts.skywork(tmp_path / "rm")
    write = exporting._write

    def damaged(folder, core, loaded, fields):
        with torch.no_grad():
            core.score.weight.mul_(1.5)
        write(folder, core, loaded, fields)

    monkeypatch.setattr(exporting, "_write", damaged)
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match=r"copy's rewards differ by .* nothing was written"):
        export_model(path, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    assert sorted(os.listdir(tmp_path)) == ["out", "rm"]


def test_a_failed_overwrite_leaves_the_old_model(tmp_path, monkeypatch):
    path, _ = foreign_layouts.skywork(tmp_path / "rm")
    shutil.copytree(path, tmp_path / "out")
    before = sorted(file.name for file in (tmp_path / "out").iterdir())

    def full(folder, core, loaded, fields):
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        export_model(path, tmp_path / "out", overwrite=True)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == before
    monkeypatch.undo()
    export_model(path, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "scoring_contract.json").is_file()


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        ("armo", "a linear head cannot express it"),
        ("internlm2", "backbone is code of its own"),
        ("step_model", "a score to each step"),
        ("pair_rm", "compares two answers"),
    ],
)
def test_what_the_standard_layout_cannot_hold_is_refused_with_the_reason(tmp_path, layout, reason):
    path, _ = getattr(foreign_layouts, layout)(tmp_path / "rm")
    with pytest.raises(ConfigError, match=reason):
        export_model(path, tmp_path / "out", trust_remote_code=True)
    assert not (tmp_path / "out").exists()


def test_places_where_something_would_be_lost_are_refused(tmp_path):
    path, _ = foreign_layouts.skywork(tmp_path / "rm")
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")
    for out, options, message in (
        (path, {"overwrite": True}, "replace the model it is made of"),
        (tmp_path, {"overwrite": True}, "replace the model it is made of"),
        (tmp_path / "papers", {}, "give --overwrite"),
        (tmp_path / "papers", {"overwrite": True}, "holds no model"),
        (tmp_path / "papers" / "thesis.txt", {"overwrite": True}, "is a file"),
    ):
        with pytest.raises(ConfigError, match=message):
            export_model(path, out, **options)
    assert (tmp_path / "papers" / "thesis.txt").read_text() == "years of work"


def test_a_model_that_reads_few_tokens_is_exported(tmp_path):
    model, tokenizer = tiny_models.bert()
    few = type(model.config)(**{**model.config.to_dict(), "max_position_embeddings": 48})
    for part in (type(model)(few), tokenizer):
        part.save_pretrained(tmp_path / "model")
    assert export_model(str(tmp_path / "model"), tmp_path / "out").difference < 1e-5


@pytest.mark.parametrize("std", [1.0, 2.0])
def test_a_head_of_ratings_is_folded_into_the_reward(tmp_path, std):
    from rewardsmith.models.attribute_head import Attribute, install_attributes
    from rewardsmith.models.checkpoint import save_reward_model
    from rewardsmith.models.shared_prefix.plan import prepare_model

    model, tokenizer = tiny_models.qwen2()
    mean = 0.0 if std == 1 else 3.0
    install_attributes(model, [Attribute("helpfulness", 0.75, mean, std), Attribute("verbosity", -0.5)])
    save_reward_model(model, tokenizer, tmp_path / "rm", prepare_model(model), verify=False)
    before = RewardModel.from_pretrained(str(tmp_path / "rm"), device="cpu").score(CHAT, ANSWERS)
    # What asks for one label refuses the ratings, and is not given one of them.
    with pytest.raises(RuntimeError, match="size"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", num_labels=1)
    report = export_model(str(tmp_path / "rm"), tmp_path / "out", drop_bias=True)
    assert report.shift == pytest.approx(0.75 * mean)
    wanted = [reward - report.shift for reward in before]
    assert transformers_rewards(tmp_path / "out") == pytest.approx(wanted, abs=1e-5)
    assert RewardModel.from_pretrained(str(tmp_path / "out"), device="cpu").score(CHAT, ANSWERS) == pytest.approx(
        wanted, abs=1e-5
    )
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"] == {"0": "LABEL_0"}
