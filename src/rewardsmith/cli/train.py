"""`rewardsmith train`: the flags and YAML of `trl reward`, plus ours."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from transformers import HfArgumentParser
from transformers.trainer_utils import IntervalStrategy

from rewardsmith.cli.main import group_flags
from rewardsmith.errors import UsageError
from rewardsmith.files.writing import require_writable
from rewardsmith.report.training import print_result, write_report
from rewardsmith.training.adapter import ModelConfig, require_extras
from rewardsmith.training.checkpoints import asked_checkpoint, require_unused
from rewardsmith.training.config import RewardConfig, read_config
from rewardsmith.training.data import DatasetMixtureConfig, ScriptArguments, load_training_data, require_stream_settings
from rewardsmith.training.hub import push_run
from rewardsmith.training.language import train_language
from rewardsmith.training.launching import launch, one_clear_line, quiet_other_packages, rank
from rewardsmith.training.model import named_model
from rewardsmith.training.recipes import CONFIGS, explicit_flags, stages_of
from rewardsmith.training.run import train_one_or_several

REST = "all other settings of transformers"
# Headings of --help: flags of these fields stand together, those of transformers come last.
GROUPS = {
    "data": "dataset eval_dataset reader train_limit eval_limit datasets streaming test_split",
    "model": "model_ dtype attn_ from_config tokenizer_ trust_remote pooling head freeze_ feature_ ensemble bootstrap_",
    "adapter and quantisation": "use_peft lora_ use_rslora use_dora load_in_ bnb_ use_bnb",
    "objective": "loss_type ties label_smoothing center_ l2_rewards lm_loss ranking_top sweep_ attribute rating_ step_ "
    "neutral_ train_on_last max_completion max_prompt",
    "text and batches": "max_length overflow merge_prompts tokens_per_batch share_prefix eos_token pad_ chat_template "
    "per_device_ gradient_acc dataset_num_proc",
    "training": "learning_rate num_train max_steps lr_ warmup optim weight_decay seed bf16 fp16 gradient_check "
    "activation_ disable_dropout max_grad adam_ compile torch_compile",
    "output": "output_dir overwrite_output resume_ save_ eval_s logging_ report_to run_name verify_saved "
    "push_to_hub hub_",
}


class TrainParser(HfArgumentParser):
    """The parser of the four configurations; complaints are errors."""

    def error(self, message: str) -> NoReturn:
        """Raise `message`."""
        raise UsageError(f"{message}; see {self.prog} --help")


def make_parser(prog: str, description: str) -> TrainParser:
    """Build the parser with every flag."""
    parser = TrainParser(list(CONFIGS), prog=prog, description=description, allow_abbrev=False)
    parser.usage = f"{prog} [RECIPE] [flags]"
    parser.add_argument("recipe", nargs="?", help="a recipe: a YAML file, or the name of one in recipes/")
    parser.add_argument("--config", help="YAML with any of these flags; flags on the command line win")
    parser.add_argument("--nproc", type=int, help="train in so many processes on this machine")
    # Rows of a prompt make one group unless told otherwise, and the folder is named after the model.
    parser.set_defaults(merge_prompts=True, output_dir=None, logging_first_step=True, disable_tqdm=False)
    for action in parser._actions:
        if action.dest == "learning_rate":
            action.type = _rate
        elif action.nargs is None and getattr(action.type, "__name__", "") == "string_to_bool":
            action.nargs, action.const = "?", True
    group_flags(parser, GROUPS, REST)
    return parser


def _rate(text: str) -> float | str:
    return "auto" if text == "auto" else float(text)


def configure(parser: argparse.ArgumentParser) -> None:
    """Keep the parser as `make_parser` built it; the configurations are its flags."""


def run(arguments: argparse.Namespace) -> int:
    """Train, evaluate, save and report, in several processes where asked. Returns 0."""
    if arguments.nproc is not None and "RANK" not in os.environ:
        return launch(arguments.nproc, ["train", *arguments.given])
    with one_clear_line():
        for flags in stages_of(make_parser("rewardsmith train", ""), arguments):
            _train(flags)
    return 0


def _train(arguments: argparse.Namespace) -> None:
    quiet_other_packages()
    script, config, model, mixture = build_configs(arguments)
    require_writable(Path(str(config.output_dir)))
    if asked_checkpoint(config.resume_from_checkpoint) is None and not rank():
        require_unused(Path(str(config.output_dir)), script.overwrite_output_dir)
    require_extras(model, config)
    data = load_training_data(script, mixture, config.merges_rows)
    for note in () if rank() else data.notes:
        print(note, file=sys.stderr)
    if not data.held_out and arguments.recipe and "eval_strategy" not in explicit_flags(arguments.given):
        # A recipe asks for it on any data; the note above says that nothing is held out.
        config.eval_strategy = IntervalStrategy.NO
    if arguments.stage:
        train_language(model, config, data.first_groups())
        return
    name = script.dataset_name or ", ".join(str(entry) for entry in mixture.datasets or [])
    model_name = model.model_name_or_path or f"random weights ({model.from_config})"
    first = data.first_groups
    names = (model_name, name)
    summary = train_one_or_several(lambda own: named_model(model, own, first), config, data, names, vars(model))
    if not rank():
        write_report(summary)
        print_result(summary)
        push_run(summary.folder, config)


def build_configs(
    arguments: argparse.Namespace,
) -> tuple[ScriptArguments, RewardConfig, ModelConfig, DatasetMixtureConfig]:
    """Build the four configurations. Raises ConfigError for values that they refuse."""
    values = split_configs(arguments)
    model = ModelConfig(**values[ModelConfig])
    if values[RewardConfig]["output_dir"] is None:
        source = model.model_name_or_path or model.from_config or "model"
        values[RewardConfig]["output_dir"] = f"{Path(source).name}-Reward"
    config = read_config(**values[RewardConfig])
    script = ScriptArguments(**values[ScriptArguments])
    mixture = DatasetMixtureConfig(**values[DatasetMixtureConfig])
    require_stream_settings(config, mixture.streaming or script.dataset_streaming)
    return script, config, model, mixture


def split_configs(arguments: argparse.Namespace) -> dict[type, dict[str, Any]]:
    """Return the values of each configuration class."""
    values = vars(arguments)
    return {config: {f.name: values[f.name] for f in fields(config) if f.init} for config in CONFIGS}
