"""Runs of tiny policies by every algorithm, a few steps each."""

import tiny_models

from rewardsmith import PPOConfig
from rewardsmith.rl.policy import Policy
from rewardsmith.rl.raft import RaftConfig
from rewardsmith.rl.rewards import reward_function
from rewardsmith.rl.running import RunPlan

PROMPTS = tuple(f"{word} question" for word in ("good", "bad", "nice", "poor", "fine", "great", "awful", "maybe"))
COMMON = {
    "report_to": "none", "use_cpu": True, "bf16": False, "disable_tqdm": True, "save_strategy": "no",
    "logging_steps": 1, "learning_rate": 1e-3, "gradient_checkpointing": False, "temperature": 1.0, "seed": 3,
    "per_device_train_batch_size": 4,
}  # fmt: skip


def letters(prompts, completions, **_):
    return [float(str(text).count("a")) for text in completions]


class Gold:
    name = "gold"

    def score_requests(self, requests):
        return [[-float(len(str(text))) for text in request.completions] for request in requests]


def config(algorithm, folder, **changes):
    if algorithm == "raft":
        raft = {"num_rounds": 2, "prompts_per_round": 2, "num_generations": 4, "max_completion_length": 6}
        return RaftConfig(output_dir=str(folder), learning_rate=1e-2, use_cpu=True, **(raft | changes))
    if algorithm == "ppo":
        return PPOConfig(output_dir=str(folder), response_length=6, **(COMMON | {"total_episodes": 8} | changes))
    from trl import GRPOConfig, RLOOConfig

    kind = {"grpo": GRPOConfig, "rloo": RLOOConfig}[algorithm]
    steps = {"max_steps": 2, "num_generations": 2, "max_completion_length": 6, "beta": 0.05}
    return kind(output_dir=str(folder), **(COMMON | steps | changes))


def plan(algorithm, folder, reward=letters, policy=None, options=None, **changes):
    function = reward_function(reward, options=options)
    policy = policy or Policy(*tiny_models.qwen2_causal())
    how = config(algorithm, folder, **changes)
    return RunPlan(algorithm, policy, PROMPTS[3:], PROMPTS[:3], function, how, gold=Gold(), num_measurements=2)
