"""Pairs for DPO from a policy's own answers: the best of n against the worst, then TRL's DPOTrainer.

python examples/rl_dpo_pairs.py POLICY REWARD_MODEL PROMPTS.jsonl OUTPUT      rows: prompt

The first half alone is `rewardsmith rl best-of-n POLICY REWARD_MODEL PROMPTS.jsonl pairs.jsonl --take pairs`.
"""

import sys
from pathlib import Path

from datasets import load_dataset
from trl import DPOConfig, DPOTrainer

from rewardsmith import RewardModel
from rewardsmith.rl.best_of_n import BestOfN, best_of_n
from rewardsmith.rl.policy import Sampling, load_prompts, open_policy
from rewardsmith.scoring.ranking import Choice

policy, reward_model, prompts, output = sys.argv[1:5]
pairs = Path(output) / "pairs.jsonl"
plan = BestOfN(4, Choice("pairs"), Sampling(max_completion_length=64))
found = best_of_n(open_policy(policy), load_prompts(prompts), RewardModel.from_pretrained(reward_model), pairs, plan)
print(f"gain of the best of 4 in reward: {found.rewards['gain']}")

config = DPOConfig(
    output_dir=output, per_device_train_batch_size=2, max_steps=2, bf16=False, use_cpu=True, report_to="none"
)
rows = load_dataset("json", data_files=str(pairs), split="train").select_columns(["prompt", "chosen", "rejected"])
trainer = DPOTrainer(model=policy, args=config, train_dataset=rows)
trainer.train()
trainer.save_model()
print("saved", output)
