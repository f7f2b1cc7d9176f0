"""What is trained in any usual way has one reward in every tool that loads its folder."""

import json
import os
import subprocess
import sys

import pytest
import tiny_models
import torch
from datasets import Dataset, IterableDataset
from peft import LoraConfig
from small_runs import config
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rewardsmith import RewardModel, RewardTrainer
from rewardsmith.errors import ConfigError
from rewardsmith.scoring.answers import make_request

pytestmark = pytest.mark.slow

QUESTION = [{"role": "user", "content": "is the question good?"}]
ANSWERS = [[{"role": "assistant", "content": text}] for text in ("a fine answer", "awful", "maybe the answer is poor")]
PRECISIONS = {
    "float32": {},
    "bf16 autocast": {"bf16": True},
    "bf16 stored": {"model_init_kwargs": {"dtype": "bfloat16"}},
}
# As docs/train.md states it: weights in bf16 carry 8 bits.
TOLERANCES = {"float32": 1e-5, "bf16 autocast": 1e-5, "bf16 stored": 3e-2}
KINDS = ("pairs", "conversations", "tokenised", "stream", "ranking")
PLAIN = """
import json, sys
sys.modules["rewardsmith"] = None
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
found = {}
for folder, texts in json.load(open(sys.argv[1])).items():
    how = {"trust_remote_code": True, "dtype": "float32", "num_labels": 1}
    model = AutoModelForSequenceClassification.from_pretrained(folder, **how).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    alone = [model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits.item() for text in texts]
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, function_to_apply="none", batch_size=3)
    found[folder] = {"alone": alone, "pipeline": [one["score"] for one in classify(texts)]}
print(json.dumps(found))
"""


def rows(kind):
    pairs = tiny_models.pairs(8, conversational=kind == "conversations")
    if kind == "tokenised":
        tokenizer = tiny_models.qwen_tokenizer()

        def ids(row, side):
            return tokenizer(row["prompt"] + row[side] + "<|im_end|>")["input_ids"]

        pairs = [{f"{side}_ids": ids(row, side) for side in ("chosen", "rejected")} for row in pairs]
    if kind == "ranking":
        answers = [" fine", " maybe", " awful bad"]
        pairs = [{"prompt": row["prompt"], "completions": answers, "ranks": [1, 2, 3]} for row in pairs]
    return IterableDataset.from_generator(lambda: iter(pairs)) if kind == "stream" else Dataset.from_list(pairs)


def train(folder, base, how, precision, kind, pooling):
    changes = {"max_steps": 1, "pooling": pooling, "learning_rate": 1e-2, "save_merged": True, **PRECISIONS[precision]}
    if kind == "ranking":
        changes["loss_type"] = "k_wise"
    # Features are computed before training, so a stream is frozen by hand, as one would with TRL.
    changes["freeze_backbone"] = how == "frozen" and kind != "stream"
    adapter = LoraConfig(r=2, target_modules=["q_proj", "v_proj"]) if how == "lora" else None
    trainer = RewardTrainer(str(base), config(folder, **changes), train_dataset=rows(kind), peft_config=adapter)
    if how == "frozen":
        for name, parameter in trainer.model.named_parameters():
            parameter.requires_grad_(name.startswith("score"))
    trainer.train()
    trainer.save_model()


def folders_of(folder, how, pooling):
    """Return what other tools are given: the folder, or of an adapter the merged model, and the adapter itself.

    An adapter's folder cannot say that it pools other than at the last token, as the log and the docs tell.
    """
    if how != "lora":
        return [folder]
    return [folder / "merged", *([folder] if pooling == "last" else [])]


def rewards_of_trl(folders, trainer_class, config_class, tmp_path):
    """Return what a TRL trainer computes with each of several reward models that it was given by path.

    TRL takes the tokenizer of an adapter's base, so that of the adapter is named.
    """
    model, tokenizer = tiny_models.qwen2_causal()
    model.save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    args = config_class(
        str(tmp_path / "trl"),
        use_cpu=True,
        bf16=False,
        report_to="none",
        per_device_train_batch_size=4,
        num_generations=4,
        model_init_kwargs={"trust_remote_code": True, "dtype": "float32"},
    )
    own = [AutoTokenizer.from_pretrained(f) if (f / "adapter_config.json").is_file() else None for f in folders]
    trainer = trainer_class(
        str(tmp_path / "policy"),
        reward_funcs=[str(folder) for folder in folders],
        reward_processing_classes=own,
        args=args,
        train_dataset=Dataset.from_list([{"prompt": QUESTION}] * 4),
    )
    count = len(ANSWERS)
    found = trainer._calculate_rewards([{"prompt": QUESTION}] * count, [QUESTION] * count, ANSWERS, [[0]] * count)
    return dict(zip(map(str, folders), found.T.tolist(), strict=True))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("how", ["full", "lora", "frozen"])
def test_one_reward_in_every_tool(tmp_path, how, precision):
    """Of LoRA, the adapter and the merged model."""
    from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

    model, tokenizer = tiny_models.qwen2_causal()
    if precision == "bf16 stored":
        model.to(torch.bfloat16)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    wanted, asked, folders = {}, {}, []
    for kind in KINDS:
        for pooling in ("last", "mean"):
            trained_in = tmp_path / f"{kind}-{pooling}"
            train(trained_in, tmp_path / "base", how, precision, kind, pooling)
            trained = RewardModel.from_pretrained(str(trained_in), trust_remote_code=True)
            rewards = trained.score(QUESTION, ANSWERS)
            assert max(rewards) - min(rewards) > 1e-3
            for folder in folders_of(trained_in, how, pooling):
                folders.append(folder)
                wanted[str(folder)] = pytest.approx(rewards, abs=TOLERANCES[precision])
                asked[str(folder)] = [trained.render(QUESTION, answer) for answer in ANSWERS]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    command = [sys.executable, "-c", PLAIN, str(tmp_path / "asked.json")]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    for folder, close in wanted.items():
        assert found[folder] == {"alone": close, "pipeline": close}, folder
    for classes in ((GRPOTrainer, GRPOConfig), (RLOOTrainer, RLOOConfig)):
        by_trl = rewards_of_trl(folders, *classes, tmp_path)
        for folder, close in wanted.items():
            assert by_trl[folder] == close, (folder, classes)


def test_a_stream_has_no_features_to_compute_first(tmp_path):
    """So the cell of streams above is frozen by hand."""
    for part in tiny_models.qwen2_causal():
        part.save_pretrained(tmp_path / "base")
    args = config(tmp_path / "out", max_steps=1, freeze_backbone=True)
    trainer = RewardTrainer(str(tmp_path / "base"), args, train_dataset=rows("stream"))
    with pytest.raises(ConfigError, match="give rows that can be read again, not a stream"):
        trainer.train()


def test_the_base_of_an_adapter_alone_would_give_other_rewards(tmp_path):
    """So the test above would see an adapter that is not applied."""
    model, tokenizer = tiny_models.qwen2_causal()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    train(tmp_path / "out", tmp_path / "base", "lora", "float32", "pairs", "last")
    rewards = RewardModel.from_pretrained(str(tmp_path / "out")).score(QUESTION, ANSWERS)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=1)
    plain.score.load_state_dict(
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "merged").score.state_dict()
    )
    merged = RewardModel.from_pretrained(str(tmp_path / "out"))
    ids = merged.encode(make_request(QUESTION, ANSWERS))
    others = [plain(torch.tensor([row])).logits.item() for row in ids]
    assert max(abs(a - b) for a, b in zip(rewards, others, strict=True)) > 1e-4
