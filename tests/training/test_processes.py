"""Two processes report what one reports: metrics of all comparisons, not those of a rank."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

SCRIPT = """
import json, sys
from datasets import Dataset
from rewardsmith import RewardConfig, RewardTrainer

rows = [{"prompt": f"question {i} ", "chosen": f"good answer {i}", "rejected": "bad"} for i in range(9)]
for i in (0, 3, 4, 7):
    rows[i]["chosen"], rows[i]["rejected"] = rows[i]["rejected"], rows[i]["chosen"]
options = json.loads(sys.argv[2])
config = RewardConfig(
    output_dir="out", per_device_eval_batch_size=5, report_to="none", use_cpu=True, disable_tqdm=True, **options
)
data = Dataset.from_list(rows)
trainer = RewardTrainer(model=sys.argv[1], args=config, train_dataset=data, eval_dataset=data)
print(f"RANK{trainer.args.process_index} " + json.dumps(trainer.evaluate()), flush=True)
"""
NAMES = ("loss", "accuracy", "margin", "num_comparisons", "min_reward", "max_reward", "mean_reward")


def ranks(folder: Path, *command: str) -> dict[int, dict[str, float]]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return {int(rank): json.loads(found) for rank, found in re.findall(r"RANK(\d) (\{.*?\})", done.stdout)}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"tokens_per_batch": 64}], ids=["rows", "tokens"])
def test_every_rank_evaluates_to_the_metrics_of_one_process(tmp_path, options):
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "script.py").write_text(SCRIPT)
    arguments = ("script.py", str(tmp_path / "model"), json.dumps(options))
    one = ranks(tmp_path, sys.executable, *arguments)[0]
    launch = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29711")
    two = ranks(tmp_path, *launch, *arguments)
    assert sorted(two) == [0, 1]
    for found in two.values():
        for name in NAMES:
            assert found[f"eval_{name}"] == pytest.approx(one[f"eval_{name}"], abs=1e-6)
    assert one["eval_num_comparisons"] == 9
