"""One run: a policy optimised against a reward by GRPO, RLOO, PPO or RAFT, measured before, on the way and after."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from rewardsmith.errors import ConfigError, HubError
from rewardsmith.files.writing import write_json
from rewardsmith.models.contract import RECORD
from rewardsmith.records import Scorer, Text, as_plain, fingerprint, text_key
from rewardsmith.rl.guard import Guard, GuardStopped, steps_per_update
from rewardsmith.rl.measuring import CURVE, SAMPLES, Asking, Meter, Point, Turn, find_turn, steps_to_measure
from rewardsmith.rl.policy import Policy, Sampling, frozen_copy, merge_adapter, which_fit
from rewardsmith.rl.ppo import PPOConfig, PPOTrainer
from rewardsmith.rl.ppo.opening import Given
from rewardsmith.rl.publishing import contracts_of, refusal_of
from rewardsmith.rl.raft import RaftConfig, run_raft
from rewardsmith.rl.rewards import RewardFunction
from rewardsmith.rl.trl_trainers import TRL_KINDS, build_trl_trainer, trl_classes
from rewardsmith.training import checkpoints
from rewardsmith.training.record import TrainingProgress, provenance, without_secrets

logger = logging.getLogger(__name__)
ALGORITHMS = (*TRL_KINDS, "ppo", "raft")
START = "start"
# What the algorithms call the same thing in their logs.
LOGGED = {
    "reward": ("reward", "objective/scores"),
    "kl": ("kl", "objective/kl"),
    "entropy": ("entropy", "policy/entropy_avg"),
    "length": ("completions/mean_length", "val/length"),
    "cut": ("completions/clipped_ratio", "val/cut_share"),
}
SHOWN = tuple(name for names in LOGGED.values() for name in names)


def config_class(algorithm: str) -> Any:
    """Return the configuration of an algorithm: TRL's, or ours where TRL has none."""
    own = {"ppo": PPOConfig, "raft": RaftConfig}
    return own[algorithm] if algorithm in own else trl_classes(algorithm)[1]


@dataclass(frozen=True)
class RunPlan:
    """What is optimised, by what and how.

    Args:
        algorithm: grpo, rloo, ppo or raft.
        policy: its weights are trained in place; with `peft_config` an adapter around them is. An adapter that a
            policy was opened with is merged into a copy first.
        prompts: to train on.
        held_out: prompts that are only measured.
        reward: what is optimised.
        config: TRL's GRPOConfig or RLOOConfig, PPOConfig or RaftConfig, with `output_dir`.
        gold: a second reward that nothing is optimised by.
        num_measurements: points of the curve after the start.
        eval_answers: sampled to each held-out prompt at every point.
        peft_config: of an adapter; None trains all weights.
        guard: watches the measured points; None is off.
    """

    algorithm: str
    policy: Policy
    prompts: Sequence[Text]
    held_out: Sequence[Text]
    reward: RewardFunction
    config: Given
    gold: Scorer | None = None
    num_measurements: int = 10
    eval_answers: int = 1
    peft_config: object = None
    guard: Guard | None = None

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(f"no algorithm {self.algorithm!r}; one of {', '.join(ALGORITHMS)}")
        if not self.prompts or len(self.held_out) < 2:
            raise ConfigError(
                f"{len(self.prompts)} prompts to train on and {len(self.held_out)} held out; give more prompts, as two "
                "or more are measured on"
            )
        if self.num_measurements < 1 or self.eval_answers < 1:
            raise ConfigError(
                f"num_measurements and eval_answers must be 1 or more, not {self.num_measurements} and "
                f"{self.eval_answers}"
            )

        beta, steps = getattr(self.config, "beta", 0.0), getattr(self.config, "max_steps", -1)
        if not beta >= 0:
            raise ConfigError(f"beta must be 0 or more, not {beta:g}; below 0 it would pay for KL")
        if steps == 0 or steps < -1:
            raise ConfigError(f"max_steps must be 1 or more, not {steps}; leave it out for num_train_epochs")

    @property
    def folder(self) -> Path:
        """Where everything of the run is written."""
        return Path(str(self.config.output_dir))

    @property
    def sampling(self) -> Sampling:
        """How held-out answers are drawn: as in training, with one seed for all points."""
        config = self.config
        longest = getattr(config, "max_completion_length", None) or config.response_length
        return Sampling(
            int(longest),
            config.temperature,
            getattr(config, "top_p", 1.0),
            getattr(config, "top_k", 0) or 0,
            seed=config.seed + 1,
        )


@dataclass(frozen=True)
class RunResult:
    """What a run did; `points` are in order of steps, the first one before any training.

    `not_pushed` says why the hub did not take the policy, where it should have gone there.
    """

    folder: Path
    algorithm: str
    points: Sequence[Point]
    turn: Turn | None
    history: Sequence[Mapping[str, Any]]
    record: Mapping[str, Any]
    not_pushed: HubError | None = None

    @property
    def before(self) -> Point:
        """The start."""
        return self.points[0]

    @property
    def after(self) -> Point:
        """The end."""
        return self.points[-1]

    @property
    def measures(self) -> list[str]:
        """What was measured, in the order of `MEASURES`."""
        return [name for name in ("reward", "gold", "kl", "length", "entropy", "cut") if self.before.known(name)]


def optimise(plan: RunPlan) -> RunResult:
    """Optimise a policy, save it with samples, curve and record in `output_dir`, and say what it bought.

    A run that was stopped goes on where `config.resume_from_checkpoint` says, given the policy that it began with; one
    that is finished trains nothing more, says so, and is written down anew.

    Raises:
        ConfigError: settings that cannot be used, or a conversation for a policy without chat template.
        DataError: every prompt is too long for the policy; some are left out, counted and said.
        CheckpointError: a checkpoint that is damaged or of another run.
        ScoringError, UnreachableError: rewards failed; the message names the checkpoint that holds the run.

    Example:
        ```python
        plan = RunPlan("ppo", open_policy("my-policy"), prompts[64:], prompts[:64], reward_function("my-reward"),
                       PPOConfig(output_dir="out", response_length=128), gold=open_scorer("simulator:gold"))
        optimise(plan).after.change("gold", result.before)
        ```
    """
    fits = which_fit(plan.policy, [*plan.prompts, *plan.held_out], plan.sampling.max_completion_length)
    kept = (list(compress(plan.prompts, fits)), list(compress(plan.held_out, fits[len(plan.prompts) :])))
    plan = replace(plan, policy=merge_adapter(plan.policy), prompts=kept[0], held_out=kept[1])
    if plan.guard is not None:
        plan = replace(plan, guard=replace(plan.guard, steps_per_update=steps_per_update(plan.config.to_dict())))
    plan.folder.mkdir(parents=True, exist_ok=True)
    if checkpoints.asked_checkpoint(plan.config.resume_from_checkpoint) is None:
        for name in (CURVE, SAMPLES):
            (plan.folder / name).unlink(missing_ok=True)
        shutil.rmtree(plan.folder / "rounds", ignore_errors=True)
    history = _raft(plan) if plan.algorithm == "raft" else _train(plan)
    meter_points = history.meter.points
    result = RunResult(
        plan.folder, plan.algorithm, meter_points, find_turn(meter_points), [_named(row) for row in history.rows], {}
    )
    result = replace(result, record={**_record(plan, result), "num_too_long": fits.count(False)})
    write_json(plan.folder / RECORD, result.record)
    return result if history.push is None else replace(result, not_pushed=refusal_of(history.push))


@dataclass(frozen=True, slots=True)
class _Done:
    meter: Meter
    rows: Sequence[Mapping[str, Any]]
    push: Callable[[], object] | None = None


def _meter(plan: RunPlan, policy: Policy, start: PreTrainedModel | None) -> Meter:
    asking = Asking(plan.held_out, plan.sampling, plan.eval_answers, plan.gold)
    return Meter(policy, start, plan.reward, asking, plan.folder)


def _raft(plan: RunPlan) -> _Done:
    meter = _meter(plan, plan.policy, frozen_copy(plan.policy.model))

    def after_round(number: int) -> None:
        if not meter.points:
            meter.take_up(number)
            _is_finished(plan, number, plan.config.num_rounds)
        due = steps_to_measure(plan.config.num_rounds, plan.num_measurements)
        if number in due or not meter.points:
            _measure(meter, number, plan.guard, plan.config.num_rounds)

    try:
        rows = run_raft(plan.policy, plan.prompts, plan.reward, plan.config, after_round)
    except GuardStopped:
        done = meter.points[-1].step
        rows = checkpoints.read_objective(str(plan.folder / f"checkpoint-{done}"))["history"] if done else []
    _save(plan.policy, plan.folder)
    return _Done(meter, rows)


def _train(plan: RunPlan) -> _Done:
    """Run a trainer between two measurements."""
    is_adapted = plan.peft_config is not None or hasattr(plan.policy.model, "disable_adapter")
    start = None if is_adapted else frozen_copy(plan.policy.model)
    trainer, policy = _trainer(plan)
    meter = _meter(plan, policy, start)
    trainer.add_callback(_Measuring(meter, plan))
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    if not plan.config.disable_tqdm:
        trainer.add_callback(TrainingProgress(SHOWN))
    resume = plan.config.resume_from_checkpoint
    try:
        if isinstance(trainer, PPOTrainer):
            trainer.train(resume_from_checkpoint=resume)
        else:
            _train_whole(trainer, checkpoints.choose_checkpoint(resume, str(plan.folder)))
    except GuardStopped:
        trainer._save_checkpoint(trainer.model, None)  # type: ignore[arg-type]
    except _FinishedBefore:
        pass
    saving: Given = trainer
    saving.save_here(plan.folder)
    policy.tokenizer.save_pretrained(plan.folder)
    push = partial(trainer.push_to_hub, commit_message="Model save") if plan.config.push_to_hub else None
    return _Done(meter, trainer.state.log_history, push)


def _trainer(plan: RunPlan) -> tuple[Trainer, Policy]:
    if plan.algorithm == "ppo":
        rows = [{"prompt": as_plain(prompt)} for prompt in plan.prompts]
        ppo = PPOTrainer(
            plan.config,
            plan.policy.tokenizer,
            plan.policy.model,
            reward_model=plan.reward,
            train_dataset=rows,
            peft_config=plan.peft_config,
        )
        return ppo, ppo.policy
    # TRL loads what KL is measured from by the policy's name; one that was made in memory has none.
    if plan.policy.model.config._name_or_path != plan.policy.name:
        _save(plan.policy, plan.folder / START)
        plan.policy.model.config._name_or_path = str(plan.folder / START)
    plan.config.reward_weights = None
    trainer = build_trl_trainer(plan.policy, plan.prompts, plan.reward, plan.config, plan.peft_config)
    return trainer, Policy(
        trainer.model,  # type: ignore[arg-type]
        plan.policy.tokenizer,
        plan.policy.name,
    )


def _train_whole(trainer: Trainer, folder: str | None) -> None:
    """Train; a signal, or rewards that fail, leave a checkpoint of the last step."""
    stopper = checkpoints.StopOnSignal()
    trainer.add_callback(stopper)
    with stopper.listening(trainer.args), checkpoints.stopping_whole(trainer):
        trainer.train(resume_from_checkpoint=folder)
    stopper.raise_if_stopped(trainer.args, trainer.state)


def _measure(meter: Meter, step: int, guard: Guard | None, last: int) -> None:
    """Measure, and let the guard look at what is new. Raises GuardStopped before the last step."""
    known = len(meter.points)
    meter.measure(step)
    alarms = guard.watch(meter.points) if guard is not None and len(meter.points) > known else []
    if guard is not None and alarms and guard.mode == "stop" and step < last:
        raise GuardStopped


class _FinishedBefore(Exception):
    """A run goes on from its end; Trainer would take a step before it looks at how many were asked for."""


def _is_finished(plan: RunPlan, done: int, last: int) -> bool:
    """Return whether a checkpoint is the end of its run, and say so."""
    if finished := done >= last:
        logger.warning(
            "checkpoint-%d of %s is its end (%d asked for): nothing more is trained", done, plan.folder, last
        )
    return finished


class _Measuring(TrainerCallback):
    """Measures at the start, at evenly spaced steps and at the end."""

    def __init__(self, meter: Meter, plan: RunPlan) -> None:
        self.meter, self.plan = meter, plan

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Measure the start, or the step from which a run goes on, which it may have stopped before measuring.

        Raises _FinishedBefore where no step is left.
        """
        self.meter.take_up(state.global_step)
        self._measure_if_due(state)
        if _is_finished(self.plan, state.global_step, state.max_steps):
            raise _FinishedBefore

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Measure what the last step left, where it is time to: by now it is logged, and saved if it should be."""
        self._measure_if_due(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Measure the end."""
        self._measure_if_due(state)

    def _measure_if_due(self, state: TrainerState) -> None:
        step, last = state.global_step, state.max_steps
        if step >= last or step in {0, *steps_to_measure(last, self.plan.num_measurements)}:
            _measure(self.meter, step, self.plan.guard, last)


def _save(policy: Policy, folder: Path) -> None:
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """Put the common names beside those of the algorithm."""
    common = {
        name: next(row[own] for own in names if own in row)
        for name, names in LOGGED.items()
        if any(own in row for own in names)
    }
    return {**row, **common}


def _record(plan: RunPlan, result: RunResult) -> dict[str, Any]:
    """Return what `run.json` holds."""
    before, after = result.before, result.after
    return {
        "algorithm": plan.algorithm,
        "policy": plan.policy.name,
        "reward": plan.reward.name,
        "reward_contracts": [contracts_of(source) for source in plan.reward.sources],
        "gold": None if plan.gold is None else plan.gold.name,
        "num_prompts": len(plan.prompts),
        "num_held_out": len(plan.held_out),
        "prompts": fingerprint([text_key(prompt) for prompt in (*plan.prompts, *plan.held_out)]),
        "before": {name: before.estimate(name).to_dict() for name in result.measures},
        "after": {name: after.estimate(name).to_dict() for name in result.measures},
        "change": {name: after.change(name, before).to_dict() for name in result.measures},
        "turn": None
        if result.turn is None
        else {
            "step": result.turn.step,
            "kl": result.turn.kl,
            "gold": result.turn.gold.to_dict(),
            "lost": result.turn.lost.to_dict(),
        },
        "guard": None if plan.guard is None else plan.guard.record(result.points),
        "settings": plan.config.to_dict(),
        **provenance(),
        "command": ["rewardsmith", *without_secrets(sys.argv[1:])],
        "history": result.history,
    }
