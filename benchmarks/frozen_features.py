"""Train a head over cached features of a frozen backbone, and in the usual way, on simulated judgements.

    python benchmarks/frozen_features.py --comparisons 100000

A tiny backbone is trained first, on prompts of its own, so that its features say something. Then the same head is
trained three times on `--comparisons` judgements: fitted over features (with a sweep of penalties), in the usual steps
over features, and in the usual steps through the frozen backbone. All are measured on the same held-out prompts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from rewardsmith import RewardConfig, RewardTrainer
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate
from rewardsmith.evaluation.judged import ScoredGroup, accuracy_observations
from rewardsmith.models import fresh_model
from rewardsmith.models.heads import find_head, initialise_head
from rewardsmith.models.shared_prefix.plan import compute_rewards
from rewardsmith.records import PreferenceGroup
from rewardsmith.stats.intervals import Resampling, paired_difference

PAIRS_PER_PROMPT = 5


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=100_000)
    parser.add_argument("--held-out", type=int, default=1500, help="prompts")
    parser.add_argument("--backbone", type=int, default=1500, help="prompts that the backbone is trained on")
    parser.add_argument("--shape", default="tiny", choices=fresh_model.SHAPES)
    parser.add_argument("--epochs", type=float, default=1.0, help="of the usual steps")
    arguments = parser.parse_args()
    count = arguments.comparisons // PAIRS_PER_PROMPT
    groups = simulated(arguments.backbone + arguments.held_out + count)
    before, held_out, train = (
        groups[: arguments.backbone],
        groups[arguments.backbone : arguments.backbone + arguments.held_out],
        groups[arguments.backbone + arguments.held_out :],
    )
    tokenizer = fresh_model.train_tokenizer(fresh_model.texts_of(before), 2000)
    model = fresh_model.build_model(arguments.shape, tokenizer, 0)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        RewardTrainer(model, settings(base, 1.0), train_dataset=before, processing_class=tokenizer).train()
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
        found = {}
        ways = {
            "fit over features": {"freeze_backbone": True},
            "steps over features": {"freeze_backbone": True, "head_solver": "steps"},
            "steps through the backbone": {},
        }
        for name, options in ways.items():
            found[name] = run(base, Path(folder), arguments.epochs, train, held_out, options)
    report(found, sum(len(group.comparisons) for group in train))


def simulated(prompts: int) -> list[PreferenceGroup]:
    """Return prompts with four short answers each and five of their pairs judged by a noisy annotator."""
    annotators = AnnotatorConfig(temperature=0.7)
    config = SimulationConfig(
        prompts=prompts, answers=(4, 4), sentences=(1, 4), pairs=PAIRS_PER_PROMPT, annotators=annotators
    )
    return list(simulate(config))


def settings(folder: Path, epochs: float, **changes: object) -> RewardConfig:
    """Return the settings of every run."""
    fixed = {"learning_rate": 3e-3, "tokens_per_batch": 8192, "logging_steps": 50, "report_to": "none"}
    return RewardConfig(
        str(folder), num_train_epochs=epochs, save_strategy="no", disable_tqdm=True, seed=0, **{**fixed, **changes}
    )


def run(
    base: Path,
    folder: Path,
    epochs: float,
    train: list[PreferenceGroup],
    held_out: list[PreferenceGroup],
    options: dict,
) -> dict:
    """Train one head; returns seconds and the held-out groups with their rewards."""
    config = settings(folder / "run", epochs, feature_cache=str(folder / "cache") if options else None, **options)
    trainer = RewardTrainer(str(base), config, train_dataset=train)
    torch.manual_seed(0)
    initialise_head(find_head(trainer.model), "normal")
    if not options:
        trainer.model.requires_grad_(False)
        find_head(trainer.model).requires_grad_(True)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    found = {"seconds": seconds, "head_seconds": seconds}
    if trainer.frozen is not None:
        found["head_seconds"] = seconds - trainer.frozen.features.seconds
        found["sequences"] = len(trainer.frozen.features.table_UD)
        found["reused"] = trainer.frozen.features.reused
        found["tried"] = [(one.l2, one.accuracy, one.seconds) for one in trainer.frozen.tried]
    ids = [[trainer.encoder.renderer.encode(g.prompt, c) for c in g.completions] for g in held_out]
    rewards = compute_rewards(trainer.model, ids, plan=trainer.plan)
    found["scored"] = [ScoredGroup(group, tuple(row)) for group, row in zip(held_out, rewards, strict=True)]
    return found


def report(found: dict[str, dict], comparisons: int) -> None:
    """Print a line a way, and how far apart their accuracies are."""
    how = Resampling()
    print(f"{comparisons:,} comparisons, torch {torch.__version__}, {torch.get_num_threads()} threads")
    seen = {name: accuracy_observations(one["scored"]) for name, one in found.items()}
    for name, one in found.items():
        features = f", {one['sequences']:,} sequences, {one['reused']:,} reused" if "sequences" in one else ""
        print(
            f"{name}: {one['seconds']:.1f} s in all, head {one['head_seconds']:.1f} s{features}; "
            f"held-out accuracy {seen[name].estimate(how)}"
        )
        for l2, accuracy, seconds in one.get("tried", []):
            print(f"    l2={l2:g}: left-out accuracy {accuracy:.4f} in {seconds:.1f} s")
    usual = seen["steps through the backbone"]
    for name in list(found)[:2]:
        print(f"{name} minus steps through the backbone: {paired_difference(seen[name], usual, how)}")


if __name__ == "__main__":
    main()
