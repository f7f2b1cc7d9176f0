"""RewardTrainer: TRL's constructor and metric names over the shared-prefix forward and Rewardsmith's objectives."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, SequentialSampler
from transformers import EvalPrediction, PreTrainedModel, Trainer, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, PredictionOutput, TrainOutput

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.models import checkpoint
from rewardsmith.models.hub import model_files
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.steps import StepRule
from rewardsmith.training import checkpoints, encoding, loaders, precision, processes, publishing
from rewardsmith.training import model as models
from rewardsmith.training.checkpoints import StopOnSignal
from rewardsmith.training.collator import read_batch
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.encoding import EncodingReport
from rewardsmith.training.frozen import FrozenRun, train_head
from rewardsmith.training.hub import OF_RUN, HubMixin, all_tags
from rewardsmith.training.labels import ComparisonTask, Task, settle_labels
from rewardsmith.training.loss import combine, is_labelled, mean_over_sets, require_finite, step_totals
from rewardsmith.training.steps.settings import require_trainer
from rewardsmith.training.streams import EncodedStream, require_steps

logger = logging.getLogger(__name__)


class RewardTrainer(HubMixin, Trainer):
    """Train a reward model on pairs, rankings, ties and soft labels.

    A drop-in for TRL's RewardTrainer: the same arguments, data sets and metric names give the same losses, with every
    distinct token of a row computed once. See docs/migrating-from-trl.md for what is deliberately different.

    Args:
        model: a model id or path, a sequence classifier with one label, or a PeftModel around one.
        args: a RewardConfig; None takes the defaults and an output folder named after the model.
        data_collator: None for ours. A collator of TRL's form gets rows with `chosen_ids`, `rejected_ids`, `margin`.
        train_dataset: rows of any supported format as a `Dataset` or `IterableDataset`, or PreferenceGroups.
        eval_dataset: the same, or a dictionary of them.
        processing_class: the tokenizer; None loads the model's. `tokenizer` is taken as another name for it.
        compute_metrics: gets predictions `[P, 2]` (reward of the better and of the worse side) and labels of zeros.
        quantization_config: used when `model` is a string.
        peft_config: wraps the model; the reward head is always trained and saved with the adapter.

    Raises:
        ConfigError: a model with two labels, a missing tokenizer part, an unknown setting.
        DataError: rows that cannot be read, or none left.

    Example:
        `RewardTrainer("Qwen/Qwen2.5-0.5B-Instruct", train_dataset=dataset).train()`
    """

    # compute_loss divides by the comparisons of the whole optimizer step itself.
    loss_is_scaled_for_ga = True
    # Trainer leaves these optional or general; here they are always set, and ours.
    args: RewardConfig
    model: Any
    train_dataset: Any
    eval_dataset: Any
    # The place in a stream, the checkpoint that a run goes on from.
    stream: loaders.StreamBatches | None = None
    resumed_from: str | None = None
    frozen: FrozenRun | None = None
    # Digest of what decides a head that is fitted at once.
    fitted: str | None = None
    # What people judged: whole answers, or steps, and how those are written.
    task: Task = ComparisonTask()
    steps: StepRule | None = None
    # Those of TRL too, by which reward models are found on the hub.
    _tag_names = ("rewardsmith", "reward-model", "reward-trainer", "trl")

    def __init__(
        self,
        model: str | PreTrainedModel | nn.Module,
        args: RewardConfig | None = None,
        data_collator: Callable[..., Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        compute_metrics: Callable[[EvalPrediction], dict] | None = None,
        callbacks: list | None = None,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type, dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Tensor, Tensor], Tensor] | None = None,
        quantization_config: object = None,
        peft_config: object = None,
        tokenizer: Any = None,
    ) -> None:
        if train_dataset is None:
            raise DataError("train_dataset is required: pass a Dataset, an IterableDataset or preference groups")
        if processing_class is not None and tokenizer is not None and processing_class is not tokenizer:
            raise ConfigError("pass the tokenizer once, as processing_class or as tokenizer")
        args = args if args is not None else RewardConfig(models.default_output_dir(model))
        require_steps(train_dataset, args)
        require_trainer(args, self.task.judges_steps)
        if not self.task.judges_steps:
            settle_labels(args, train_dataset)
        parts = models.prepare(model, args, processing_class or tokenizer, quantization_config, peft_config)
        # A dispatcher would slice the batches of a stream, which hold groups of unequal size.
        args.accelerator_config.dispatch_batches = False  # type: ignore[union-attr]
        self.plan = processes.plan_model(parts.model, args)
        models.log_plan(self.plan, parts.notes)
        self.encoder = self.task.encoder(parts, args)
        self.encoding_reports: dict[str, EncodingReport] = {}
        self.args = args  # what _prepare reads before Trainer sets it
        self._own_collator, self.training_rows = data_collator is None, train_dataset
        super().__init__(
            model=parts.model,
            args=args,
            data_collator=data_collator or self.task.collator(self.plan, args),
            train_dataset=encoding.drawn(self._prepare(train_dataset, "train"), args),
            eval_dataset=self._prepare_eval(eval_dataset),
            processing_class=parts.tokenizer,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
            preprocess_logits_for_metrics=preprocess_logits_for_metrics,
        )
        processes.require_processes(args, self.accelerator)
        processes.close_at_exit(self.accelerator)
        self.can_return_loss, self.label_names = True, []
        self.step_loss = self.task.loss(args, self.model, self.train_dataset).to(args.device)
        self._metrics = {name: self.task.metrics(name) for name in ("train", "eval")}
        self._num_tokens, self._offload = 0, models.activation_offloading(args)
        models.compile_model(self)
        # Steps that an earlier process trained, of a run that goes on.
        self.first_step, self.batches_per_step = 0, args.gradient_accumulation_steps * args.world_size
        self.stopper = StopOnSignal()
        self.add_callback(self.stopper)
        core_model(self.model).add_model_tags(list(self._tag_names))

    def _prepare(self, dataset: object, name: str) -> Any:
        if not self._own_collator:
            return encoding.encode_pairs(dataset, self.encoder, name)
        encoded, report = self.task.encode(dataset, self.encoder, name, self.args)
        if report.rows or isinstance(encoded, EncodedStream):
            self.encoding_reports[name] = report
        if report.rows:
            logger.log(logging.WARNING if report.dropped else logging.INFO, "%s: %s", name, report)
        return encoded

    def _prepare_eval(self, dataset: object) -> Any:
        if isinstance(dataset, Mapping):
            return {name: self._prepare(part, name) for name, part in dataset.items()}
        return dataset if dataset is None or isinstance(dataset, str) else self._prepare(dataset, "eval")

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            tokenised = ["chosen_ids", "rejected_ids", "margin"]
            self._signature_columns: Any = tokenised if not self._own_collator else list(self.task.features)

    def get_train_dataloader(self) -> DataLoader:
        """Return batches of rows, or of `tokens_per_batch` distinct tokens."""
        args, is_plain = self.args, isinstance(self.train_dataset, Dataset)
        is_plain = is_plain and args.tokens_per_batch is None and args.world_size == 1 and not args.shuffle_buffer
        if is_plain or not self._own_collator:
            return super().get_train_dataloader()
        return loaders.train_loader(self)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Return the evaluation batches, filled by tokens where training is."""
        name = eval_dataset if isinstance(eval_dataset, str) else None
        dataset = self.eval_dataset[name] if name else (self.eval_dataset if eval_dataset is None else eval_dataset)
        found = loaders.eval_loader(self, dataset)
        return super().get_eval_dataloader(eval_dataset) if found is None else found

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        """Return the batches of `predict`, filled as those of evaluation."""
        found = loaders.eval_loader(self, test_dataset)
        return super().get_test_dataloader(test_dataset) if found is None else found

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy == "group_by_length" and self._own_collator:
            found = loaders.length_sampler(self, self.train_dataset if train_dataset is None else train_dataset)
            if found is not None:
                return found
        return super()._get_train_sampler(train_dataset)

    def _get_eval_sampler(self, eval_dataset: object) -> Any:
        # Evaluation keeps the order of the rows, however those of training are grouped.
        if self.args.world_size > 1 or not isinstance(eval_dataset, Dataset):
            return None
        return SequentialSampler(eval_dataset)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list, Any]:
        """Collect the micro-batches of a step and what its loss is divided by."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.step_loss.threshold is not None:
            # Trainer clears the gradients of the model alone; the threshold is none of its parameters.
            self.step_loss.threshold.grad = None
        if not samples or not self._own_collator:
            return samples, None
        totals, tokens = step_totals(self, samples)
        self._num_tokens += tokens
        return samples, totals

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the loss of a micro-batch as its share of the optimizer step's mean."""
        batch, comparisons = self.step_loss.asking(*read_batch(inputs, self.args.device))
        outputs, draws_GH = model(reward_batch=batch), inputs.get("draws") if self.model.training else None
        columns_BC, rewards_B = outputs.logits, self.task.rewards(outputs.logits)
        ratings = (inputs["ratings"],) if "ratings" in inputs else ()
        if self.model.training and not is_labelled(comparisons, *ratings):
            # A filler: its zero gradient keeps this process in step with the others.
            return 0.0 * columns_BC.sum()
        self.step_loss.note_start(rewards_B, comparisons)
        terms = self.step_loss.terms_of_output(outputs, comparisons, draws_GH, *ratings)
        loss = combine(terms, num_items_in_batch if isinstance(num_items_in_batch, dict) else None)
        if self.model.training and not isinstance(num_items_in_batch, dict):
            loss = loss / self.current_gradient_accumulation_steps
        if outputs.loss is not None:
            # Of balanced experts: a mean over the micro-batch, as in transformers.
            loss = loss + outputs.loss / self.current_gradient_accumulation_steps
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics.update(rewards_B, comparisons, batch)
        sums = [(name, float(total.detach()), float(count)) for name, (total, count) in terms.items()]
        if self.model.training and not self.args.fp16:
            require_finite(sums, self.state.global_step + 1)
        metrics.add_loss(sums)
        if self.model.training and not self._own_collator:
            self._num_tokens += batch.logical_tokens * self.accelerator.num_processes
        if not return_outputs:
            return loss
        return loss, self.task.shown(columns_BC, comparisons)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run a step inside the activation-offloading context, if that is on."""
        with self._offload():
            return super().training_step(*args, **kwargs)

    def prediction_step(
        self, model: nn.Module, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return the loss and, for `compute_metrics`, predictions and labels."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        predictions, targets = self.task.predictions(outputs)
        if prediction_loss_only or not len(predictions):
            return loss.detach(), None, None
        return loss.detach(), predictions, targets

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluate and report metrics whose every comparison counts alike, whatever the batches were."""
        self._metrics["eval"] = self.task.metrics("eval")
        if getattr(dataloader, "is_whole", self.args.world_size == 1):
            # accelerate would cut the last batch to its number of rows, and a row may have many comparisons.
            self.gather_function = lambda values: values
        how = (description, prediction_loss_only, ignore_keys, metric_key_prefix)
        with checkpoint.unrounded(self.model, self.args.full_eval_in_16_bits and not self.is_in_train):
            output = super().evaluation_loop(dataloader, *how)
        own = {**self._metrics["eval"].evaluated(), "num_tokens": float(self._num_tokens)}
        if type(self).compute_loss is not RewardTrainer.compute_loss:  # it may have added to the loss
            own.pop("loss", None)
        assert output.metrics is not None
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in own.items()})
        return output

    def evaluate(self, eval_dataset: object = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate on any form of data; of several sets, `eval_NAME` without a set's name is the mean over them."""
        prepared = self._prepare_eval(eval_dataset)
        metrics = super().evaluate(prepared, *args, **kwargs)
        several = self.eval_dataset if prepared is None else prepared
        if not isinstance(several, Mapping):
            return metrics
        return mean_over_sets(metrics, list(several), self.task.metrics("eval"))

    def predict(self, test_dataset: object, *args: Any, **kwargs: Any) -> PredictionOutput:
        """Return the rewards of both sides of every comparison, in any form of data that training takes."""
        return super().predict(self._prepare(test_dataset, "test"), *args, **kwargs)

    def create_model_card(  # type: ignore[override]
        self, model_name: str | None = None, dataset_name: object = None, tags: object = None, **kwargs: Any
    ) -> None:
        """Write the model card that goes to the hub; names and their order are TRL's."""
        named = {} if dataset_name is None else {"dataset": dataset_name}
        super().create_model_card(model_name=model_name, tags=all_tags(tags, self._tag_names), **{**named, **kwargs})

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the training metrics to a training log."""
        # A process with fillers alone has seen nothing, and takes part all the same.
        is_of_training = not logs.keys().isdisjoint(("loss", "train_loss"))
        if is_of_training and (seen := self._metrics["train"].of_all_processes(self.accelerator)).rewards:
            logs |= {**seen.summary(), "num_tokens": float(self._num_tokens)}
            self._metrics["train"] = self.task.metrics("train")
        super().log(logs, start_time)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Have the threshold of a tie model trained beside the weights, and float16 weights through copies."""
        optimizer = super().create_optimizer(*args, **kwargs)
        precision.keep_copies(optimizer, self.accelerator.distributed_type, self.args)
        processes.train_threshold(self, optimizer)
        return optimizer

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train, or go on from a whole checkpoint of the same data, model and settings; another is refused.

        SIGTERM, SIGHUP and Ctrl-C finish the step and save a checkpoint first, where checkpoints are saved at all.
        """
        self.saved_in, self.resumed_from, self.first_step = None, None, 0
        if self.args.freeze_backbone and (output := train_head(self, resume_from_checkpoint)) is not None:
            return output
        folder = checkpoints.choose_checkpoint(resume_from_checkpoint, str(self.args.output_dir))
        self.resumed_from = folder
        if self.args.world_size > 1:
            # Before a wrapper shards the weights.
            _ = self.identity
        if folder is not None:
            checkpoints.require_same_run(folder, {**self.identity, "batches_per_step": self.batches_per_step})
            processes.keep_steps(self, folder)
            state = checkpoints.saved_state(folder)
            self.first_step = state.global_step
            if state.global_step >= (last := loaders.last_step(self)):
                logger.warning("%s is the end of its run (%d steps): nothing more is trained", folder, last)
                return self._take_up(folder, state)
        with self.stopper.listening(self.args):
            output = super().train(folder, *args, **kwargs)
        self.stopper.raise_if_stopped(self.args, self.state)
        return output

    def _take_up(self, folder: str, state: TrainerState) -> TrainOutput:
        """Take a checkpoint after which no step is left; Trainer itself would train one more."""
        self._load_from_checkpoint(folder)
        self.state = state
        if self.args.load_best_model_at_end and state.best_model_checkpoint is not None:
            self._load_best_model()
        losses = [math.nan, *(row["loss"] for row in state.log_history if "loss" in row)]
        return TrainOutput(state.global_step, losses[-1], {})

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint of this run says that it is of."""
        return checkpoints.run_identity(self.args, self.model, self.train_dataset)

    def _init_training_state(self, *args: Any) -> tuple[int, int]:
        epochs, batches = super()._init_training_state(*args)
        return (0, 0) if self.stream is not None else (epochs, batches)  # a stream goes on from its place itself

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        def save() -> None:
            super(RewardTrainer, self)._save_checkpoint(model, trial)
            if self.stream is not None and self.args.should_save:
                folder = Path(self._get_output_dir(trial))
                self.stream.save(folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}")

        identity = {**self.identity, "batches_per_step": self.batches_per_step}
        objective = {**self.objective_state(), **self.step_loss.moments()}
        checkpoints.save_whole(self, self._get_output_dir(trial), save, objective, identity)

    def objective_state(self) -> dict[str, Any]:
        """Return what the objective has learned and counted, which the model's own files do not hold."""
        fitted = {} if self.fitted is None else {"run": self.fitted}
        return {**self.step_loss.state(), "num_tokens": self._num_tokens, **fitted}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, *args, **kwargs)
        state = checkpoints.read_objective(resume_from_checkpoint)
        self._num_tokens = int(state.get("num_tokens", 0))
        self.step_loss.take_up(state)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = output_dir or str(self.args.output_dir)
        publishing.save_complete(self, folder, lambda: super(RewardTrainer, self)._save(folder, state_dict))

    def save_here(self, folder: Path) -> None:
        """Replace a folder by the model as a whole, checked in a fresh process; CheckpointError keeps it aside."""
        publishing.save_whole(self, folder, lambda aside: super(RewardTrainer, self).save_model(aside, True))

    def files_to_push(self, folder: Path) -> list[str]:
        """Return what of a folder goes to the hub."""
        return model_files(folder, bool(self.args.save_merged), OF_RUN)
