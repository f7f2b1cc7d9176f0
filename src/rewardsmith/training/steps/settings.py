"""The settings of step models: fields of RewardConfig, and which of its others have no effect on steps."""

from __future__ import annotations

from dataclasses import dataclass, fields

from rewardsmith.errors import ConfigError
from rewardsmith.files.settings import option
from rewardsmith.models.steps import FORMATS

STEPS = "steps"
NEUTRAL = ("right", "wrong", "half", "skip")
# Other fields of RewardConfig that concern whole texts.
OF_TEXTS = (
    *("ties", "label_smoothing", "center_rewards_coefficient", "l2_rewards_coefficient", "lm_loss_coefficient"),
    *("ranking_top_k", "pooling", "head", "freeze_backbone", "feature_cache", "sweep_l2", "sweep_loss_type"),
    *("ensemble", "bootstrap_prompts", "shuffle_buffer"),
    *("attributes", "attribute_weights", "rating_loss", "rating_scale", "rating_loss_coefficient"),
)


@dataclass
class StepSettings:
    """How step labels become a loss (loss_type="steps").

    Args:
        step_separator: stands after every step; one token, where the model is read.
        step_format: "plain" writes the question and then the steps, as TRL does; "chat" writes them as the assistant's
            turn of the chat template.
        neutral_steps: what the rating 0 means: "right" (Lightman et al. 2023, section 2.4, at their evaluation),
            "wrong", "half" (a soft label of 1/2) or "skip".
        train_on_last_step_only: mask all labels but that of the last step; evaluation reads all.
        max_completion_length: longest solution in tokens; steps behind it are left out and counted.
        max_prompt_length: longest question in tokens; the start of a longer one is cut and counted.
    """

    step_separator: str = option("\n", "Stands after every step; one token.")
    step_format: str = option("plain", "Steps after the question ('plain'), or in the assistant's turn ('chat').")
    neutral_steps: str = option("right", "What the rating 0 of a step means: 'right', 'wrong', 'half' or 'skip'.")
    train_on_last_step_only: bool = option(False, "Train on the label of the last step alone.")
    max_completion_length: int | None = option(None, "Longest solution in tokens; later steps are left out.")
    max_prompt_length: int | None = option(None, "Longest question in tokens; its start is cut.")


def check_steps(args: StepSettings) -> None:
    """Refuse settings of steps for whole texts, and those of whole texts for steps. Raises ConfigError."""
    given = vars(args)
    for name, allowed in (("step_format", FORMATS), ("neutral_steps", NEUTRAL)):
        if given[name] not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {given[name]!r}")
    for name in ("max_completion_length", "max_prompt_length"):
        if (value := given[name]) is not None and (not isinstance(value, int) or value < 1):
            raise ConfigError(f"{name} must be a positive number of tokens, not {value}")
    is_steps = given["loss_type"] == STEPS
    if is_steps and given["overflow"] != "drop":
        raise ConfigError("overflow has no effect on steps: those behind max_length are left out; leave it out")
    others = OF_TEXTS if is_steps else tuple(field.name for field in fields(StepSettings))
    defaults = {field.name: field.default for field in fields(args)}
    for name in others:
        if given[name] != defaults[name]:
            remedy = "leave it out" if is_steps else "leave it out, or take loss_type='steps' (PRMTrainer)"
            raise ConfigError(f"{name} has no effect on {given['loss_type']}; {remedy}")


def require_trainer(args: object, judges_steps: bool) -> None:
    """Refuse the settings of the other trainer. Raises ConfigError."""
    loss_type = getattr(args, "loss_type", STEPS if judges_steps else "")
    if judges_steps != (loss_type == STEPS):
        other = "RewardTrainer" if judges_steps else "PRMTrainer"
        raise ConfigError(f"loss_type={loss_type!r} is of {other}: from rewardsmith import {other}")
