"""PRMTrainer: the constructor of TRL's, over the trainer of rewards with steps as what is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from torch import nn
from transformers import DataCollatorForTokenClassification, EvalPrediction

from rewardsmith.errors import ConfigError
from rewardsmith.files.settings import option
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.model import default_output_dir
from rewardsmith.training.steps.settings import STEPS
from rewardsmith.training.steps.task import StepTask
from rewardsmith.training.trainer import RewardTrainer


@dataclass
class PRMConfig(RewardConfig):
    """Settings of PRMTrainer: every field of TRL 1.13's PRMConfig with its default, and those of RewardConfig.

    Settings that concern whole texts (ties, pooling, ensembles, ...) are refused.
    """

    learning_rate: float | str = option(1e-5, "Initial learning rate of AdamW, or 'auto' to choose it by model size.")
    loss_type: str = option(STEPS, "Always steps.")


class PRMTrainer(RewardTrainer):
    """Train a process reward model: a classifier of tokens that says of each step of a solution whether it is right.

    A drop-in for TRL's PRMTrainer, which TRL 1.14 dropped: the same rows (`prompt`, `completions`, `labels`) give the
    same loss, with every distinct token of a question's solutions computed once. See docs/train-steps.md, and
    docs/migrating-from-trl.md for what is deliberately different. Arguments are RewardTrainer's, `model_init` aside.

    Args:
        model: a model id or path, a classifier of tokens with two labels, or a PeftModel around one.
        args: a PRMConfig; None takes the defaults and an output folder named after the model.
        train_dataset: rows with judged steps of any supported format as a `Dataset`, or PreferenceGroups with steps.
        compute_metrics: gets predictions `[S, 1, 2]`, the logits at each step, and labels `[S, 1]` (-100: not judged).

    Raises:
        ConfigError: a model with another number of labels, a separator that is not one token, an unknown setting.
        DataError: rows without judged steps, or none left.

    Example:
        `PRMTrainer("Qwen/Qwen2.5-0.5B-Instruct", train_dataset=dataset).train()`
    """

    task = StepTask()
    _tag_names = ("rewardsmith", "reward-model", "prm", "trl")

    def __init__(
        self,
        model: object = None,
        args: RewardConfig | None = None,
        data_collator: object = None,
        train_dataset: object = None,
        eval_dataset: object = None,
        processing_class: object = None,
        model_init: Callable[[], Any] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict] | None = None,
        callbacks: list | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        preprocess_logits_for_metrics: Callable[..., Any] | None = None,
        peft_config: object = None,
        quantization_config: object = None,
        tokenizer: object = None,
    ) -> None:
        if data_collator is not None and not isinstance(data_collator, DataCollatorForTokenClassification):
            raise ConfigError(
                f"PRMTrainer fills its batches itself, and {type(data_collator).__name__} would pad rows: leave "
                "data_collator out, and pass rows or tokenised rows (input_ids, labels)"
            )
        if (model is None) == (model_init is None):
            raise ConfigError("give PRMTrainer a model, or model_init that makes one")
        start = cast("nn.Module | str", model_init() if model_init is not None else model)
        super().__init__(
            model=start,
            args=args if args is not None else PRMConfig(f"{default_output_dir(start).removesuffix('-Reward')}-PRM"),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
            peft_config=peft_config,
            quantization_config=quantization_config,
            tokenizer=tokenizer,
        )
        self.steps = self.encoder.renderer.rule
