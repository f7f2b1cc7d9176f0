"""Does the pessimistic reward of an ensemble turn later than a single model's? PPO without a price of KL, over seeds.

    python benchmarks/rl_ensembles.py OUT [--seeds 0 1 2 3 4] [--kinds single heads models] [--members 4] [--updates 12]

For each seed the start and the judgements are those of `rl_runs.py`; a single reward model, heads on one backbone and
whole models learn from the same judgements, then PPO optimises copies of the start against each. Members are read in
their own standard deviations. The kind `seeds` is whole models that all learn from all judgements and differ in their
random start alone, as Coste et al. 2023 have it. Runs and models that OUT holds already are read, not made again.
Printed too is how far members disagree about the answers of each measured point, and how far they are wrong together.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rl_runs import (
    SECONDS,
    config_of,
    judgements_of,
    mean_of,
    optimise_measured,
    parser_of_runs,
    reward_config,
    saved_policy,
)

from rewardsmith import RewardModel
from rewardsmith.blocks.kinds import Table
from rewardsmith.blocks.text import print_blocks
from rewardsmith.files.reading import read_rows
from rewardsmith.models.foreign.folder import write_members
from rewardsmith.models.fresh_model import build_model
from rewardsmith.records import ScoreRequest, as_text
from rewardsmith.rl.measuring import CURVE, SAMPLES, find_turn, read_points
from rewardsmith.rl.policy import Policy, open_policy
from rewardsmith.rl.rewards import reward_function
from rewardsmith.rl.shaping import RewardOptions
from rewardsmith.training.data import TrainingData
from rewardsmith.training.launching import quiet_other_packages
from rewardsmith.training.run import train_one_or_several

# Between the seeds of two members, so that no seed of a run is a member of another one.
MEMBER_SEEDS = 1000
WAYS = {
    "single": (None, 1.0),
    "minimum": ("min", 1.0),
    "soft-minimum": ("soft_min", 0.5),
    "mean-2sd": ("mean_minus_std", 2.0),
}


def main() -> None:
    parser = parser_of_runs(__doc__, num_seeds=5, updates=12)
    parser.add_argument("--kinds", nargs="+", default=["single", "heads", "models"])
    parser.add_argument("--ways", nargs="+", default=["minimum"])
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--price", type=float, default=0.0, help="of a nat of KL, in deviations of the reward")
    args = parser.parse_args()
    quiet_other_packages()
    torch.set_num_threads(1)
    for seed in args.seeds:
        for kind, way in runs_of(args):
            if not (folder_of(args.out, kind, way, seed) / SECONDS).exists():
                run(args, kind, way, seed)
    summarise(args)


def runs_of(args: argparse.Namespace) -> list[tuple[str, str]]:
    return [(kind, way) for kind in args.kinds for way in (["single"] if kind == "single" else args.ways)]


def folder_of(out: Path, kind: str, way: str, seed: int) -> Path:
    return out / f"ppo-{kind}-{way}-{seed}"


def reward_of(args: argparse.Namespace, policy: Policy, kind: str, seed: int) -> tuple[Path, float]:
    """Train what a kind is made of, once, and return its folder and the seconds of processor time that it took."""
    folder = args.out / f"reward-{kind}-{seed}"
    cost = folder / SECONDS
    if not cost.exists():
        began = time.process_time()
        judged, held_out = judgements_of(args, seed)
        ensemble = {"ensemble": args.members, "ensemble_kind": kind} if kind in ("heads", "models") else {}
        names = [f"member-{number + 1}" for number in range(args.members)] if kind == "seeds" else []
        for number, name in enumerate(names or ["."]):
            train_one_or_several(
                lambda own: {
                    "model": build_model("tiny", policy.tokenizer, own.seed + 50),
                    "processing_class": policy.tokenizer,
                },
                reward_config(folder / name, seed + MEMBER_SEEDS * number, **ensemble),
                TrainingData(judged, held_out, ["simulated"]),
                ("tiny", "simulated"),
                {},
            )
        if names:
            write_members(folder, names)
        cost.write_text(json.dumps(time.process_time() - began))
    return folder, json.loads(cost.read_text())


def run(args: argparse.Namespace, kind: str, way: str, seed: int) -> None:
    folder = folder_of(args.out, kind, way, seed)
    policy = open_policy(str(saved_policy(args.out / f"start-{seed}" / "policy", seed)))
    reward, training = reward_of(args, policy, kind, seed)
    combine, penalty = WAYS[way]
    began = time.process_time()
    options = RewardOptions(combine=combine, penalty=penalty, normalized=True)
    function = reward_function(RewardModel.from_pretrained(str(reward)), options=options)
    config = config_of(args, "ppo", args.price, seed, folder)
    said = optimise_measured("ppo", policy, function, config, measurements=args.updates // 3)
    cost = {"training": training, "optimising": time.process_time() - began}
    print(f"{said}, {cost}", flush=True)
    (folder / SECONDS).write_text(json.dumps(cost))


def summarise(args: argparse.Namespace) -> None:
    """Print means over seeds with their intervals; a difference is that from the single model, paired by seed.

    A run that never turned counts as one that turned after its last update.
    """
    turned_at: dict[str, list[int]] = {}
    gold: dict[str, list[list[float]]] = {}
    rows: list[list[Any]] = []
    for kind, way in runs_of(args):
        name, turns, kls, costs = f"{kind}, {way}" if kind != "single" else kind, [], [], []
        for seed in args.seeds:
            folder = folder_of(args.out, kind, way, seed)
            points = read_points(folder / CURVE)
            turns.append(find_turn(points))
            kls.append(points[-1].estimate("kl").value)
            gold.setdefault(name, []).append([point.estimate("gold").value for point in points])
            costs.append(json.loads((folder / SECONDS).read_text()))
        gains = [curve[-1] - curve[0] for curve in gold[name]]
        best = [max(curve) - curve[0] for curve in gold[name]]
        lost = [max(curve) - curve[-1] for curve in gold[name]]
        turned = [turn for turn in turns if turn is not None]
        turned_at[name] = [turn.step if turn else args.updates for turn in turns]
        where = ", ".join(f"{turn.step} (KL {turn.kl:.1f})" for turn in turned) or "none"
        cells = [mean_of(values) for values in (gains, best, lost, kls)]
        seconds = [mean_of([cost[part] for cost in costs]) for part in ("training", "optimising")]
        row = [name, *cells, f"{len(turned)} of {len(turns)}: {where}", *seconds]
        if "single" in gold:
            pairs = zip(gold[name], gold["single"], strict=True)
            row.insert(2, mean_of([own[-1] - other[-1] for own, other in pairs]))
            later = zip(turned_at[name], turned_at["single"], strict=True)
            row.insert(7, mean_of([float(own - other) for own, other in later]))
        rows.append(row)
    header = ["", "gain in gold", "against single", "gold at its best", "lost from there", "KL, nats", "gold turned",
              "updates later than single", "s to train", "s to optimise"]  # fmt: skip
    if "single" not in gold:
        header = [name for name in header if "single" not in name]
    print_blocks([Table(f"{len(args.seeds)} seeds, {args.updates} updates of PPO", header, rows)])
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    for kind, way in runs_of(args):
        if kind in ("models", "seeds"):
            show_disagreement(args, kind, way)


def show_disagreement(args: argparse.Namespace, kind: str, way: str) -> None:
    """Print how far members disagree about the answers of each measured point, and how far they are wrong together.

    Rewards are in a member's own standard deviations. The error is the members' mean less the straight line in gold
    that was fitted to the answers of the start.
    """
    spreads: dict[int, list[float]] = {}
    errors: dict[int, list[float]] = {}
    for seed in args.seeds:
        samples = [row for _, row in read_rows(folder_of(args.out, kind, way, seed) / SAMPLES)]
        model = RewardModel.from_pretrained(str(args.out / f"reward-{kind}-{seed}"))
        requests = [ScoreRequest(as_text(row["prompt"]), (as_text(row["completion"]),)) for row in samples]
        parts = [row[0] for row in model.score_parts(requests, normalized=True)]
        start = [place for place, row in enumerate(samples) if row["step"] == 0]
        gold = np.array([row["gold"] for row in samples])
        means = np.array([np.mean(part.members) for part in parts])
        error = means - np.polyval(np.polyfit(gold[start], means[start], 1), gold)
        for step in sorted({row["step"] for row in samples}):
            here = [place for place, row in enumerate(samples) if row["step"] == step]
            spreads.setdefault(step, []).append(float(np.mean([parts[place].spread for place in here])))
            errors.setdefault(step, []).append(float(np.mean(error[here])))
    rows = [[step, mean_of(spreads[step]), mean_of(errors[step])] for step in spreads]
    print_blocks([Table(f"{kind}, {way}: members", ("update", "disagreement", "error of their mean"), rows)])


if __name__ == "__main__":
    main()
