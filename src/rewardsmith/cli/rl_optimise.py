"""`rewardsmith rl grpo|rloo|ppo|raft`: optimise a policy against a reward, measured before, on the way and after."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from rewardsmith.cli.main import group_flags
from rewardsmith.cli.options import SCORER_HELP
from rewardsmith.cli.train import REST, TrainParser
from rewardsmith.errors import ConfigError
from rewardsmith.files.settings import option
from rewardsmith.files.writing import require_writable
from rewardsmith.training.adapter import ModelConfig
from rewardsmith.training.checkpoints import asked_checkpoint, require_unused
from rewardsmith.training.launching import quiet_other_packages
from rewardsmith.training.recipes import resolve

GROUPS = {
    "policy, prompts and rewards": "model_name model_revision dataset_name split train_limit reward_ gold trust_remote",
    "what is measured": "num_eval eval_answers num_measure guard",
    "what is done to rewards": "combine penalty length_penalty normalized uncertainty clip wait_seconds",
    "how reward models run": "device batch_tokens truncate_prompt special_tokens compile chat_template",
    "adapter": "use_peft lora_ use_rslora use_dora",
    "sampling": "num_generations max_completion response_length temperature top_ min_p stop_token num_rounds "
    "prompts_per",
    "objective": "beta kl_ cliprange epsilon num_ppo num_mini num_iterations loss_type scale_rewards vf_coef gamma lam "
    "whiten missing_eos",
    "training": "learning_rate num_train max_steps total_episodes per_device gradient_acc lr_ warmup seed bf16 fp16 "
    "gradient_check max_grad optim weight_decay use_cpu",
    "output": "output_dir overwrite_output resume save_ logging_ report_to run_name",
}
# Of ModelConfig what says nothing to a policy: it is loaded as it is.
UNREAD = (
    *("attn_implementation", "load_in_8bit", "load_in_4bit"),
    *("from_config", "tokenizer_name_or_path", "tokenizer_vocab_size"),
)


@dataclass
class RunArguments:
    """The policy, its prompts and its rewards; names are TRL's where TRL has them."""

    model_name_or_path: str | None = option(None, "Policy: folder or hub id of a language model.")
    dataset_name: str | None = option(None, "Rows with a column prompt, preference data, or simulator:N[,SEED].")
    split: str | None = option(None, "Split of a data set that holds several.")
    train_limit: int | None = option(None, "Read at most so many prompts.")
    reward_model_name_or_path: list[str] | None = option(None, f"One or more: {SCORER_HELP}.")
    reward_weights: list[float] | None = option(None, "One a reward.")
    gold: str | None = option(None, "A second reward that nothing is optimised by, named like the first.")
    num_eval_prompts: int = option(64, "Prompts held out to measure on.")
    eval_answers: int = option(1, "Answers to each held-out prompt at every point.")
    num_measurements: int = option(10, "Points of the curve after the start.")
    guard: str = option("report", "What signs of reward hacking do: report, warn, stop or off.")
    guard_clean_runs: list[str] | None = option(None, "Folders of finished clean runs, which set its thresholds.")
    combine: str | None = option(None, "How an ensemble becomes one reward; by default its mean.")
    penalty: float = option(1.0, "What mean_minus_std and _variance multiply with, beta of soft_min.")
    length_penalty: str | None = option(None, "JSON of an audit, whose excess weight of length is taken off.")
    normalized: bool = option(False, "Divide by the standard deviation of the reward model's contract, less its mean.")
    uncertainty: float | None = option(None, "Spread of an ensemble at which an answer counts half.")
    device: str | None = option(None, "Of the reward models: cpu, cuda:1; by default the policy's.")
    batch_tokens: int | None = option(None, "Distinct tokens of one forward of a reward model.")
    truncate_prompt: bool = option(False, "Cut the start of a prompt that is too long for a reward model.")
    special_tokens: str = option("allow", "Control tokens inside texts: allow, as_text or refuse.")
    compile: str = option("off", "Compile the layers of the reward models.", choices=["auto", "on", "off"])
    chat_template: str | None = option(None, "Of a reward model that holds none: plain, chatml or a Jinja file.")
    clip: float | None = option(None, "Rewards beyond plus or minus this are cut.")
    wait_seconds: float = option(600.0, "How long a reward server that does not answer is waited for.")
    trust_remote_code: bool = option(False, "Run Python code that a model brings.")
    overwrite_output_dir: bool = option(False, "Replace the run that output_dir holds.")


def make_parser(prog: str, description: str) -> TrainParser:
    """Build the parser of the algorithm that `prog` ends in."""
    from rewardsmith.rl.running import config_class

    algorithm = prog.rsplit(" ", 1)[-1]
    # A field of two classes is one flag, and both get its value.
    classes: tuple[Any, ...] = (RunArguments, ModelConfig, config_class(algorithm))
    parser = TrainParser(
        list(classes),
        prog=prog,
        description=description,
        allow_abbrev=False,
        conflict_handler="resolve",
    )
    parser.usage = f"{prog} [RECIPE] [flags]"
    parser.epilog = None
    parser.add_argument("recipe", nargs="?", help="a recipe: a YAML file, or the name of one in recipes/")
    parser.add_argument("--config", help="YAML with any of these flags; flags on the command line win")
    parser.add_argument("--resume", action="store_true", help="go on with the run that output_dir holds")
    has_gpu = torch.cuda.is_available()
    parser.set_defaults(algorithm=algorithm, output_dir=None, report_to="none", use_cpu=not has_gpu, logging_steps=1)
    parser.set_defaults(bf16=has_gpu, disable_tqdm=False)
    group_flags(parser, GROUPS, REST)
    return parser


def configure(parser: argparse.ArgumentParser) -> None:
    """Keep the parser as `make_parser` built it; the configurations are its flags."""


def run(arguments: argparse.Namespace) -> int:
    """Optimise, save, write the report and print what it bought. Returns 0."""
    from rewardsmith.blocks.text import print_blocks
    from rewardsmith.report.optimising import REPORT, run_blocks, write_run_report
    from rewardsmith.rl.running import optimise

    algorithm = arguments.algorithm
    parser = make_parser(f"rewardsmith rl {algorithm}", "")
    if arguments.config or arguments.recipe:
        arguments = resolve(parser, arguments, arguments.given)
    quiet_other_packages()
    result = optimise(_plan(arguments))
    write_run_report(result)
    print_blocks(run_blocks(result))
    print(f"\npolicy, samples.jsonl, curve.jsonl, run.json: {result.folder}")
    print(f"report with plots: {result.folder / REPORT}")
    if result.not_pushed is not None:
        raise result.not_pushed
    return 0


def _plan(arguments: argparse.Namespace) -> Any:
    """Open everything that the flags name. Raises ConfigError where something is missing."""
    from rewardsmith.rl.columns import load_columns
    from rewardsmith.rl.policy import load_prompts, open_policy
    from rewardsmith.rl.rewards import open_gold, reward_function
    from rewardsmith.rl.running import RunPlan
    from rewardsmith.scoring.opening import ModelOptions
    from rewardsmith.training.adapter import peft_config

    script = _part(arguments, RunArguments)
    for name in ("model_name_or_path", "reward_model_name_or_path", "dataset_name"):
        if not getattr(script, name):
            raise ConfigError(f"--{name} is missing; give it as a flag or in the recipe")
    if script.num_eval_prompts < 2:
        raise ConfigError(f"num_eval_prompts must be 2 or more, not {script.num_eval_prompts}")
    config = _config(arguments, script)
    prompts = load_prompts(script.dataset_name, limit=script.train_limit, split=script.split)
    held_out = min(script.num_eval_prompts, len(prompts) // 4)
    remote = script.trust_remote_code
    device = "cpu" if config.use_cpu and torch.cuda.is_available() else None
    models = ModelOptions(
        device=script.device or device,
        tokens_per_batch=script.batch_tokens,
        truncate_prompt=script.truncate_prompt,
        special_tokens=script.special_tokens,
        compile=script.compile,
        chat_template=script.chat_template,
        trust_remote_code=remote,
    )
    sources = script.reward_model_name_or_path
    reward = reward_function(sources, weights=script.reward_weights, options=_options(script), model=models)
    columns = load_columns(script.dataset_name, script.split)
    adapter = _part(arguments, ModelConfig)
    for name in UNREAD:
        if getattr(adapter, name) != getattr(ModelConfig, name):
            raise ConfigError(
                f"--{name} is for reward models that are trained; a policy is loaded as it is: leave it out"
            )
    adapter.lora_task_type = "CAUSAL_LM"
    if adapter.use_peft and arguments.algorithm == "raft":
        raise ConfigError("raft trains all weights; leave --use_peft out, or take ppo, grpo or rloo")
    revision = adapter.model_revision
    policy = str(script.model_name_or_path) + ("" if revision == "main" else f"@{revision}")
    return RunPlan(
        arguments.algorithm,
        open_policy(policy, device=device, dtype=adapter.dtype or "float32", trust_remote_code=remote),
        prompts[held_out:],
        prompts[:held_out],
        reward.with_columns(columns),
        config,
        gold=open_gold(script.gold, models, columns) if script.gold else None,
        num_measurements=script.num_measurements,
        eval_answers=script.eval_answers,
        peft_config=peft_config(adapter) if adapter.use_peft else None,
        guard=_guard(script),
    )


def _guard(script: RunArguments) -> Any:
    """Return the guard that the flags ask for. Raises ConfigError."""
    from rewardsmith.rl.guard import Guard

    guard = Guard(mode=script.guard)
    if script.guard == "off":
        return None
    return Guard.from_clean_runs(script.guard_clean_runs, mode=script.guard) if script.guard_clean_runs else guard


def _config(arguments: argparse.Namespace, script: RunArguments) -> Any:
    """Return the configuration of the algorithm, with a folder that may be written."""
    from rewardsmith.rl.running import config_class

    kind = config_class(arguments.algorithm)
    if arguments.output_dir is None:
        arguments.output_dir = f"{Path(str(script.model_name_or_path)).name}-{arguments.algorithm.upper()}"
    if arguments.resume:
        arguments.resume_from_checkpoint = "true"
    try:
        config = _part(arguments, kind)
    except ConfigError:
        raise
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise ConfigError(f"settings refused: {str(error).strip().splitlines()[0]}") from error
    folder = Path(arguments.output_dir)
    require_writable(folder)
    if asked_checkpoint(config.resume_from_checkpoint) is None:
        require_unused(folder, script.overwrite_output_dir)
    return config


def _options(script: RunArguments) -> Any:
    from rewardsmith.rl.shaping import LengthPenalty, RewardOptions

    return RewardOptions(
        combine=script.combine,
        penalty=script.penalty,
        length=LengthPenalty.from_audit(script.length_penalty) if script.length_penalty else None,
        normalized=script.normalized,
        uncertainty=script.uncertainty,
        clip=script.clip,
        wait_seconds=script.wait_seconds,
    )


def _part(arguments: argparse.Namespace, kind: type) -> Any:
    values = vars(arguments)
    return kind(**{f.name: values[f.name] for f in fields(kind) if f.init and f.name in values})
