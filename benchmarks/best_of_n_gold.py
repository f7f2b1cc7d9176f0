"""Does the best of n by a trained reward model also gain gold reward? On the simulator, over seeds.

    python benchmarks/best_of_n_gold.py OUT [--n 16] [--prompts 96] [--seeds 0 1 2 3 4]

OUT is that of benchmarks/rl_runs.py, with RLOO among its algorithms: the policies that its runs start from, which write
whole sentences, and the reward models that they are optimised against.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from rewardsmith import RewardModel
from rewardsmith.blocks.words import show_estimate
from rewardsmith.clients.opening import open_scorer
from rewardsmith.rl.best_of_n import BestOfN, best_of_n
from rewardsmith.rl.policy import Sampling, load_prompts, open_policy
from rewardsmith.stats.intervals import bootstrap_amount


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    args = parser.parse_args()
    torch.set_num_threads(1)
    gold = open_scorer("simulator:gold")
    gains: dict[str, list[float]] = {"reward": [], "gold": []}
    for seed in args.seeds:
        policy = open_policy(str(args.out / f"rloo-kl-{seed}" / "start"))
        reward = RewardModel.from_pretrained(str(args.out / f"reward-{seed}"))
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
        print(f"gain in {name} over {len(args.seeds)} seeds: {show_estimate(bootstrap_amount(values))}")


if __name__ == "__main__":
    main()
