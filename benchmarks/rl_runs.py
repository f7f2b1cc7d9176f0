"""Does a policy that is optimised against a trained reward model become better? On the simulator, over seeds.

    python benchmarks/rl_runs.py OUT [--seeds 0 1 2 3 4] [--updates 24] [--algorithms ppo grpo rloo]

For each seed a tiny policy learns the simulator's answers, good and bad ones alike, for two epochs; a reward model of
the same size learns from noisy simulated judgements of such answers; then PPO, GRPO and RLOO optimise copies of the
policy against it, each with the price of KL of `PRICES` and with none. Reward and gold are measured on held-out
prompts. Every run leaves its folder with a report in OUT; a run that is there already is read, not run again.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig, RLOOConfig

from rewardsmith import RewardModel
from rewardsmith.blocks.kinds import Table
from rewardsmith.blocks.text import print_blocks
from rewardsmith.blocks.words import read_estimate
from rewardsmith.clients.opening import open_scorer
from rewardsmith.data.simulate import SimulationConfig, simulate
from rewardsmith.models.fresh_model import build_model
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.report.optimising import write_run_report
from rewardsmith.rl.policy import Policy, load_prompts
from rewardsmith.rl.ppo import PPOConfig
from rewardsmith.rl.rewards import reward_function
from rewardsmith.rl.running import RunPlan, optimise
from rewardsmith.rl.supervised import SupervisedConfig, fresh_policy
from rewardsmith.stats.intervals import bootstrap_amount
from rewardsmith.training import RewardConfig
from rewardsmith.training.data import TrainingData
from rewardsmith.training.launching import quiet_other_packages
from rewardsmith.training.run import train_run

# How a policy learns the simulator's answers before it is optimised.
STARTS = partial(SupervisedConfig, num_train_epochs=2.0)
# Of a nat: of an answer for PPO and RLOO, where it is taken off the reward, of a token in GRPO's loss.
PRICES = {"ppo": 0.2, "rloo": 0.2, "grpo": 0.2}
LONGEST = 96
# Written last: a run that lacks it was not finished.
SECONDS = "seconds.json"
BATCH, GROUP = 64, 8


def main() -> None:
    parser = parser_of_runs(__doc__, num_seeds=5, updates=24)
    parser.add_argument("--algorithms", nargs="+", default=list(PRICES))
    args = parser.parse_args()
    quiet_other_packages()
    torch.set_num_threads(1)
    make_missing(args)
    summarise(args)


def parser_of_runs(description: str | None, num_seeds: int, updates: int) -> argparse.ArgumentParser:
    """Return a parser with the flags that all runs on the simulator share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(num_seeds)))
    parser.add_argument("--updates", type=int, default=updates)
    parser.add_argument("--judged_prompts", type=int, default=300)
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    return parser


def make_missing(args: argparse.Namespace) -> None:
    """Make the runs of every seed and algorithm, with and without a price of KL, that OUT lacks."""
    for seed in args.seeds:
        wanted = [(algorithm, price) for algorithm in args.algorithms for price in (PRICES[algorithm], 0.0)]
        missing = [one for one in wanted if not (folder_of(args.out, *one, seed) / SECONDS).exists()]
        if missing:
            policy, reward = start(args, seed)
            for algorithm, price in missing:
                run(args, copy.deepcopy(policy), reward, algorithm, price, seed)


def folder_of(out: Path, algorithm: str, price: float, seed: int) -> Path:
    return out / f"{algorithm}-{'kl' if price else 'free'}-{seed}"


def start(args: argparse.Namespace, seed: int) -> tuple[Policy, RewardModel]:
    """Return a policy that writes whole sentences, and a reward model that learned from judgements of such answers."""
    began = time.perf_counter()
    policy = fresh_policy(config=STARTS(seed=seed))
    folder = args.out / f"reward-{seed}"
    config = reward_config(folder, seed)
    parts = {"model": build_model("tiny", policy.tokenizer, seed + 50), "processing_class": policy.tokenizer}
    data = TrainingData(*judgements_of(args, seed), ["simulated"])
    summary = train_run(parts, config, data, ("tiny", "simulated"), {})
    assert summary.held_out is not None
    print(
        f"seed {seed}: start in {time.perf_counter() - began:.0f} s, reward model's accuracy on held-out judgements "
        f"{summary.held_out.accuracy}",
        flush=True,
    )
    return policy, RewardModel.from_pretrained(str(folder))


def saved_policy(folder: Path, seed: int) -> Path:
    """Return a folder with the policy that every run of a seed starts from, made where it lacks."""
    if not folder.exists():
        policy = fresh_policy(config=STARTS(seed=seed))
        policy.model.save_pretrained(folder)
        policy.tokenizer.save_pretrained(folder)
    return folder


def judgements_of(args: argparse.Namespace, seed: int) -> tuple[list[PreferenceGroup], list[PreferenceGroup]]:
    """Return what a seed's reward models learn from, and what is held out."""
    judged = list(simulate(SimulationConfig(args.judged_prompts, (4, 4), sentences=(1, 4), seed=seed + 100)))
    cut = len(judged) * 5 // 6
    return judged[:cut], judged[cut:]


def reward_config(folder: Path, seed: int, **changes: Any) -> RewardConfig:
    return RewardConfig(
        output_dir=str(folder), tokens_per_batch=4096, merge_prompts=True, num_train_epochs=2, learning_rate=4e-3,
        lr_scheduler_type="cosine", warmup_steps=0.05, max_length=None, gradient_checkpointing=False,
        save_strategy="no", report_to="none", disable_tqdm=True, seed=seed, use_cpu=True, **changes,
    )  # fmt: skip


def config_of(args: argparse.Namespace, algorithm: str, price: float, seed: int, folder: Path) -> Any:
    common: dict[str, Any] = {
        "output_dir": str(folder), "learning_rate": args.learning_rate, "lr_scheduler_type": "constant", "seed": seed,
        "report_to": "none", "use_cpu": True, "bf16": False, "disable_tqdm": True, "save_strategy": "no",
        "logging_steps": 1, "gradient_checkpointing": False, "temperature": 1.0,
    }  # fmt: skip
    if algorithm == "ppo":
        return PPOConfig(
            **common, response_length=LONGEST, per_device_train_batch_size=BATCH // 2, gradient_accumulation_steps=2,
            num_mini_batches=2, num_ppo_epochs=2, total_episodes=BATCH * args.updates, kl_coef=price,
        )  # fmt: skip
    kind = {"grpo": GRPOConfig, "rloo": RLOOConfig}[algorithm]
    return kind(
        **common, max_completion_length=LONGEST, per_device_train_batch_size=BATCH, num_generations=GROUP,
        num_iterations=2, max_steps=2 * args.updates, beta=price,
    )  # fmt: skip


def run(args: argparse.Namespace, policy: Policy, reward: RewardModel, *which: Any) -> None:
    algorithm, price, seed = which
    folder, began = folder_of(args.out, *which), time.perf_counter()
    config = config_of(args, algorithm, price, seed, folder)
    said = optimise_measured(algorithm, policy, reward_function(reward), config, measurements=8)
    seconds = time.perf_counter() - began
    print(f"{said}, {seconds:.0f} s", flush=True)
    (folder / SECONDS).write_text(json.dumps(seconds))


def optimise_measured(algorithm: str, policy: Policy, reward: Any, config: Any, *, measurements: int) -> str:
    """Optimise, measured by the simulator's gold, and write the report; returns what was gained in one line."""
    result = optimise(
        RunPlan(
            algorithm,
            policy,
            load_prompts(f"simulator:512,{2000 + config.seed}"),
            load_prompts(f"simulator:96,{3000 + config.seed}"),
            reward,
            config,
            gold=open_scorer("simulator:gold"),
            num_measurements=measurements,
        )
    )
    write_run_report(result)
    gains = {name: str(result.after.change(name, result.before)) for name in ("reward", "gold")}
    return f"{Path(config.output_dir).name}: {gains}, turn {result.turn}"


def summarise(args: argparse.Namespace) -> None:
    """Print means over seeds with their intervals."""
    rows: list[list[Any]] = []
    for algorithm in args.algorithms:
        for price in (PRICES[algorithm], 0.0):
            folders = [folder_of(args.out, algorithm, price, seed) for seed in args.seeds]
            records = [json.loads((folder / "run.json").read_text()) for folder in folders]
            seconds = [json.loads((folder / SECONDS).read_text()) for folder in folders]
            cells = [
                mean_of([value_of(record["change"][name]) for record in records]) for name in ("reward", "gold", "kl")
            ]
            best = [max(golds_of(folder)) - golds_of(folder)[0] for folder in folders]
            turned = [record["turn"] for record in records if record["turn"]]
            where = ", ".join(f"{turn['step']} (KL {turn['kl']:.1f})" for turn in turned) or "none"
            name = f"{algorithm}, {f'KL at {price:g}' if price else 'no KL control'}"
            rows.append([name, *cells, mean_of(best), f"{len(turned)} of {len(records)}: {where}", mean_of(seconds)])
    header = ("", "gain in reward", "gain in gold", "KL, nats", "gold at its best", "gold turned at step", "seconds")
    print_blocks([Table(f"{len(args.seeds)} seeds, {args.updates} updates of {BATCH} answers", header, rows)])
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def golds_of(folder: Path) -> list[float]:
    lines = (folder / "curve.jsonl").read_text().splitlines()
    rows = [json.loads(line)["values"]["gold"] for line in lines]
    return [sum(row) / len(row) for row in rows]


def value_of(estimate: Any) -> float:
    found = read_estimate(estimate)
    assert found is not None
    return found.value


def mean_of(values: list[float]) -> Estimate:
    return bootstrap_amount(values)


if __name__ == "__main__":
    main()
