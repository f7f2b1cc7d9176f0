"""What does preference pre-training buy where fine-tuning data are few? With and without the stage, over seeds.

    python benchmarks/pretraining.py OUT [--seeds 0 1 2 3 4] [--only simulator|real]

A tiny decoder from random weights first learns the texts of the large set as a language model. One copy is fine-tuned
on 10% of the small set; the other learns the large set's preferences before, with the language-model loss beside.
simulator: the large set has noise, lapses and a bias towards length, the small one little noise; measured against gold.
real: RMB (judged by models) before HH helpful-base (judged by people), $REWARDSMITH_DATA holds both.
Results stand in OUT/NAME-SEED.json; one that is there is read, not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from comparison_data import Pair, sample_pairs
from transformers import AutoTokenizer

from rewardsmith import RewardConfig, train
from rewardsmith.blocks.words import show_estimate
from rewardsmith.data.loading import load_preferences
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate
from rewardsmith.records import PreferenceGroup
from rewardsmith.stats.intervals import bootstrap_amount
from rewardsmith.training.adapter import ModelConfig
from rewardsmith.training.language import train_language
from rewardsmith.training.record import RunSummary

SHARE = 0.1
LONGEST = 1000  # characters of a real pair's prompt and longer answer
COMMON = {
    "learning_rate": 2e-3,
    "max_length": 512,
    "overflow": "truncate_prompt",
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
}
PREFERENCES = {"tokens_per_batch": 1536, "merge_prompts": True, "verify_saved_model": False, "test_split_size": 0.0}


@dataclass(frozen=True)
class Sets:
    """A large noisy set, the share of a small good one that is trained on, and what is measured on."""

    large: Sequence[PreferenceGroup]
    small: Sequence[PreferenceGroup]
    test: Sequence[PreferenceGroup]


def simulated(seed: int) -> Sets:
    noisy = AnnotatorConfig(temperature=1.5, lapse=0.1, length_bias=0.5)
    shape = {"answers": (2, 2), "sentences": (1, 4)}
    large = simulate(SimulationConfig(prompts=1000, seed=100 + seed, annotators=noisy, **shape))
    small = simulate(SimulationConfig(prompts=int(1000 * SHARE), seed=200 + seed, **shape))
    gold = AnnotatorConfig(temperature=0.0)
    test = simulate(SimulationConfig(prompts=400, seed=300 + seed, annotators=gold, **shape))
    return Sets(list(large), list(small), list(test))


def real(seed: int) -> Sets:
    large = sample_pairs("rmb", 1500, fits, seed)
    small = sample_pairs("hh", 2000, fits, seed)
    cut = len(small) * 2 // 3
    few, test = small[: int(cut * SHARE)], small[cut:]
    prompts = {pair["prompt"] for pair in few}
    return Sets(groups(large), groups(few), groups([pair for pair in test if pair["prompt"] not in prompts]))


def fits(pair: Pair) -> bool:
    return len(pair["prompt"]) + max(len(pair["chosen"]), len(pair["rejected"])) <= LONGEST


def groups(pairs: Sequence[Pair]) -> list[PreferenceGroup]:
    return list(load_preferences(list(pairs), merge_prompts=True))


def accuracies(sets: Sets, folder: Path, seed: int) -> dict[str, float]:
    """Return the accuracy on the test set after fine-tuning, by way."""
    language = RewardConfig(
        str(folder / "language"), seed=seed, num_train_epochs=1, per_device_train_batch_size=32, **COMMON
    )
    train_language(ModelConfig(from_config="tiny", tokenizer_vocab_size=1500), language, sets.large)
    found = {}
    for way in ("without", "with"):
        start = folder / "language"
        if way == "with":
            start = folder / "preference"
            run(folder / "language", sets.large, None, start, seed=seed, num_train_epochs=1, lm_loss_coefficient=1.0)
        fitted = run(start, sets.small, sets.test, folder / f"{way}-stage", seed=seed, num_train_epochs=4)
        found[way] = fitted.held_out.accuracy.value
    # What the large set alone gives, without a row of the small one.
    none = run(folder / "preference", sets.small, sets.test, folder / "none", seed=seed, max_steps=1, learning_rate=0.0)
    return {**found, "no fine-tuning": none.held_out.accuracy.value}


def run(
    start: Path,
    data: Sequence[PreferenceGroup],
    held_out: Sequence[PreferenceGroup] | None,
    folder: Path,
    **changes: Any,
) -> RunSummary:
    options = {**COMMON, **PREFERENCES, "overwrite_output_dir": True, **changes}
    tokenizer = AutoTokenizer.from_pretrained(start)
    return train(str(start), list(data), folder, held_out=held_out, processing_class=tokenizer, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", choices=["simulator", "real"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, make in (("simulator", simulated), ("real", real)):
        if args.only not in (None, name):
            continue
        rows: list[dict[str, float]] = []
        for seed in args.seeds:
            path = args.out / f"{name}-{seed}.json"
            if not path.exists():
                sets, began = make(seed), time.process_time()
                found = accuracies(sets, args.out / f"{name}-{seed}", seed)
                print(f"{name}, seed {seed}: {len(sets.large)} + {len(sets.small)} prompts, {len(sets.test)} to test; "
                      f"{found}, {time.process_time() - began:.0f} s of processor time", flush=True)  # fmt: skip
                path.write_text(json.dumps(found))
            rows.append(json.loads(path.read_text()))
        for way in rows[0]:
            print(f"{name}, {way}: {show_estimate(bootstrap_amount([row[way] for row in rows]))}")
        gains = [row["with"] - row["without"] for row in rows]
        print(f"{name}, gain: {show_estimate(bootstrap_amount(gains))}", flush=True)


if __name__ == "__main__":
    main()
