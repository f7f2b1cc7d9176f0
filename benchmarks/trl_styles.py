"""The call styles that benchmarks/beside_trl.py runs: settings, families and adapters; those in code stand beside.

A style is named by its kind and what it sets. `page` holds words of docs/migrating-from-trl.md that give the reason
where the outcome is another than TRL's.
"""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tiny_families import STILL, tiny_config
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from rewardsmith.models.fresh_model import train_tokenizer

WORDS = [
    "good",
    "bad",
    "fine",
    "nice",
    "awful",
    "great",
    "poor",
    "answer",
    "to",
    "the",
    "question",
    "is",
    "maybe",
    "user",
    "assistant",
    "system",
    "prompt",
]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
COMMON = {
    "learning_rate": 1e-2, "report_to": "none", "use_cpu": True, "bf16": False, "save_strategy": "no",
    "disable_tqdm": True, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 16, "logging_steps": 1,
    "num_train_epochs": 1,
}  # fmt: skip


def pairs(count: int = 14, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows of random words; several share a prompt."""
    rng = random.Random(seed)
    prompts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 9))) for _ in range(max(1, count // 3))]
    answers = [[" " + " ".join(rng.choices(WORDS, k=rng.randint(1, 8))) for _ in range(2)] for _ in range(count)]
    return [{"prompt": rng.choice(prompts), "chosen": a, "rejected": b} for a, b in answers]


ROWS = pairs()


def turn(role: str, text: str) -> dict[str, str]:
    """Return a message."""
    return {"role": role, "content": text}


CHATS = [
    {
        "prompt": [turn("user", row["prompt"])],
        **{side: [turn("assistant", row[side])] for side in ("chosen", "rejected")},
    }
    for row in ROWS
]


@cache
def make_tokenizer() -> Any:
    """Return a tokenizer with a pad token of its own, whose template ends in EOS: nothing is mended about it."""
    tokenizer = train_tokenizer([" ".join(WORDS)], 300)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@dataclass(frozen=True)
class Place:
    """Where a style runs: a folder that is its own, and the dtype of the weights."""

    folder: Path
    dtype: torch.dtype

    def beside(self, name: str) -> Place:
        """Return an empty place inside this one."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return replace(self, folder=folder)

    def base(self, family: str = "qwen2", **changes: Any) -> Path:
        """Return the folder of a reward model of a family, made where it is not there."""
        folder = self.folder.parent / f"base-{family}-{'-'.join(map(str, changes.items()))}".replace("/", "_")
        if not folder.is_dir():
            make_model(family, **changes).save_pretrained(folder)
            make_tokenizer().save_pretrained(folder)
        return folder

    def template(self) -> str:
        """Write a chat template and return its path."""
        path = self.folder / "own.jinja"
        path.write_text(TEMPLATE.replace("<|", "<").replace("|>", ">"))
        return str(path)

    def model(self, family: str = "qwen2", **options: Any) -> Any:
        """Load the reward model of a family; grouped products of experts know no float64."""
        if hasattr(tiny_config(family.partition(" dropout ")[0]).get_text_config(), "num_experts_per_tok"):
            options["experts_implementation"] = "eager"
        return AutoModelForSequenceClassification.from_pretrained(self.base(family), dtype=self.dtype, **options)


def make_model(family: str, **changes: Any) -> Any:
    """Return a reward model with random weights; "gpt2 dropout 0.1" has every dropout of the family at that rate."""
    tokenizer = make_tokenizer()
    family, _, rate = family.partition(" dropout ")
    config = tiny_config(family)
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "num_labels": 1}
    ids |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    rates = [name for name in config.to_dict() if any(word in name for word in STILL)]
    dropout = {name: float(rate or 0) for name in rates if isinstance(getattr(config, name), float)}
    for name, value in {**ids, **dropout, **changes}.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.1)
            elif "bias" in name:
                torch.nn.init.normal_(parameter, std=0.02)
    return model


def _train(trainer: Any) -> dict[str, Any] | None:
    trainer.train()
    return None


@dataclass(frozen=True)
class Style:
    """One way to call the trainer.

    Args:
        settings: of RewardConfig, beside `COMMON`.
        arguments: of the trainer, beside a model and rows, made from the place.
        act: what is done with the trainer; what it returns is compared.
        kind: makes a class of the library's trainer.
        page: words of the page that say why the outcome is another than TRL's.
        family: of the model.
        ours: settings that only this library has.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    arguments: Callable[[Place], dict[str, Any]] = lambda place: {}
    act: Callable[[Any], dict[str, Any] | None] = _train
    kind: Callable[[Any], Any] = lambda base: base
    page: str = ""
    family: str = "qwen2"
    ours: Mapping[str, Any] = field(default_factory=dict)

    def build(self, library: Any, place: Place) -> Any:
        """Build the trainer of a library."""
        own = {"verify_saved_model": False, **self.ours} if library.__name__ == "rewardsmith" else {}
        named = {"FILE": lambda: place.template(), "TOKENIZER": lambda: str(place.base("llama"))}
        # Configurations change what they are given.
        settings = copy.deepcopy({**COMMON, **self.settings, **own})
        settings = {
            name: named[value]() if value in ("FILE", "TOKENIZER") else value for name, value in settings.items()
        }
        args = library.RewardConfig(output_dir=str(place.folder / "out"), **settings)
        given: dict[str, Any] = {"train_dataset": Dataset.from_list(ROWS), **self.arguments(place)}
        if "model" not in given:
            given["model"] = place.model(self.family)
        if "processing_class" not in given and not isinstance(given["model"], str):
            given["processing_class"] = AutoTokenizer.from_pretrained(place.base(self.family))
        return self.kind(library.RewardTrainer)(args=args, **given)


def evaluated(place: Place) -> dict[str, Any]:
    """Return an evaluation set."""
    return {"eval_dataset": Dataset.from_list(ROWS[:10])}


def several(place: Place) -> dict[str, Any]:
    """Return two evaluation sets."""
    return {"eval_dataset": {"a": Dataset.from_list(ROWS[:10]), "b": Dataset.from_list(ROWS[10:])}}


FAMILIES = (
    *(
        "gpt2",
        "gpt_neox",
        "gpt_neo",
        "gptj",
        "opt",
        "bloom",
        "falcon",
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "qwen3_moe",
    ),
    *("mixtral", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "stablelm", "starcoder2", "gpt_oss", "gpt_bigcode"),
    *("mpt", "olmo2", "smollm3", "glm4", "deepseek_v3", "bert", "roberta", "distilbert"),
    *("modernbert", "deberta", "deberta-v2", "electra", "xlm-roberta", "lfm2"),
)
DROPOUT = "dropout: noise of"
RAGGED = "every comparison counts alike, in the loss"
EXTREMES = "mean of the extremes of batches"
MEANS = "mean of the means of batches"
STEPS = {"eval_strategy": "steps", "eval_steps": 1}
SCHEDULES = {
    "cosine_with_min_lr": {"min_lr": 1e-3},
    "cosine_warmup_with_min_lr": {"min_lr": 1e-3},
    "warmup_stable_decay": {"num_decay_steps": 2},
    "polynomial": {"power": 2.0},
    "cosine_with_restarts": {"num_cycles": 2},
}


def _settings() -> dict[str, Style]:
    found: dict[str, Style] = {"plain": Style()}
    for optimiser in OptimizerNames:
        found[f"optim {optimiser.value}"] = Style(
            {"optim": optimiser.value, "learning_rate": 1e-3}, page="a package that is missing"
        )
    for schedule in SchedulerType:
        more = {"lr_scheduler_kwargs": SCHEDULES[schedule.value]} if schedule.value in SCHEDULES else {}
        how = {"lr_scheduler_type": schedule.value, "warmup_steps": 1, "num_train_epochs": 2, **more, **STEPS}
        found[f"schedule {schedule.value}"] = Style(how, evaluated)
    one = {
        "optim_args": {"optim": "rmsprop", "optim_args": "alpha=0.9,momentum=0.1"},
        "weight_decay": {"weight_decay": 0.1},
        "adam_beta1": {"adam_beta1": 0.5, "adam_beta2": 0.9, "adam_epsilon": 1e-6},
        "max_grad_norm 0": {"max_grad_norm": 0},
        "max_grad_norm small": {"max_grad_norm": 0.01},
        "warmup_steps": {"warmup_steps": 2},
        "warmup ratio": {"warmup_steps": 0.5},
        "warmup_ratio": {"warmup_ratio": 0.5},
        "seed": {"seed": 7},
        "data_seed": {"data_seed": 7},
        "seed and data_seed": {"seed": 3, "data_seed": 7},
        "full_determinism": {"full_determinism": True},
        "sequential": {"train_sampling_strategy": "sequential"},
        "drop_last": {"dataloader_drop_last": True},
        "drop_last over epochs": {"dataloader_drop_last": True, "num_train_epochs": 3},
        "workers": {"dataloader_num_workers": 1},
        "persistent workers": {
            "dataloader_num_workers": 1, "dataloader_persistent_workers": True, "dataloader_prefetch_factor": 2,
            "num_train_epochs": 2,
        },
        "workers out of order": {"dataloader_num_workers": 1, "dataloader_in_order": False},
        "no seedable sampler": {"accelerator_config": {"use_seedable_sampler": False}},
        "no seedable sampler, data_seed": {"accelerator_config": {"use_seedable_sampler": False}, "data_seed": 7},
        "split batches": {"accelerator_config": {"split_batches": True}},
        "uneven batches": {"accelerator_config": {"even_batches": False}},
        "non-blocking": {"accelerator_config": {"non_blocking": True}},
        "dispatch batches": {"accelerator_config": {"dispatch_batches": True}},
        "max_steps within an epoch": {"max_steps": 2},
        "max_steps beyond an epoch": {"max_steps": 6},
        "max_steps with epochs": {"max_steps": 3, "num_train_epochs": 5},
        "two epochs": {"num_train_epochs": 2},
        "an epoch and a half": {"num_train_epochs": 1.5},
        "half an epoch": {"num_train_epochs": 0.5},
        "batch of one": {"per_device_train_batch_size": 1},
        "batch over all rows": {"per_device_train_batch_size": 32, "num_train_epochs": 3},
        "no checkpointed layers": {"gradient_checkpointing": False},
        "reentrant": {"gradient_checkpointing_kwargs": {"use_reentrant": True}},
        "activation_checkpointing": {"activation_checkpointing": True, "gradient_checkpointing": False},
        "auto_find_batch_size": {"auto_find_batch_size": True},
        "torch_empty_cache_steps": {"torch_empty_cache_steps": 1},
        "average_tokens_across_devices": {"average_tokens_across_devices": False},
        "use_cache": {"use_cache": True},
        "use_liger_kernel": {"use_liger_kernel": True},
        "logging every two": {"logging_steps": 2, "num_train_epochs": 2},
        "logging a share": {"logging_steps": 0.5, "num_train_epochs": 2},
        "logging the first": {"logging_steps": 3, "logging_first_step": True},
        "logging by epoch": {"logging_strategy": "epoch", "num_train_epochs": 2},
        "no logging": {"logging_strategy": "no"},
        "logging_nan_inf_filter": {"logging_nan_inf_filter": False},
        "log_level": {"log_level": "error", "log_level_replica": "error"},
        "run_name": {"run_name": "mine"},
        "skip_memory_metrics": {"skip_memory_metrics": False},
        "label_smoothing_factor": {"label_smoothing_factor": 0.1},
        "pad_to_multiple_of": {"pad_to_multiple_of": 16},
        "no length limit": {"max_length": None},
        "rows that are too long": {"max_length": 40},
        "dataset_num_proc": {"dataset_num_proc": 2},
        "centred": {"center_rewards_coefficient": 0.01},
        "centred strongly": {"center_rewards_coefficient": 1.0, "num_train_epochs": 2},
        "eos_token": {"eos_token": "<|end|>"},
        "eos_token unknown": {"eos_token": "<none>"},
        "pad_token": {"pad_token": "<|pad|>"},
        "pad_token unknown": {"pad_token": "<none>"},
        "length grouped by nothing": {"length_column_name": "length"},
        "remove_unused_columns": {"remove_unused_columns": False},
        "do_train": {"do_train": True, "do_eval": True},
        "debug": {"debug": "underflow_overflow"},
    }  # fmt: skip
    found |= {f"setting {name}": Style(settings) for name, settings in one.items()}
    ragged: dict[str, dict[str, Any]] = {
        "accelerator accumulation": {
            "gradient_accumulation_steps": 2,
            "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}},
        },
        "accumulation": {"gradient_accumulation_steps": 2},
        "accumulation over epochs": {"gradient_accumulation_steps": 3, "num_train_epochs": 2},
        "accumulation and max_steps": {"gradient_accumulation_steps": 2, "max_steps": 5},
    }
    found |= {f"setting {name}, ragged": Style(settings, page=RAGGED) for name, settings in ragged.items()}
    for name in ("logging every two", "logging a share", "logging the first", "logging by epoch", "no logging"):
        found[f"setting {name}"] = replace(found[f"setting {name}"], page=MEANS)
    even = {"gradient_accumulation_steps": 2, "dataloader_drop_last": True, "num_train_epochs": 2}
    of_16 = lambda place: {"train_dataset": Dataset.from_list(pairs(16))}  # noqa: E731
    found["setting accumulation, even"] = Style(even, of_16, page=EXTREMES)
    other = {
        "group_by_length": ({"train_sampling_strategy": "group_by_length"}, "fails on preference columns"),
        "batch_rebalance": ({"train_sampling_strategy": "batch_rebalance"}, "batch_rebalance"),
        "dropout": ({"disable_dropout": False}, DROPOUT),
        "neftune": ({"neftune_noise_alpha": 5}, "neftune_noise_alpha"),
        "include_num_input_tokens_seen": ({"include_num_input_tokens_seen": True}, "include_num_input_tokens_seen"),
        "include_num_input_tokens_seen non_padding": (
            {"include_num_input_tokens_seen": "non_padding"}, "include_num_input_tokens_seen",
        ),
        "fp16": ({"fp16": True}, "on a CPU trains in float32 without a word"),
        "torch_compile": ({"torch_compile": True}, "layers one by one; weights differ by rounding"),
        "activation offloading": ({"activation_offloading": True}, "`activation_offloading` without an accelerator"),
        "learning_rate as text": ({"learning_rate": "0.01"}, "a number, or `\"auto\"`"),
        "accumulation of all rows": ({"gradient_accumulation_steps": 16}, RAGGED),
    }  # fmt: skip
    found |= {f"setting {name}": Style(settings, page=page) for name, (settings, page) in other.items()}
    found["setting dropout"] = replace(found["setting dropout"], family="gpt2 dropout 0.1")
    found["dropout of modules switched off"] = Style(family="gpt2 dropout 0.1")
    found["dropout of numbers switched off"] = Style(
        family="qwen2 dropout 0.1", page="rates that a family holds as numbers"
    )
    return found


def _evaluations() -> dict[str, Style]:
    one: dict[str, dict[str, Any]] = {
        "every step": STEPS,
        "by epoch": {"eval_strategy": "epoch", "num_train_epochs": 2},
        "a share of steps": {"eval_strategy": "steps", "eval_steps": 0.5},
        "on_start": {"eval_on_start": True, **STEPS},
        "delayed": {**STEPS, "eval_delay": 2},
        "accumulated": {**STEPS, "eval_accumulation_steps": 1},
        "batch of one": {**STEPS, "per_device_eval_batch_size": 1},
        "in batches": {**STEPS, "per_device_eval_batch_size": 4},
        "prediction_loss_only": {**STEPS, "prediction_loss_only": True},
        "with losses": {**STEPS, "include_for_metrics": ["loss"]},
        "gather objects": {**STEPS, "eval_use_gather_object": True},
        "unconcatenated": {**STEPS, "eval_do_concat_batches": False},
        "label_names": {**STEPS, "label_names": ["margin"]},
        "label_names empty": {**STEPS, "label_names": []},
        "drop_last": {**STEPS, "dataloader_drop_last": True},
        "best by loss": {**STEPS, "save_strategy": "steps", "save_steps": 1, "load_best_model_at_end": True},
        "best by accuracy": {
            **STEPS, "save_strategy": "steps", "save_steps": 1, "load_best_model_at_end": True,
            "metric_for_best_model": "accuracy", "greater_is_better": True,
        },
        "save best": {**STEPS, "save_strategy": "best", "metric_for_best_model": "loss"},
        "best margin": {
            "eval_strategy": "epoch", "save_strategy": "epoch", "num_train_epochs": 2, "load_best_model_at_end": True,
            "metric_for_best_model": "eval_margin",
        },
    }  # fmt: skip
    pages = {
        "drop_last": "leaves the last batch of an evaluation out", "in batches": EXTREMES, "batch of one": EXTREMES,
    }  # fmt: skip
    found = {f"evaluation {name}": Style(how, evaluated, page=pages.get(name, "")) for name, how in one.items()}
    found |= {
        f"evaluation of several sets {name}": Style(how, several, page="With several evaluation sets")
        for name, how in {"": STEPS, "best": one["best by loss"], "on_start": one["on_start"]}.items()
    }
    return found


STYLES: dict[str, Style] = {
    **_settings(),
    **{f"family {name}": Style({"learning_rate": 1e-3}, family=name) for name in FAMILIES},
    **_evaluations(),
}
