"""PPO against a saved reward model; its path is all that the trainer needs beside the policy.

python examples/rl_ppo.py POLICY REWARD_MODEL PROMPTS.jsonl OUTPUT      rows: prompt
"""

import sys

from datasets import load_dataset

from rewardsmith import PPOConfig, PPOTrainer

policy, reward_model, prompts, output = sys.argv[1:5]
config = PPOConfig(
    output_dir=output,
    sft_model_path=policy,
    reward_model_path=reward_model,
    response_length=64,
    per_device_train_batch_size=4,
    total_episodes=8,
    kl_target=6.0,
    use_cpu=True,
    report_to="none",
)
trainer = PPOTrainer(config, train_dataset=load_dataset("json", data_files=prompts, split="train"))
trainer.train()
trainer.save_model()
print("saved", output)
