"""The settings of a run: RewardConfig with TRL's fields and ours."""

from __future__ import annotations

import inspect
import logging
import math
import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch.utils.checkpoint import checkpoint
from transformers import TrainingArguments

from rewardsmith.errors import ConfigError, nearest, nearest_or_known, require_place
from rewardsmith.files.settings import option
from rewardsmith.models.compiling import COMPILE
from rewardsmith.objectives import OBJECTIVES, OPTIONS, REGRESSION, find_objective
from rewardsmith.training.launching import require_deepspeed, require_optimiser
from rewardsmith.training.rated import check_rating_settings
from rewardsmith.training.steps.settings import STEPS, StepSettings, check_steps

logger = logging.getLogger(__name__)

LOSS_TYPES = (*OBJECTIVES, REGRESSION)
POOLINGS = ("last", "mean", "mean_max")
HEAD_INITS = ("normal", "zero", "keep")
HEADS, HEAD_SOLVERS = ("linear", "mlp"), ("lbfgs", "steps")
TIES = ("half", "skip")
OVERFLOWS = ("drop", "truncate_prompt")
SHARING = ("auto", "on", "off")
ENSEMBLES = ("heads", "models")
CHOICES = {
    "loss_type": (*LOSS_TYPES, STEPS),
    "ties": TIES,
    "rating_loss": ("squared", "huber"),
    "rating_scale": ("raw", "standardized"),
    "pooling": POOLINGS,
    "head_init": HEAD_INITS,
    "head": HEADS,
    "head_solver": HEAD_SOLVERS,
    "ensemble_kind": ENSEMBLES,
    "overflow": OVERFLOWS,
    "share_prefix": SHARING,
    "compile": COMPILE,
}
# Full fine-tuning rates by number of parameters, largest first match wins; LoRA takes its own.
LEARNING_RATES = ((1e9, 2e-5), (7e9, 1e-5), (float("inf"), 5e-6))
LORA_LEARNING_RATE = 1e-4
AUTO_BATCH = "auto_find_batch_size halves per_device_train_batch_size when memory is full, which"
# Fields that count something: none of them can be 0.
COUNTS = {
    "tokens_per_batch": "tokens",
    "max_length": "tokens",
    "ensemble": "members",
    "ranking_top_k": "choices",
    "per_device_train_batch_size": "rows",
    "per_device_eval_batch_size": "rows",
    "gradient_accumulation_steps": "batches",
    "dataset_num_proc": "processes",
    "head_width": "units",
}


@dataclass
class RewardConfig(StepSettings, TrainingArguments):
    """Settings of RewardTrainer: every field of TRL 1.16's RewardConfig, and those of Rewardsmith.

    Where a default differs from TRL's: `bf16` is on by default only where the hardware computes it (TRL's default
    fails on a machine without a GPU).

    Args:
        model_init_kwargs: arguments of `from_pretrained` when the model is given as a string.
        trust_remote_code: allow models and tokenizers that bring Python code.
        chat_template_path: a Jinja file, "plain" or "chatml", or a tokenizer whose template is taken.
        disable_dropout: set every dropout to 0.
        dataset_num_proc: processes that tokenise.
        eos_token: end-of-sequence token, when it is not the tokenizer's.
        max_length: longest sequence in tokens; `overflow` says what happens to longer ones. None: no limit.
        pad_to_multiple_of: accepted for compatibility; packed sequences hold no padding.
        center_rewards_coefficient: weight of the mean of (r_w + r_l)^2 (Eisenstein et al. 2023, eq. 2); try 0.01.
        activation_offloading: keep activations in main memory.
        pad_token: accepted for compatibility; set it on the tokenizer.
        loss_type: the objective; see docs/objectives.md.
        ties: what pairwise objectives do with ties: "half" (target probability 1/2) or "skip".
        label_smoothing: probability that a label is wrong, in [0, 0.5).
        l2_rewards_coefficient: beta of beta/2 (r_w^2 + r_l^2) per comparison.
        lm_loss_coefficient: weight of the language-model loss of the chosen side, in nats a token (Askell et al. 2021);
            for decoders whose embeddings are tied to their token head.
        ranking_top_k: with loss_type="plackett_luce", only so many of the best choices count.
        attributes: with loss_type="regression" or a rating_loss_coefficient, the ratings to learn, a row of the head
            each; None takes all that the rows have. See docs/train-ratings.md.
        attribute_weights: "NAME=WEIGHT" of each, by which ratings add up to the reward; None weighs them alike, 1/A.
        rating_loss: "squared" errors, or "huber".
        rating_scale: "raw", or "standardized" while training, which scoring undoes.
        rating_loss_coefficient: weight of the ratings' loss beside an objective of comparisons; 1 where both count.
        pooling: which hidden states a decoder's head reads: "last", "mean" or "mean_max".
        head_init: how a head that is new is initialised: "normal" (std 1/sqrt(d+1)), "zero", or "keep" (as
            transformers does). A trained head is never touched.
        head: "linear", or "mlp" with a hidden layer of `head_width` units, which saves its own code.
        freeze_backbone: train the head alone, over features that are computed once and kept in `feature_cache` (by
            default a folder beside output_dir).
        head_solver: with freeze_backbone, "lbfgs" fits the head to its optimum, "steps" trains it in the usual steps.
        sweep_l2: with "lbfgs", penalties to choose from (one is taken as it is): l2 / 2 times the sum of squared
            weights, in units in which every feature has a spread of 1. None tries 0.1, 0.01, 0.001 and 0.0001, for
            ratings alone also powers of ten up to twenty times the features of each rating.
        sweep_loss_type: with "lbfgs", objectives to choose from; None takes `loss_type`.
        ensemble: how many heads or models answer together; 1 is a single one.
        ensemble_kind: "heads" on one backbone, each with its own bootstrap of the prompts, in one forward; or "models",
            full ones with seeds and bootstraps of their own, which `rewardsmith.train` and the command train.
        ensemble_prior_scale: how far the first weights of heads lie apart, in units of a new head's (prior functions).
        bootstrap_prompts: draw the prompts that are trained on with replacement, by the order's seed.
        merge_prompts: make one group of all rows with the same prompt, so that it is computed once.
        tokens_per_batch: fill batches by distinct tokens instead of `per_device_train_batch_size` rows.
        shuffle_buffer: draw the groups of a stream from a buffer of so many; 0 keeps their order. Saved in checkpoints.
        overflow: rows over max_length are dropped ("drop") or lose the oldest tokens of their prompt
            ("truncate_prompt"); both are counted, an answer is never cut.
        share_prefix: "auto" shares prefixes where that is exact; "on" insists; "off" computes separate rows.
        verify_saved_model: re-load the saved model in a fresh process and compare its rewards.
        compile: compile the layers: "on", "off", or "auto", which does so on a CPU where the run repays it. TRL's
            `torch_compile=True` means "on"; its backend and mode are not taken.
        save_merged: beside an adapter, also write the merged model into `merged`, which every tool loads without PEFT;
            None does so below 2B parameters.
    """

    learning_rate: float | str = option(  # type: ignore[assignment]
        1e-4, "Initial learning rate of AdamW, or 'auto' to choose it by model size."
    )
    logging_steps: float = option(10, "Log every this many steps; below 1, a share of all steps.")
    gradient_checkpointing: bool = option(True, "Recompute activations in the backward pass to save memory.")
    bf16: bool | None = option(  # type: ignore[assignment]
        None, "bf16 mixed precision; by default on where the hardware computes it, unless fp16."
    )

    model_init_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "JSON of from_pretrained arguments."}
    )
    trust_remote_code: bool = option(False, "Allow models and tokenizers that bring Python code.")
    chat_template_path: str | None = option(
        None,
        "A Jinja file, plain, chatml, or a tokenizer whose template is taken.",
        aliases=["--chat_template", "--chat-template"],
    )
    disable_dropout: bool = option(True, "Set every dropout to 0.")
    dataset_num_proc: int | None = option(None, "Processes that tokenise.")
    eos_token: str | None = option(None, "End-of-sequence token, when it is not the tokenizer's.")
    max_length: int | None = option(1024, "Longest sequence in tokens; see overflow.")
    pad_to_multiple_of: int | str | None = option("auto", "Accepted for compatibility; packing needs no padding.")
    center_rewards_coefficient: float | None = option(None, "Weight of the mean of (r_w + r_l)^2; try 0.01.")
    activation_offloading: bool = option(False, "Keep activations in main memory.")
    pad_token: str | None = option(None, "Accepted for compatibility; set it on the tokenizer.")

    loss_type: str = option("bradley_terry", f"Objective: {', '.join((*LOSS_TYPES, STEPS))}.")
    attributes: list[str] | None = option(None, "Ratings to learn, by name; by default all that the rows have.")
    attribute_weights: list[str] | None = option(None, "NAME=WEIGHT of each in the reward; by default all alike.")
    rating_loss: str = option("squared", "Error of a rating: 'squared' or 'huber'.")
    rating_scale: str = option("raw", "Ratings as they are, 'raw', or 'standardized' while training.")
    rating_loss_coefficient: float = option(0.0, "Weight of the ratings' loss beside that of comparisons; 0: none.")
    ties: str = option("half", "Ties of pairwise objectives: 'half' (target 1/2) or 'skip'.")
    label_smoothing: float = option(0.0, "Probability that a label is wrong, in [0, 0.5).")
    l2_rewards_coefficient: float | None = option(None, "beta of beta/2 (r_w^2 + r_l^2) per comparison; try 0.001.")
    lm_loss_coefficient: float = option(0.0, "Weight of the language-model loss of the chosen side; 0: none.")
    ranking_top_k: int | None = option(None, "plackett_luce: how many of the best choices count; by default all.")
    pooling: str = option("last", "What a decoder's head reads: 'last', 'mean' or 'mean_max'.")
    head_init: str = option("normal", "A new head: 'normal' (std 1/sqrt(d+1)), 'zero' or 'keep'.")
    head: str = option("linear", "'linear', or 'mlp': with a hidden layer, and code of its own in the saved folder.")
    head_width: int = option(256, "Units of the hidden layer of head='mlp'.")
    freeze_backbone: bool = option(False, "Train the head alone, over features that are computed once and kept.")
    feature_cache: str | None = option(None, "Folder of the features; by default beside output_dir.")
    head_solver: str = option("lbfgs", "With a frozen backbone: 'lbfgs' to the optimum, or 'steps', the usual ones.")
    sweep_l2: list[float] | None = option(
        None, "Penalties of the head to choose from; by default 0.1 to 0.0001, of ratings more."
    )
    sweep_loss_type: list[str] | None = option(None, "Objectives to choose from, with a frozen backbone.")
    ensemble: int = option(1, "So many heads or models that answer together, with the spread of each answer.")
    ensemble_kind: str = option("heads", "'heads' on one backbone, one forward; or 'models', each trained by itself.")
    ensemble_prior_scale: float = option(1.0, "Size of the random head that each head holds (prior functions).")
    bootstrap_prompts: bool = option(False, "Draw the training prompts with replacement, by data_seed or seed.")
    merge_prompts: bool = option(False, "One group of all rows with the same prompt.")
    tokens_per_batch: int | None = option(None, "Fill batches by distinct tokens instead of rows.")
    shuffle_buffer: int = option(0, "Draw the groups of a stream from a buffer of so many; 0 keeps their order.")
    overflow: str = option("drop", "Rows over max_length: 'drop' or 'truncate_prompt'; always counted.")
    share_prefix: str = option("auto", "'auto', 'on' or 'off'.")
    verify_saved_model: bool = option(True, "Re-load the saved model in a fresh process and compare rewards.")
    compile: str = option("off", "Compile the layers: 'off', 'on', or 'auto' where a CPU run repays it.")
    save_merged: bool | None = option(None, "Also save an adapter merged, in `merged`; by default below 2B parameters.")

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [  # type: ignore[misc]
        *TrainingArguments._VALID_DICT_FIELDS,
        "model_init_kwargs",
    ]

    def __post_init__(self) -> None:
        if self.output_dir is not None:
            require_place(self.output_dir, "output_dir")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not self.use_cpu and not torch.accelerator.is_available():
            logger.warning("no GPU here: use_cpu=True is set, else every process would train a copy of its own")
            self.use_cpu = True
        if self.bf16 is None:
            self.bf16 = not self.fp16 and not self.use_cpu and torch.cuda.is_available()
        self._check()
        if self.use_cpu or not torch.cuda.is_available():
            # Pinned memory is for copies to a GPU; without one torch only warns.
            self.dataloader_pin_memory = False
        if self.learning_rate != "auto":
            self.learning_rate = _number("learning_rate", self.learning_rate)
            _require_not_negative("learning_rate", self.learning_rate)
        take_new_names(self)
        take_torch_compile(self)
        super().__post_init__()
        require_optimiser(str(getattr(self.optim, "value", self.optim)))
        self._check_memory()
        # Trainer reads no more of it than this, and finds no backend to compile the whole model with.
        self.torch_compile = self.compile == "on"
        require_known_parallelism(self)
        # Several processes hold the loss of their own rows; the trainer divides by the whole step's comparisons.
        self.average_tokens_across_devices = False

    @property
    def order_seed(self) -> int:
        """The seed of the order of rows: `data_seed`, or else `seed`."""
        return self.seed if self.data_seed is None else self.data_seed

    @property
    def learns_ratings(self) -> bool:
        """Whether the run learns ratings, alone or beside comparisons."""
        return self.loss_type == REGRESSION or bool(self.rating_loss_coefficient)

    @property
    def merges_rows(self) -> bool:
        """Whether rows of a prompt are merged before they are encoded; solutions in steps are merged after that."""
        return self.merge_prompts and self.loss_type != STEPS

    @property
    def full_eval_in_16_bits(self) -> bool:
        """Whether an evaluation outside of training casts the model itself."""
        return bool(self.bf16_full_eval or self.fp16_full_eval)

    def _check(self) -> None:
        """Refuse values that no part of the trainer knows, naming the nearest that it does."""
        for name, allowed in CHOICES.items():
            _require_choice(name, getattr(self, name), allowed)
        check_steps(self)
        for loss_type in self.sweep_loss_type or ():
            _require_choice("sweep_loss_type", loss_type, tuple(OBJECTIVES))
        self._check_frozen()
        check_rating_settings(self)
        require_deepspeed(self.deepspeed)
        if not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(f"label_smoothing must lie in [0, 0.5), not {self.label_smoothing}")
        for name in OPTIONS:
            if getattr(self, name) and name not in find_objective(self.loss_type).options:
                able = ", ".join(loss for loss, objective in OBJECTIVES.items() if name in objective.options)
                raise ConfigError(f"{name} has no effect on {self.loss_type}; leave it out, or take {able}")
        if self.ties == "skip" and find_objective(self.loss_type).start_threshold is not None:
            raise ConfigError(
                f"ties='skip' has no effect on {self.loss_type}, which learns from ties; leave it out, or take "
                "bradley_terry"
            )
        if "inputs" in (self.include_for_metrics or ()):
            raise ConfigError("include_for_metrics cannot hold 'inputs': rows are packed; leave it out, or take 'loss'")
        if self.train_sampling_strategy == "batch_rebalance":
            raise ConfigError(
                "train_sampling_strategy='batch_rebalance' reads padded rows; take 'group_by_length', or set "
                "tokens_per_batch"
            )
        if self.auto_find_batch_size and self.tokens_per_batch is not None:
            raise ConfigError(f"{AUTO_BATCH} tokens_per_batch does not read; leave one of them out")
        if self.shuffle_buffer < 0:
            raise ConfigError(
                f"shuffle_buffer must be a number of groups, not {self.shuffle_buffer}; 0 keeps the order"
            )
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must lie in [0, 2**32), not {self.seed}")
        for name, unit in COUNTS.items():
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"{name} must be a positive number of {unit}, not {value}")
        for name in (
            *("center_rewards_coefficient", "l2_rewards_coefficient", "lm_loss_coefficient"),
            "rating_loss_coefficient",
        ):
            if getattr(self, name) is not None:
                _require_not_negative(name, _number(name, getattr(self, name)))

    def _check_memory(self) -> None:
        """Refuse kernels that are not here, and options that checkpoints do not know, before data are read."""
        if self.use_liger_kernel and find_spec("liger_kernel") is None:
            raise ConfigError("use_liger_kernel needs liger-kernel: pip install liger-kernel, or leave it out")
        known = {*inspect.signature(checkpoint).parameters} | {"preserve_rng_state", "every_n_layers"}
        given = self.gradient_checkpointing_kwargs
        if isinstance(given, dict) and (unknown := sorted(given.keys() - known)):
            hint = nearest_or_known(unknown[0], known - {"function", "args", "kwargs"})
            raise ConfigError(f"gradient_checkpointing_kwargs has no {unknown[0]!r}; {hint}")

    def _check_frozen(self) -> None:
        """Refuse settings of a frozen backbone that would have no effect."""
        sweeps = {"sweep_l2": self.sweep_l2, "sweep_loss_type": self.sweep_loss_type}
        without = sweeps | {"feature_cache": self.feature_cache}
        for name, value in without.items():
            if value and not self.freeze_backbone:
                raise ConfigError(f"{name} has no effect on a backbone that is trained; add freeze_backbone")
        for name, value in sweeps.items():
            if value and self.head_solver != "lbfgs":
                raise ConfigError(f"{name} has no effect with head_solver={self.head_solver!r}; leave one of them out")
        for l2 in self.sweep_l2 or ():
            _require_not_negative("sweep_l2", _number("sweep_l2", l2))
        if self.freeze_backbone and self.lm_loss_coefficient:
            raise ConfigError("lm_loss_coefficient trains the backbone, and freeze_backbone does not: leave one out")
        if self.freeze_backbone and self.neftune_noise_alpha:
            raise ConfigError("neftune_noise_alpha changes what a backbone reads, and a frozen one is computed once")


def _require_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = nearest(str(value), allowed)
        hint = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}{hint}")


def take_torch_compile(args: RewardConfig) -> None:
    """Read Trainer's fields as `compile`: Trainer would compile the model as a whole, anew for every layout."""
    if args.torch_compile_mode or args.torch_compile_backend not in (None, "inductor"):
        logger.warning("torch_compile_backend and torch_compile_mode are not taken: layers are compiled by inductor")
    if args.torch_compile or args.torch_compile_backend or args.torch_compile_mode:
        args.compile = "on"
    args.torch_compile, args.torch_compile_backend, args.torch_compile_mode = False, None, None


def _number(name: str, value: float | str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        auto = " or 'auto'" if name == "learning_rate" else ""
        raise ConfigError(f"{name} must be a number{auto}, not {value!r}") from error


def _require_not_negative(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name} must be a finite number, 0 or larger, not {value}")


def require_known_parallelism(args: TrainingArguments) -> None:
    """Refuse context, sequence and tensor parallelism, which shared prefixes do not know. Raises ConfigError."""
    config = getattr(args, "parallelism_config", None)
    for name in ("cp_size", "sp_size", "tp_size"):
        if config is not None and (getattr(config, name, 1) or 1) > 1:
            raise ConfigError(
                f"parallelism_config with {name}={getattr(config, name)} is not supported: use fsdp or DeepSpeed, or "
                "train with ms-swift's Megatron on the same data (rewardsmith data convert --to ms-swift)"
            )


def automatic_learning_rate(num_parameters: int, has_adapter: bool) -> float:
    """Choose a learning rate by model size: <1B 2e-5, 1-7B 1e-5, larger 5e-6 for full training; LoRA 1e-4."""
    if has_adapter:
        return LORA_LEARNING_RATE
    return next(rate for size, rate in LEARNING_RATES if num_parameters < size)


def take_new_names(args: TrainingArguments) -> None:
    """Set what newer transformers calls activation checkpointing from TRL's names, which it warns of at every start."""
    for old in ("gradient_checkpointing", "gradient_checkpointing_kwargs"):
        new = old.replace("gradient", "activation")
        if getattr(args, new, "absent") is None:
            setattr(args, new, getattr(args, old))


def read_config(**values: object) -> RewardConfig:
    """Build the settings of a run. Raises ConfigError for what other packages refuse, and for a run of no step."""
    try:
        config = RewardConfig(**values)  # type: ignore[arg-type]
    except ConfigError:
        raise
    except (ValueError, TypeError, ImportError, RuntimeError) as error:
        raise ConfigError(f"settings refused: {str(error).splitlines()[0]}") from error
    if config.max_steps == 0 or (config.max_steps < 0 and not config.num_train_epochs > 0):
        raise ConfigError(
            f"max_steps={config.max_steps} with num_train_epochs={config.num_train_epochs:g} trains nothing; "
            "give a positive number to one of them, and leave the other out"
        )
    return config
