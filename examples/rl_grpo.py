"""GRPO by TRL against a saved reward model; every answer of a prompt is scored in one batch.

python examples/rl_grpo.py POLICY REWARD_MODEL PROMPTS.jsonl OUTPUT      rows: prompt
"""

import sys

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from rewardsmith.rl.rewards import reward_function
from rewardsmith.rl.shaping import RewardOptions

policy, reward_model, prompts, output = sys.argv[1:5]
config = GRPOConfig(
    output_dir=output,
    num_generations=4,
    per_device_train_batch_size=4,
    max_completion_length=64,
    max_steps=2,
    beta=0.04,
    bf16=False,
    use_cpu=True,
    report_to="none",
)
trainer = GRPOTrainer(
    model=policy,
    reward_funcs=reward_function(reward_model, options=RewardOptions(clip=10.0)),
    args=config,
    train_dataset=load_dataset("json", data_files=prompts, split="train"),
)
trainer.train()
trainer.save_model()
print("saved", output)
