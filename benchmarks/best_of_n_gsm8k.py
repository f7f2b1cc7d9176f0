"""Does the best of four solutions by a reward model solve more of GSM8K than one drawn at random?

    python benchmarks/best_of_n_gsm8k.py DATA [--folds 5] [--epochs 3] [--source tiny]

DATA is OpenAI's example_model_solutions.jsonl: four solutions a question, each marked right or wrong. A reward model
with random weights learns from all questions but those of one fold and chooses there, for each fold in turn, so every
question is chosen by a model that never saw it. Intervals are over questions.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from rewardsmith import RewardModel
from rewardsmith.blocks.words import show_estimate
from rewardsmith.data.loading import load_preferences
from rewardsmith.models.fresh_model import build_model, texts_of, train_tokenizer
from rewardsmith.records import PreferenceGroup, ScoreRequest
from rewardsmith.stats.best_of_n import best_of_n
from rewardsmith.stats.intervals import bootstrap_mean, clustered_share
from rewardsmith.training import RewardConfig
from rewardsmith.training.data import TrainingData
from rewardsmith.training.launching import quiet_other_packages
from rewardsmith.training.run import train_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--source", default="tiny")
    parser.add_argument("--learning_rate", type=float, default=3e-3)
    args = parser.parse_args()
    quiet_other_packages()
    torch.set_num_threads(1)
    groups = list(load_preferences(args.data, reader="gsm8k-solutions"))
    print(f"{len(groups)} questions, {sum(len(group.completions) == 4 for group in groups)} with four solutions")
    values: dict[int, list[float]] = {n: [] for n in (1, 2, 3, 4)}
    agreement: list[float] = []
    questions: list[int] = []
    for part in range(args.folds):
        others = groups[part :: args.folds]
        learned = [group for place, group in enumerate(groups) if place % args.folds != part]
        model = _train(args, learned, others, part)
        for group, rewards in zip(others, model.score_requests(list(map(ScoreRequest.of_group, others))), strict=True):
            right = group.ratings["correct"]
            if len(right) == 4:
                for n, value in zip(values, best_of_n(rewards, right, tuple(values)), strict=True):
                    values[n].append(float(value))
            for edge in group.comparisons:
                agreement.append(float(rewards[edge.better] > rewards[edge.worse]))
                questions.append(id(group))
    print(f"right before wrong: {show_estimate(clustered_share(agreement, questions))} of pairs")
    for n, shares in values.items():
        print(f"best of {n}: {show_estimate(bootstrap_mean(shares))} right")
    gains = [best - drawn for best, drawn in zip(values[4], values[1], strict=True)]
    print(f"best of 4 less best of 1: {show_estimate(bootstrap_mean(gains), signed=True)}")


def _train(
    args: argparse.Namespace, learned: list[PreferenceGroup], others: list[PreferenceGroup], part: int
) -> RewardModel:
    tokenizer = train_tokenizer(texts_of(learned), 2000)
    with tempfile.TemporaryDirectory() as folder:
        config = RewardConfig(
            output_dir=folder, tokens_per_batch=4096, merge_prompts=True, num_train_epochs=args.epochs,
            learning_rate=args.learning_rate, lr_scheduler_type="cosine", warmup_steps=0.05, max_length=None,
            gradient_checkpointing=False, save_strategy="no", report_to="none", disable_tqdm=True, seed=part,
            use_cpu=True, verify_saved_model=False,
        )  # fmt: skip
        parts = {"model": build_model(args.source, tokenizer, part), "processing_class": tokenizer}
        train_run(parts, config, TrainingData(learned, [], []), (args.source, "gsm8k"), {})
        return RewardModel.from_pretrained(str(Path(folder)))


if __name__ == "__main__":
    main()
