"""A language model trained on the texts of preference data: the first stage of preference-model pre-training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    set_seed,
)

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.files.writing import write_json
from rewardsmith.models import fresh_model
from rewardsmith.models.foreign.folder import named_revision, nobody_asked, why_not
from rewardsmith.models.long_texts import first_ids
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.tokenizer import prepare_tokenizer
from rewardsmith.records import PreferenceGroup, TokenIds
from rewardsmith.training import checkpoints, processes
from rewardsmith.training.adapter import ModelConfig
from rewardsmith.training.config import RewardConfig, automatic_learning_rate
from rewardsmith.training.record import TrainingProgress, provenance

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowCollator:
    """Pad rows of token ids on the right; padding has no label.

    Args:
        pad_token_id: fills the rows; attention leaves it out.
    """

    pad_token_id: int

    def __call__(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
        length = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), length), self.pad_token_id)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
            mask[number, : len(row["input_ids"])] = 1
        # The loss of transformers leaves labels of -100 out.
        return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


class LanguageTrainer(Trainer):
    """Trainer of transformers whose checkpoints are whole, and those of this run, or refused."""

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        save = partial(super()._save_checkpoint, model, trial)
        checkpoints.save_whole(self, str(self.args.output_dir), save, {}, self.identity)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint of this run says that it is of."""
        assert isinstance(self.args, RewardConfig)
        assert isinstance(self.model, nn.Module)
        return checkpoints.run_identity(self.args, self.model, self.train_dataset)


def train_language(model: ModelConfig, config: RewardConfig, groups: Sequence[PreferenceGroup]) -> None:
    """Train a language model on every distinct text of the groups, prompt and completion, as rewards read them.

    Goes on from the last whole checkpoint where `config.resume_from_checkpoint` says so. The folder holds model and
    tokenizer; a reward model starts from it with a new head.

    Raises:
        ConfigError: no model, or one that is no language model.
        DataError: no text of two tokens.
    """
    core, tokenizer = _model(model, config, groups)
    for note in prepare_tokenizer(tokenizer, core):
        logger.warning("%s", note)
    rows = encode_texts(groups, Renderer(tokenizer), config.max_length)
    # The hub gets the reward model that comes of it.
    config.push_to_hub = False
    if config.learning_rate == "auto":
        config.learning_rate = automatic_learning_rate(sum(p.numel() for p in core.parameters()), False)
    trainer = LanguageTrainer(
        model=core,
        args=config,
        data_collator=RowCollator(tokenizer.pad_token_id),
        train_dataset=Dataset.from_dict({"input_ids": rows}),
        processing_class=tokenizer,
        callbacks=[] if config.disable_tqdm else [TrainingProgress(("loss",))],
    )
    processes.close_at_exit(trainer.accelerator)
    # TrainingProgress shows what these two would.
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    folder = checkpoints.choose_checkpoint(config.resume_from_checkpoint, str(config.output_dir))
    if folder is not None:
        checkpoints.require_same_run(folder, trainer.identity)
    trainer.train(resume_from_checkpoint=folder)
    trainer.save_model()
    if trainer.is_world_process_zero():
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        record = {
            "texts": len(rows),
            "tokens": sum(map(len, rows)),
            "loss": losses[-1] if losses else None,
            "settings": config.to_dict(),
            **provenance(),
            "history": trainer.state.log_history,
        }
        write_json(Path(str(config.output_dir)) / "language.json", record)


def encode_texts(groups: Sequence[PreferenceGroup], renderer: Renderer, max_length: int | None) -> list[list[int]]:
    """Return the ids of every distinct text, cut at `max_length`. Raises DataError where none has two tokens."""
    found: dict[tuple[int, ...], None] = {}
    for group in groups:
        for completion in group.completions:
            if isinstance(completion, TokenIds):
                ids = list(completion)
            else:
                text = renderer.compose(group.prompt, completion, group.tools, group.chat_template_kwargs)
                ids = first_ids(renderer, text, max_length)
            if len(ids := ids[:max_length]) > 1:
                found[tuple(ids)] = None
    if not found:
        raise DataError("no text of two tokens to train a language model on; check dataset_name")
    return [list(ids) for ids in found]


@nobody_asked()
def _model(model: ModelConfig, config: RewardConfig, groups: Sequence[PreferenceGroup]) -> tuple[PreTrainedModel, Any]:
    """Return the model and its tokenizer."""
    if model.use_peft or model.load_in_4bit or model.load_in_8bit:
        raise ConfigError("a language-model stage trains every weight: leave use_peft and load_in_ to later stages")
    name = model.tokenizer_name_or_path or model.model_name_or_path
    if model.from_config:
        tokenizer = (
            fresh_model.load_tokenizer(name)
            if name
            else fresh_model.train_tokenizer(fresh_model.texts_of(groups), model.tokenizer_vocab_size)
        )
        return fresh_model.new_model(_tied, model.from_config, tokenizer, config.seed), tokenizer
    if not model.model_name_or_path:
        raise ConfigError("no model: set model_name_or_path to an id or a folder, or from_config to start fresh")
    set_seed(config.seed)
    place, revision = named_revision(model.model_name_or_path, model.model_revision)
    options = {"revision": revision, "trust_remote_code": config.trust_remote_code}
    try:
        core = AutoModelForCausalLM.from_pretrained(place, **options)
    except (OSError, ValueError) as error:
        reason = why_not(error)
        raise ConfigError(f"no language model could be loaded from {model.model_name_or_path!r}: {reason}") from error
    own = model.tokenizer_name_or_path
    return core, fresh_model.load_tokenizer(own) if own else fresh_model.load_tokenizer(place, revision)


def _tied(config: PreTrainedConfig, **options: object) -> PreTrainedModel:
    """Build a model whose token head is its embeddings, which a reward model keeps."""
    config.tie_word_embeddings = True
    made: PreTrainedModel = AutoModelForCausalLM.from_config(config, **options)
    return made
