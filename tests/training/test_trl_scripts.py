"""TRL's own training script, as installed, runs with two of its imports swapped, and its folder scores everywhere."""

import json
from pathlib import Path

import forking
import pytest
import tiny_models
import torch
import trl.scripts.reward
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rewardsmith import RewardModel

SWAPS = {
    "from trl import RewardTrainer, ": "from rewardsmith import RewardTrainer\n    from trl import ",
    "ModelConfig, RewardConfig, ScriptArguments": "ModelConfig, ScriptArguments",
    "    dataclass_types = (": "    from rewardsmith import RewardConfig\n\n    dataclass_types = (",
}
FLAGS = ("--report_to", "none", "--use_cpu", "--eval_strategy", "steps", "--eval_steps", "2", "--num_train_epochs", "1")
LORA = ("--use_peft", "--lora_r", "4", "--lora_task_type", "SEQ_CLS", "--lora_dropout", "0")


def swapped(folder: Path) -> Path:
    """Write the script of the installed TRL with our trainer and settings."""
    text = Path(trl.scripts.reward.__file__).read_text()
    for theirs, ours in SWAPS.items():
        assert theirs in text, f"TRL's script has changed: {theirs}"
        text = text.replace(theirs, ours, 1)
    script = folder / "reward.py"
    script.write_text(text)
    return script


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), LORA], ids=["full", "lora"])
def test_the_script_of_trl_ends_with_a_folder_that_plain_transformers_scores_alike(tmp_path, flags):
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"prompt": f"question {i}", "chosen": f"good answer {i}", "rejected": f"bad {i}"} for i in range(24)]
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        (tmp_path / "data" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = ("--model_name_or_path", str(tmp_path / "model"), "--dataset_name", "data", "--output_dir", "out")
    done = forking.run([str(swapped(tmp_path)), *names, *FLAGS, *flags], cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "deprecated" not in done.stderr
    out = tmp_path / "out"
    plain_folder = out / "merged" if flags else out
    mine = RewardModel.from_pretrained(str(out)).score("question 1", ["good answer 1", "bad 1"])
    plain = AutoModelForSequenceClassification.from_pretrained(plain_folder)
    reader = AutoTokenizer.from_pretrained(plain_folder)
    with torch.no_grad():
        theirs = [
            plain(**reader(f"question 1{answer}{reader.eos_token}", return_tensors="pt")).logits.item()
            for answer in ("good answer 1", "bad 1")
        ]
    assert theirs == pytest.approx(mine, abs=1e-5)
