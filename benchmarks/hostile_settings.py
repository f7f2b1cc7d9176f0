"""How attack_families.py uses a model beside its plain use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Setting:
    """How a model is used beside its plain use.

    Args:
        prepare: changes the model before its plan is made; what it returns is the model that computes.
        tokens_per_chunk: as of `ForwardPlan.batch`; every group is a batch of its own then.
        trains: whether the model is in training mode.
        rounds: "float32", "bf16" or "fp16" (weights too), "autocast", or nothing: then it computes in float64.
        pooling: of `load_sequence_classifier`.
        drops: the rate of every dropout that the config names.
    """

    prepare: Callable[[nn.Module], nn.Module] | None = None
    tokens_per_chunk: int | None = None
    trains: bool = False
    rounds: str = ""
    pooling: str = "last"
    drops: float = 0.0


def _checkpointed(model: Any) -> Any:
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _adapted(**options: Any) -> Callable[[nn.Module], nn.Module]:
    def wrap(model: Any) -> Any:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(1)
        config = LoraConfig(
            task_type="SEQ_CLS", r=4, target_modules=_targets(model), init_lora_weights=False, **options
        )
        return get_peft_model(model, config)

    return wrap


def _targets(model: nn.Module) -> list[str]:
    """Return the last names of all linear layers but the head's, those of states and convolutions included."""
    kinds = [name for name, module in model.named_modules() if type(module).__name__ in ("Linear", "Conv1D")]
    skip = ("score", "classifier", "head")
    return sorted(
        {name.rpartition(".")[2] for name in kinds if not name.startswith(skip)}
        - {"dt_proj", "conv1d", "gate", "router", "out_proj"}
    )


def _frozen(model: Any) -> Any:
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 3 != 0)
    return model


def _attention(name: str) -> Callable[[Any], Any]:
    def switch(model: Any) -> Any:
        model.set_attn_implementation(name)
        return model

    return switch


def _without_dropout(model: nn.Module) -> nn.Module:
    from rewardsmith.models.shared_prefix.exactness import disable_dropout

    disable_dropout(model)
    return model


SETTINGS: dict[str, Setting] = {
    "training": Setting(trains=True),
    "parts": Setting(tokens_per_chunk=24),
    "checkpoints": Setting(_checkpointed, trains=True),
    "checkpointed parts": Setting(_checkpointed, 24, trains=True),
    "mean": Setting(pooling="mean"),
    "mean_max": Setting(pooling="mean_max"),
    "frozen layers": Setting(_frozen, trains=True),
    "LoRA": Setting(_adapted(), trains=True),
    "DoRA": Setting(_adapted(use_dora=True), trains=True),
    "dropout in evaluation": Setting(drops=0.3),
    "dropout switched off": Setting(_without_dropout, trains=True, drops=0.3),
    "eager": Setting(_attention("eager")),
    "sdpa": Setting(_attention("sdpa")),
    "float32": Setting(rounds="float32"),
    "autocast": Setting(rounds="autocast", trains=True),
    "bf16": Setting(rounds="bf16"),
    "fp16": Setting(rounds="fp16"),
}
