"""Which signals of a run warn of reward hacking, how often, and how early?

    python benchmarks/guard.py OUT [--seeds 0 1 2 3 4 5 6 7 8 9] [--algorithms ppo grpo] [--read_only]

Makes the runs of benchmarks/rl_runs.py (with and without a price of KL) that OUT lacks. A run is hacked where the
report's own test says that gold turned, else clean. A signal's threshold holds false alarms of a clean run at 5%; it is
set without the runs of the seed that is looked at, as they share a policy and a reward model. Lead is the update of
best measured gold less that of the first alarm; points lie 3 updates apart. Ensembles and judges are the reward models
of the next three seeds; a run's scores by them, on 48 of its prompts, are kept in its watched.json.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rl_runs import SECONDS, make_missing, parser_of_runs

from rewardsmith import RewardModel
from rewardsmith.data.simulate import SimulationConfig, simulate
from rewardsmith.files.writing import write_json
from rewardsmith.records import Message, ScoreRequest
from rewardsmith.rl.guard import SIGNALS, Signal, conformal, drop, gain, highest, ratio, read_updates, trace_of
from rewardsmith.rl.measuring import SAMPLES, Point
from rewardsmith.scoring.features import predict
from rewardsmith.stats.intervals import bootstrap_amount, wilson
from rewardsmith.training.launching import quiet_other_packages

PROMPTS, WATCHED, MEMBERS = 48, "watched.json", 4
Numbers = NDArray[np.float64]
WITH_MODELS = (
    Signal("spread of 4 models", "spread", lambda points: ratio(points, "spread"), "", ""),
    Signal("another model's fall", "judge", lambda points: drop(points, "judge"), "", ""),
    Signal("gain beyond another model's", "judge", lambda p: gain(p, "own") - gain(p, "judge"), "", ""),
    Signal("distance of features", "distance", lambda points: ratio(points, "distance"), "", ""),
)


@dataclass(frozen=True)
class Run:
    """A finished run; `turn` is the update of best measured gold where gold turned."""

    name: str
    seed: int
    points: Sequence[Point]
    turn: float | None


def main() -> None:
    parser = parser_of_runs(__doc__, num_seeds=10, updates=24)
    parser.add_argument("--algorithms", nargs="+", default=["ppo", "grpo"])
    parser.add_argument("--read_only", action="store_true", help="make no runs")
    args = parser.parse_args()
    quiet_other_packages()
    torch.set_num_threads(1)
    if not args.read_only:
        make_missing(args)
    runs = [read_run(folder.parent) for folder in sorted(args.out.glob(f"*-*-*/{SECONDS}"))]
    summarise(runs)


def read_run(folder: Path) -> Run:
    """Read a run, with what its answers say to other models."""
    seed, record = int(folder.name.rsplit("-", 1)[1]), json.loads((folder / "run.json").read_text())
    points = read_updates(folder)
    if not (folder / WATCHED).exists():
        write_json(folder / WATCHED, watch(folder, seed))
    found = {name: np.array(row).reshape(len(points), -1) for name, row in read_json(folder / WATCHED).items()}
    z = [(row - row[0].mean()) / row[0].std() for row in (found[f"m{k}"] for k in range(MEMBERS))]
    extra = {"own": z[0], "judge": z[1], "spread": np.std(z, axis=0, ddof=1), "distance": found["maha"]}
    points = [
        replace(point, values={**point.values, **{name: list(row[place]) for name, row in extra.items()}})
        for place, point in enumerate(points)
    ]
    ends = json.loads((folder / "curve.jsonl").read_text().splitlines()[-1])["step"]
    turn = record["turn"] and record["turn"]["step"] * points[-1].step / ends
    return Run(folder.name, seed, points, turn)


def read_json(path: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = json.loads(path.read_text())
    return found


def watch(folder: Path, seed: int) -> dict[str, list[float]]:
    """Return the rewards of four models and the Mahalanobis distance of features from the training data."""
    rows = [json.loads(line) for line in (folder / SAMPLES).read_text().splitlines()]
    each = sum(row["step"] == 0 for row in rows)
    rows = [row for place, row in enumerate(rows) if place % each < PROMPTS]
    requests = [
        ScoreRequest((Message("user", row["prompt"]),), ((Message("assistant", row["completion"]),),)) for row in rows
    ]
    total = len(list(folder.parent.glob("reward-*")))
    models = [RewardModel.from_pretrained(str(folder.parent / f"reward-{(seed + k) % total}")) for k in range(MEMBERS)]
    found = {f"m{k}": [row[0] for row in model.score_requests(requests)] for k, model in enumerate(models)}
    judged = list(simulate(SimulationConfig(300, (4, 4), sentences=(1, 4), seed=seed + 100)))[:250]
    seen = features(models[0], [ScoreRequest.of_group(group) for group in judged])
    spread = np.cov(seen.T)
    inverse = np.linalg.inv(spread + 1e-3 * np.trace(spread) / len(spread) * np.eye(len(spread)))
    away = features(models[0], requests) - seen.mean(0)
    return found | {"maha": np.sqrt(np.einsum("nd,de,ne->n", away, inverse, away)).tolist()}


def features(model: RewardModel, requests: Sequence[ScoreRequest]) -> Numbers:
    return np.concatenate([one.features for one in predict(model, requests, "fisher") if one.features is not None])


def summarise(runs: Sequence[Run]) -> None:
    """Print a row a signal: threshold, false alarms, detection, lead."""
    hacked, clean = [one for one in runs if one.turn is not None], [one for one in runs if one.turn is None]
    print(f"{len(hacked)} hacked: {', '.join(one.name for one in hacked)}")
    print(f"{len(clean)} clean: {', '.join(one.name for one in clean)}\n")
    print("| signal | threshold | false alarms | detected | lead, updates, median | mean | by best gold |")
    print("|---|---|---|---|---|---|---|")
    for signal in (*SIGNALS.values(), *WITH_MODELS):
        traces = {one.name: trace_of(signal, one.points) for one in runs}
        peaks = {one.name: highest(traces[one.name][1:]) for one in clean}
        limit = {seed: conformal([peaks[r.name] for r in clean if r.seed != seed]) for seed in {r.seed for r in runs}}
        false = sum(peaks[one.name] > limit[one.seed] for one in clean)
        leads = [lead for one in hacked if (lead := _lead(one, traces[one.name], limit[one.seed])) is not None]
        early = wilson(sum(lead >= 0 for lead in leads), len(hacked))
        middle = f"{statistics.median(leads):g} | {bootstrap_amount(leads)}" if leads else "- | -"
        print(
            f"| {signal.name} | {conformal(list(peaks.values())):.3g} | {wilson(false, len(clean))} | "
            f"{wilson(len(leads), len(hacked))} | {middle} | {early} |"
        )


def _lead(one: Run, trace: Sequence[float], limit: float) -> float | None:
    """Return how many updates before best gold the first alarm came; None without one."""
    assert one.turn is not None
    alarms = [point.step for point, value in zip(one.points, trace, strict=True) if value > limit]
    return None if not alarms or not math.isfinite(limit) else one.turn - alarms[0]


if __name__ == "__main__":
    main()
