"""Train a head over cached features of a frozen backbone, and in the usual way, on simulated judgements.

    python benchmarks/frozen_features.py --comparisons 100000
    python benchmarks/frozen_features.py --synthetic 1000000 --width 256

A tiny backbone is trained first, on prompts of its own, so that its features say something. Then the same head is
trained three times on `--comparisons` judgements: fitted over features (with a sweep of penalties), in the usual steps
over features, and in the usual steps through the frozen backbone. All are measured on the same held-out prompts.

`--synthetic` draws the features instead of computing them, and the judgements from a head that is known: what is
measured is everything after the backbone, reading the cache and choosing among four penalties included.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, Qwen2Config

from rewardsmith import RewardConfig, RewardTrainer
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate
from rewardsmith.evaluation.judged import ScoredGroup, accuracy_observations
from rewardsmith.models import fresh_model
from rewardsmith.models.heads import find_head, initialise_head
from rewardsmith.models.shared_prefix.plan import compute_rewards
from rewardsmith.records import PreferenceGroup
from rewardsmith.stats.intervals import Resampling, paired_difference
from rewardsmith.training import frozen
from rewardsmith.training.frozen import ROWS_PER_FILE, FeatureStore

PAIRS_PER_PROMPT = 5


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=100_000)
    parser.add_argument("--held-out", type=int, default=1500, help="prompts")
    parser.add_argument("--backbone", type=int, default=1500, help="prompts that the backbone is trained on")
    parser.add_argument("--shape", default="tiny", choices=fresh_model.SHAPES)
    parser.add_argument("--epochs", type=float, default=1.0, help="of the usual steps")
    parser.add_argument("--synthetic", type=int, help="comparisons over features that are drawn")
    parser.add_argument("--width", type=int, default=256, help="of these features")
    arguments = parser.parse_args()
    if arguments.synthetic:
        train_on_drawn_features(arguments.synthetic, arguments.width)
        return
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


def train_on_drawn_features(count: int, width: int) -> None:
    """Train a head on `count` pairs whose features are drawn, and print seconds, peak memory and accuracy."""
    generator = torch.Generator().manual_seed(0)
    planted_D = torch.randn(width, generator=generator) / width**0.5
    differences_P = torch.cat([(planted_D @ (part[::2] - part[1::2]).T) for part in drawn(2 * count, width)])
    first_is_better_P = torch.rand(count, generator=generator) < torch.sigmoid(differences_P)
    best = float(((differences_P > 0) == first_is_better_P).float().mean())
    tokenizer = fresh_model.train_tokenizer(["a b c", "d e f"], 300)
    shape = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=4, num_labels=1, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_config(shape)
    rows = encoded_pairs((~first_is_better_P).int())
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "cache")
        options = {"freeze_backbone": True, "feature_cache": cache, "tokens_per_batch": 8192}
        config = settings(Path(folder) / "run", 1.0, **options)
        trainer = RewardTrainer(model, config, train_dataset=rows, processing_class=tokenizer)
        # The cache is filled as by the backbone, in the order of the rows.
        computed = ([list(part)] for part in drawn(2 * count, width))
        with mock.patch.object(frozen, "compute_features", side_effect=computed):
            FeatureStore(trainer.model, trainer.plan, cache, trainer.accelerator).gather(rows["ids"])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, worked = time.perf_counter(), time.process_time()
        trainer.train()
        seconds, worked = time.perf_counter() - started, time.process_time() - worked
    run = trainer.frozen
    assert run is not None
    assert run.features.reused == 2 * count
    fitted_D = find_head(trainer.model).weight.detach()[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cosine = float(torch.nn.functional.cosine_similarity(fitted_D, planted_D, dim=0))
    print(
        f"{count:,} comparisons, {2 * count:,} sequences of width {width}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads: {seconds:.1f} s ({worked:.1f} s of processor time), of which reading the "
        f"features {run.features.seconds:.1f} s; "
        f"peak {peak / 2**20:.1f} GiB resident ({before / 2**20:.1f} before)"
    )
    for one in run.tried:
        print(f"    l2={one.l2:g}: left-out accuracy {one.accuracy:.4f} in {one.seconds:.1f} s")
    print(f"the head that judged agrees with {best:.4f} of its judgements; cosine with the fitted head {cosine:.5f}")


def drawn(count: int, width: int) -> Iterator[torch.Tensor]:
    """Yield features of `count` sequences, a file's worth at a time, the same at every call. Shapes: -> [U, D]."""
    for number in range(0, count, ROWS_PER_FILE):
        size = min(ROWS_PER_FILE, count - number)
        yield torch.randn(size, width, generator=torch.Generator().manual_seed(1 + number))


def encoded_pairs(better_P: torch.Tensor) -> Dataset:
    """Return encoded pairs of sequences of four tokens, no two of them alike."""
    count = len(better_P)
    ids = 1 + (np.arange(2 * count)[:, None] >> np.array([18, 12, 6, 0])) % 64

    def lists(values: pa.Array | np.ndarray, size: int) -> pa.Array:
        return pa.ListArray.from_arrays(np.arange(0, len(values) + 1, size, dtype=np.int32), pa.array(values))

    sequences = lists(ids.reshape(-1).astype(np.int32), 4)
    columns = {
        "ids": lists(sequences, 2),
        "better": lists(better_P.numpy(), 1),
        "worse": lists(1 - better_P.numpy(), 1),
    }
    columns["is_tie"] = lists(np.zeros(count, dtype=bool), 1)
    values = {"margin": 0.0, "weight": 1.0, "probability": 1.0, "tie_share": 0.0}
    columns |= {name: lists(np.full(count, value, dtype=np.float32), 1) for name, value in values.items()}
    return Dataset(pa.table(columns))


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
