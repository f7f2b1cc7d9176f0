"""Do rounds of judgements make a policy better, and which pairs are worth a label? On the simulator, over seeds.

    python benchmarks/rounds.py OUT [--seeds 0 1 2 3 4] [--picks random gap uncertainty fisher] [--kill]

For each seed a tiny policy learns the simulator's answers, good and bad ones alike, for two epochs. Then three rounds:
pairs of its answers are picked, judged with noise, a reward model that starts from the policy's weights learns from all
judgements, RAFT optimises the policy. `--kill` ends the process of every run twice at a random moment and starts it
again. A run that is there already is read.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rl_runs import saved_policy

from rewardsmith.blocks.kinds import Table
from rewardsmith.blocks.text import print_blocks
from rewardsmith.data.simulate import GoldScorer
from rewardsmith.rl.policy import load_prompts
from rewardsmith.rl.rounds import Rounds, RoundSettings
from rewardsmith.stats.intervals import bootstrap_amount
from rewardsmith.training.launching import quiet_other_packages

ROUNDS, LABELS, CANDIDATES = 3, 200, 400


def settings_of(out: Path, pick: str, seed: int) -> RoundSettings:
    reward = {
        "num_train_epochs": 4, "learning_rate": 2e-3, "use_cpu": True, "save_strategy": "no", "disable_tqdm": True,
        "verify_saved_model": False, "per_device_train_batch_size": 16, "gradient_checkpointing": False,
    }  # fmt: skip
    return RoundSettings(
        policy=str(out / f"start-{seed}" / "policy"),
        reward_start=str(out / f"start-{seed}" / "policy"),
        prompts=f"simulator:1200,{seed + 100}",
        num_rounds=ROUNDS,
        labels=LABELS,
        candidates=CANDIDATES,
        pick=pick,
        max_completion_length=96,
        num_eval_prompts=96,
        reward=reward,
        optimise={
            "num_rounds": 1,
            "prompts_per_round": 64,
            "num_generations": 8,
            "num_train_epochs": 3,
            "learning_rate": 1e-3,
        },
        gold="simulator:gold",
        seed=seed,
    )


def rounds_of(out: Path, pick: str, seed: int) -> Rounds:
    settings = settings_of(out, pick, seed)
    return Rounds(settings, out / f"{pick}-{seed}", load_prompts(settings.prompts), GoldScorer(), lambda line: None)


def killed(args: argparse.Namespace, pick: str, seed: int) -> None:
    """Start a run in a process of its own and end it at random moments, as the kernel does when memory is short."""
    own = [sys.executable, __file__, str(args.out), "--seeds", str(seed), "--picks", pick, "--quiet"]
    draw = random.Random(f"{pick}/{seed}")
    for _ in range(2):
        process = subprocess.Popen(own, env=dict(os.environ))
        time.sleep(draw.uniform(10, 60))
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--picks", nargs="+", default=["random", "gap", "uncertainty", "fisher"])
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    args = parser.parse_args()
    quiet_other_packages()
    gains: dict[tuple[str, int], list[float]] = {}
    for seed in args.seeds:
        # The reward models of a seed start from its policy, too.
        saved_policy(args.out / f"start-{seed}" / "policy", seed)
        for pick in args.picks:
            if args.kill and not (args.out / f"{pick}-{seed}" / f"round-{ROUNDS}" / "policy" / "run.json").exists():
                killed(args, pick, seed)
            for one in rounds_of(args.out, pick, seed).run().rounds:
                assert one.gain is not None
                gains.setdefault((pick, one.number), []).append(one.gain.value)
            if not args.quiet:
                print(f"{pick}, seed {seed}: gold gained {gains[pick, ROUNDS][-1]:+.2f}", file=sys.stderr, flush=True)
    if not args.quiet:
        rows = [[pick, n, n * LABELS, bootstrap_amount(values)] for (pick, n), values in gains.items()]
        head = ("pick", "round", "labels", "gain of gold, mean over seeds")
        print_blocks([Table(f"{len(args.seeds)} seeds", head, rows)])
        print_blocks([labels_table(gains)])


def labels_table(gains: dict[tuple[str, int], list[float]]) -> Table:
    """Return how many labels each way needs for the gold that the first way reached in each seed with all of its own.

    Between two rounds gold is taken to rise in a straight line; a seed in which a way does not get there is counted.
    """
    picks = list(dict.fromkeys(pick for pick, _ in gains))
    wanted = gains[picks[0], ROUNDS]
    rows: list[list[object]] = []
    for pick in picks:
        curves = list(zip(*(gains[pick, number] for number in range(1, ROUNDS + 1)), strict=True))
        needed = [labels_for(gain, curve) for gain, curve in zip(wanted, curves, strict=True)]
        known = [labels for labels in needed if labels is not None]
        against = [curve[-1] - gain for gain, curve in zip(wanted, curves, strict=True)]
        rows.append([pick, f"{len(known)} of {len(needed)}", bootstrap_amount(known), bootstrap_amount(against)])
    head = ("pick", "seeds that get there", "labels, mean of those", f"gold at the end against {picks[0]}")
    return Table(f"labels for the gold of {ROUNDS * LABELS} by {picks[0]}", head, rows)


def labels_for(gain: float, curve: Sequence[float]) -> float | None:
    """Return after how many labels a curve of gains, one a round, first reaches `gain`."""
    before = 0.0
    for number, after in enumerate(curve):
        if after >= gain:
            share = 1.0 if after == before else min(1.0, max(0.0, (gain - before) / (after - before)))
            return LABELS * (number + share)
        before = after
    return None


if __name__ == "__main__":
    main()
