"""Ways to know how sure a reward model is, and averaged weights, on the simulator: accuracy, calibration, selective
risk, over-optimisation and cost of each, over seeds.

    python benchmarks/ensembles.py --out FILE.json [--seeds 0 1 2 3 4] [--members 4] [--prompts 200] [--shape tiny]

Every model starts from one base of its seed, trained on other judgements, and is fine-tuned on few noisy judgements, so
that models err in ways of their own. Best of n chooses among the simulator's answers.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith import RewardModel, train
from rewardsmith.audit.risk import selective_risk
from rewardsmith.blocks.words import show_estimate
from rewardsmith.data.simulate import AnnotatorConfig, GoldScorer, SimulationConfig, sample_groups, simulate
from rewardsmith.models.fresh_model import build_model, texts_of, train_tokenizer
from rewardsmith.records import PreferenceGroup, ScoreRequest
from rewardsmith.scoring.averaging import average_models
from rewardsmith.scoring.ensemble import combine_part
from rewardsmith.scoring.laplace import fit_laplace
from rewardsmith.stats.best_of_n import best_of_n, fit_turning
from rewardsmith.stats.calibration import calibration_numbers
from rewardsmith.stats.intervals import Resampling, bootstrap_amount

SIZES = tuple(range(1, 65))
WAYS = {
    "mean": ("mean", 1.0),
    "mean - 1 sd": ("mean_minus_std", 1.0),
    "mean - 2 sd": ("mean_minus_std", 2.0),
    "soft minimum, beta 1": ("soft_min", 1.0),
}
SETTINGS = {
    "per_device_train_batch_size": 16,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
    "verify_saved_model": False,
    "save_strategy": "no",
    "test_split_size": 0.0,
    "gradient_checkpointing": False,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="ensembles.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--report", nargs="*", help="only print the tables of these earlier results")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--answers", type=int, default=96)
    parser.add_argument("--shape", default="tiny")
    args = parser.parse_args()
    if args.report:
        report([seed for file in args.report for seed in json.loads(Path(file).read_text())["seeds"]])
        return
    found: list[dict[str, Any]] = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            found.append(one_seed(seed, args, Path(folder)))
        Path(args.out).write_text(json.dumps({"settings": vars(args), "seeds": found}))
        print(f"seed {seed} done", flush=True)
    report(found)


def judgements(prompts: int, seed: int) -> list[PreferenceGroup]:
    people = AnnotatorConfig(temperature=1.0, lapse=0.05)
    return list(simulate(SimulationConfig(prompts=prompts, answers=(3, 3), seed=seed, annotators=people)))


def one_seed(seed: int, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train every kind from one base and measure it."""
    other, few = judgements(args.prompts, 5000 + seed), judgements(args.prompts, 100 + seed)
    calibrating, test = judgements(100, 7000 + seed), judgements(300, 9000 + seed)
    samples = sample_groups(prompts=40, answers=args.answers, seed=3000 + seed)
    tokenizer = train_tokenizer(texts_of(other), 600)
    base = folder / "base"
    train(build_model(args.shape, tokenizer, seed), other, base, processing_class=tokenizer, num_train_epochs=2,
          learning_rate=2e-3, seed=seed, **SETTINGS)  # fmt: skip

    def tuned(name: str, **changes: Any) -> tuple[str, float]:
        started = time.perf_counter()
        train(str(base), few, folder / name, num_train_epochs=3, learning_rate=1e-3, seed=seed, **SETTINGS, **changes)
        return str(folder / name), time.perf_counter() - started

    single, seconds = tuned("single")
    kinds: dict[str, tuple[str, float]] = {"single": (single, seconds)}
    kinds["heads"] = tuned("heads", ensemble=args.members)
    kinds["models"] = tuned("models", ensemble=args.members, ensemble_kind="models")
    shutil.copytree(single, folder / "laplace")
    started = time.perf_counter()
    fit_laplace(folder / "laplace", few)
    kinds["Laplace"] = (str(folder / "laplace"), seconds + time.perf_counter() - started)
    started = time.perf_counter()
    members = sorted(str(path) for path in Path(kinds["models"][0]).glob("member-*"))
    average_models(members, folder / "averaged", held_out=calibrating, verify=False)
    kinds["averaged"] = (str(folder / "averaged"), kinds["models"][1] + time.perf_counter() - started)
    return {name: measure(path, cost, test, samples) for name, (path, cost) in kinds.items()}


def measure(
    path: str, train_seconds: float, test: list[PreferenceGroup], samples: list[PreferenceGroup]
) -> dict[str, Any]:
    """Measure one kind: held-out judgements, gold of the best of n under each way, and cost."""
    model = RewardModel.from_pretrained(path, verify=False)
    margins, clusters = [], []
    columns = [member.read_columns([ScoreRequest.of_group(group) for group in test]) for member in model.members]
    for number, group in enumerate(test):
        for edge in group.comparisons:
            given = [
                member.probability_of_columns(rows[number][edge.better], rows[number][edge.worse])
                for member, rows in zip(model.members, columns, strict=True)
            ]
            p = min(max(math.fsum(given) / len(given), 1e-9), 1 - 1e-9)
            margins.append(math.log(p / (1 - p)))
            clusters.append(number)
    values = np.array(margins)
    started = time.perf_counter()
    requests = [ScoreRequest.of_group(group) for group in samples]
    rows = model.score_parts(requests, normalized=len(model.members) > 1)
    scoring = time.perf_counter() - started
    gold = GoldScorer().score_requests(requests)
    numbers = calibration_numbers(values)
    curves = {}
    for name, (combine, penalty) in WAYS.items():
        if name != "mean" and math.isnan(rows[0][0].spread):
            continue
        proxy = [[combine_part(part, combine, penalty) for part in row] for row in rows]
        curves[name] = [best_of_n(p, g, SIZES).tolist() for p, g in zip(proxy, gold, strict=True)]
    return {
        "accuracy": float((values > 0).mean()),
        "ece": numbers["ece"],
        "nll": numbers["nll"],
        "aurc": float(selective_risk((values > 0).astype(float), np.abs(values), clusters, Resampling(20)).aurc.value),
        "train_seconds": train_seconds,
        "score_seconds": scoring,
        "curves": curves,
    }


def report(found: list[dict[str, Any]]) -> None:
    """Print both tables as Markdown."""

    def row(name: str, value: Callable[[dict[str, Any]], float]) -> str:
        return show_estimate(bootstrap_amount([value(seed[name]) for seed in found]))

    columns = ("accuracy", "ece", "nll", "aurc", "train_seconds", "score_seconds")
    print("| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name in found[0]:
        print(f"| {name} | " + " | ".join(row(name, lambda part, c=c: part[c]) for c in columns) + " |")  # type: ignore[misc]
    print(
        "\n| | gold at 1 | at 16 | at 64 | highest at | lost from there to 64 | turns at best of |\n|---|" + "---|" * 6
    )
    for name in found[0]:
        for way in found[0][name]["curves"]:
            print(f"| {name}, {way} | " + " | ".join(curve_cells([seed[name]["curves"][way] for seed in found])) + " |")


def curve_cells(curves: list[list[list[float]]]) -> list[str]:
    """Return what is said of one curve: levels and losses over seeds, the turning point over all prompts."""
    seeds_SGN = np.array(curves)
    mean_SN = seeds_SGN.mean(axis=1)
    peak = int(mean_SN.mean(axis=0).argmax())
    levels = [show_estimate(bootstrap_amount(mean_SN[:, n - 1])) for n in (1, 16, 64)]
    lost = show_estimate(bootstrap_amount(mean_SN[:, peak] - mean_SN[:, -1])) if peak < len(SIZES) - 1 else "0"
    flat = seeds_SGN.reshape(-1, len(SIZES))
    fit = fit_turning((SIZES, flat - flat[:, :1]), SIZES, Resampling(200))
    turns = "not by 64" if math.isnan(fit.turning_n) else f"{fit.turning_n:.0f}, KL {show_estimate(fit.turning_kl)}"
    return [*levels, str(SIZES[peak]), lost, turns]


if __name__ == "__main__":
    main()
