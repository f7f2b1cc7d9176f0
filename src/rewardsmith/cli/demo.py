"""`rewardsmith demo`: the whole path on embedded data and a model made on the spot, no network."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from rewardsmith.blocks.text import print_blocks
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.simulate import GoldScorer, demo_groups
from rewardsmith.errors import ConfigError
from rewardsmith.evaluation.verdict import evaluate_held_out
from rewardsmith.files.writing import require_writable
from rewardsmith.models import fresh_model
from rewardsmith.records import PreferenceGroup, ScoreRequest
from rewardsmith.report.training import result_blocks, write_report
from rewardsmith.scoring import RewardModel
from rewardsmith.training import RewardConfig
from rewardsmith.training.data import TrainingData
from rewardsmith.training.launching import quiet_other_packages
from rewardsmith.training.run import train_run

MARKER = ".rewardsmith-demo"
QUESTION = "I have an old {topic} in the attic. How do I look after it?"
ANSWERS = (
    "First, take the {topic} apart and lay the pieces out in order. Then wipe every part of the {topic} with a dry "
    "cloth. This matters because dirt wears the {topic} down.",
    "A {topic} is a thing that many people own and talk about. People in many countries have seen a {topic} at some "
    "time. As we all know, the {topic} comes in several colours and sizes. There is a long history behind the {topic}, "
    "as with so many objects.",
    "Just hit the {topic} with a hammer until it gives in.",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the demo."""
    parser.add_argument("--output_dir", default="demo", help="folder of everything that the demo writes")
    parser.add_argument("--num_prompts", type=int, default=600, help="simulated prompts to train on")
    parser.add_argument("--num_train_epochs", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)


def run(arguments: argparse.Namespace) -> int:
    """Simulate, train, evaluate, score. Returns 0."""
    # Nothing here is on the hub; a machine without network must not wait for it.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    quiet_other_packages()
    started = time.perf_counter()
    if arguments.num_prompts < 20:
        raise ConfigError(f"--num_prompts must be at least 20, not {arguments.num_prompts}")
    if not arguments.num_train_epochs > 0:
        raise ConfigError(f"--num_train_epochs must be above 0, not {arguments.num_train_epochs:g}")
    if not 0 <= arguments.seed < 2**32:
        raise ConfigError(f"--seed must lie in [0, 2**32), not {arguments.seed}")
    require_writable(Path(arguments.output_dir))
    folder = _fresh_folder(Path(arguments.output_dir))
    # Products of 64 columns gain nothing from a second thread and lose much on a busy machine.
    torch.set_num_threads(1)
    train, held_out = demo_groups(arguments.num_prompts, max(20, arguments.num_prompts // 4), arguments.seed)
    _write(folder / "train.jsonl", train)
    _write(folder / "held_out.jsonl", held_out)
    _say(f"1  data: {_describe(train)} to train on, {_describe(held_out)} held out; annotators are noisy")
    data = TrainingData(train, held_out, ["simulated; gold reward known"])
    tokenizer = fresh_model.train_tokenizer(fresh_model.texts_of(data.first_groups()), 600)
    model = fresh_model.build_model("tiny", tokenizer, arguments.seed)
    size = sum(p.numel() for p in model.parameters())
    _say(f"2  model: a decoder with {size:,} random weights, a tokenizer of {len(tokenizer)} entries trained just now")
    _say("3  training, every distinct token once")
    config = _config(folder / "model", arguments)
    parts = {"model": model, "processing_class": tokenizer}
    summary = train_run(parts, config, data, ("a decoder made on the spot", "simulated"), {"from_config": "tiny"})
    write_report(summary)
    print_blocks(result_blocks(summary))
    ceiling = evaluate_held_out(
        held_out, GoldScorer().score_requests(list(map(ScoreRequest.of_group, held_out)))
    ).accuracy
    print(f"gold ceiling: the gold reward itself agrees with {ceiling.value:.3f} of the noisy held-out judgements")
    _score(folder / "model")
    _say(f"\ndone in {time.perf_counter() - started:.0f} s")
    _print_next(folder)
    return 0


def _config(folder: Path, arguments: argparse.Namespace) -> RewardConfig:
    return RewardConfig(
        output_dir=str(folder),
        tokens_per_batch=4096,
        merge_prompts=True,
        num_train_epochs=arguments.num_train_epochs,
        learning_rate=4e-3,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        max_length=None,
        gradient_checkpointing=False,
        logging_steps=5,
        logging_first_step=True,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        disable_tqdm=False,
        seed=arguments.seed,
    )


def _fresh_folder(folder: Path) -> Path:
    """Make the folder anew. A folder that no demo made is left alone."""
    if folder.exists():
        if not (folder / MARKER).is_file() and any(folder.iterdir()):
            raise ConfigError(f"{folder} exists and no demo made it; choose another folder with --output_dir")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).write_text("written by rewardsmith demo; a new demo replaces this folder\n")
    return folder


def _write(path: Path, groups: Sequence[PreferenceGroup]) -> None:
    with open_groups(path) as write:
        for group in groups:
            write(group)


def _describe(groups: Sequence[PreferenceGroup]) -> str:
    comparisons = sum(len(group.comparisons) for group in groups)
    ties = sum(group.num_ties for group in groups)
    return f"{len(groups)} prompts with 2-6 answers and {comparisons} comparisons ({ties} ties)"


def _score(folder: Path) -> None:
    """Load the saved model as a user would, and score three answers."""
    model = RewardModel.from_pretrained(str(folder))
    topic = "garden hose"
    answers = [answer.format(topic=topic) for answer in ANSWERS]
    print(f"\nthree answers to {QUESTION.format(topic=topic).strip()!r}, scored by the saved model:")
    for reward, answer in sorted(
        zip(model.score(QUESTION.format(topic=topic), answers), answers, strict=True), reverse=True
    ):
        print(f"  {reward:+7.3f}  {answer[:90]}{'...' if len(answer) > 90 else ''}")


def _print_next(folder: Path) -> None:
    print(f"data      {folder}/train.jsonl, {folder}/held_out.jsonl")
    print(f"model     {folder}/model  (README.md, run.json, training_curves.png, scoring_contract.json)")
    print("next      rewardsmith train from_scratch --dataset_name YOUR_DATA.jsonl")
    print(f"          rewardsmith evaluate {folder}/model {folder}/held_out.jsonl")
    print(f"          rewardsmith serve {folder}/model")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
