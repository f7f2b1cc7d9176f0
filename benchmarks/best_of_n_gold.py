"""Does the best of n by a trained reward model also gain gold reward? On the simulator, over seeds of the policy.

    python benchmarks/best_of_n_gold.py REWARD_MODEL [--n 16] [--prompts 64] [--seeds 5]

REWARD_MODEL is, for instance, what `rewardsmith demo` left in demo/model. Each policy is a tiny language model that
learned the simulator's answers, good and bad ones alike.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rewardsmith import RewardModel
from rewardsmith.blocks.words import show_estimate
from rewardsmith.clients.opening import open_scorer
from rewardsmith.rl.best_of_n import BestOfN, best_of_n
from rewardsmith.rl.policy import Sampling, load_prompts
from rewardsmith.rl.supervised import SupervisedConfig, fresh_policy
from rewardsmith.stats.intervals import bootstrap_amount


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reward")
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    reward, gold = RewardModel.from_pretrained(args.reward), open_scorer("simulator:gold")
    gains: dict[str, list[float]] = {"reward": [], "gold": []}
    for seed in range(args.seeds):
        policy = fresh_policy(config=SupervisedConfig(seed=seed))
        prompts = load_prompts(f"simulator:{args.prompts},{1000 + seed}")
        plan = BestOfN(args.n, sampling=Sampling(max_completion_length=96, seed=seed))
        with tempfile.TemporaryDirectory() as folder:
            found = best_of_n(policy, prompts, reward, Path(folder) / "best.jsonl", plan, gold=gold)
        for name, means in (("reward", found.rewards), ("gold", found.gold)):
            gains[name].append(means["gain"].value)
            values = "  ".join(f"{key} {show_estimate(value)}" for key, value in means.items())
            print(f"seed {seed}, {name}: {values}", flush=True)
        print(f"seed {seed}: answers cut {found.cut_share:.1%}, KL {found.kl:.3f} nats", flush=True)
    for name, values in gains.items():
        print(f"gain in {name} over {args.seeds} seeds: {show_estimate(bootstrap_amount(values))}")


if __name__ == "__main__":
    main()
