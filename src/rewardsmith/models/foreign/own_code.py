"""Reward models through Python code that their folder brings: heads with several objectives, and reward classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification

from rewardsmith.errors import CheckpointError
from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import (
    Imported,
    ImportOptions,
    Layout,
    Reading,
    ScoringRule,
    TextRule,
    load_remote,
)
from rewardsmith.records import Completion

CLASSIFIER = "AutoModelForSequenceClassification"


def _is_objectives(folder: Folder) -> bool:
    """Whether the folder brings a classifier of its own."""
    return bool(folder.remote_class(CLASSIFIER))


def _load_objectives(folder: Folder, options: ImportOptions) -> Imported:
    """Load by the folder's code. Raises CheckpointError without permission, or when weights are missing."""
    model = load_remote(AutoModelForSequenceClassification, folder, options)
    scored = "what its own code returns as score, from the objectives it returns as rewards"
    refusal = "its reward is a mixture that depends on the prompt; a linear head cannot express it"
    return Imported(model, ScoringRule("multi-objective head", scored), reader=ObjectiveReader(), refusal=refusal)


class ObjectiveReader:
    """Read `.score` as the reward, `.rewards` as attributes and `.gating_output` as their weights."""

    def prepare(self, completion: Completion) -> Completion:
        """Give the completion as it is."""
        return completion

    def check(self, ids: Sequence[int]) -> None:
        """Take every sequence."""

    def read(self, model: nn.Module, input_ids: Tensor) -> list[Reading]:
        """Score rows of one length. Shapes: input_ids [U, L] -> U readings."""
        output = model(input_ids=input_ids, attention_mask=input_ids.new_ones(input_ids.shape))
        score = getattr(output, "score", None)
        score = getattr(output, "logits", None) if score is None else score
        if score is None or score.numel() != len(input_ids):
            raise CheckpointError(f"{type(model).__name__} returned no .score with one number a text")
        rows = [dict[str, float]() for _ in input_ids]
        for prefix, tensor in (
            ("", getattr(output, "rewards", None)),
            ("gate/", getattr(output, "gating_output", None)),
        ):
            if tensor is not None and tensor.ndim == 2:
                names = objective_names(model.config, tensor.shape[1])
                for row, values in zip(rows, tensor.float().tolist(), strict=True):
                    row.update({prefix + name: value for name, value in zip(names, values, strict=True)})
        return [Reading(value, row) for value, row in zip(score.float().reshape(-1).tolist(), rows, strict=True)]


def objective_names(config: object, count: int) -> list[str]:
    """Name the objectives as the config does, or by number."""
    for name in ("attributes", "objectives", "objective_names"):
        names = getattr(config, name, None)
        if isinstance(names, list | tuple) and len(names) == count:
            return [str(entry) for entry in names]
    labels = getattr(config, "id2label", None) or {}
    if len(labels) == count and not any(str(label).startswith("LABEL_") for label in labels.values()):
        return [str(labels[index]) for index in sorted(labels)]
    return [f"objective_{index}" for index in range(count)]


MULTI_OBJECTIVE = Layout(
    "a sequence classifier through its own code with .score, .rewards, .gating_output (ArmoRM, QRM)",
    _is_objectives,
    _load_objectives,
)


CLASS_TEXT = "the tokenizer's chat template as it is; plain text is prompt plus completion plus EOS"


def _is_reward_class(folder: Folder) -> bool:
    """Whether the folder's code gives a class that is named a reward model."""
    return "reward" in folder.remote_class("AutoModel").lower()


def _load_reward_class(folder: Folder, options: ImportOptions) -> Imported:
    """Load by the folder's code. Raises CheckpointError without permission, or when weights are missing."""
    model = load_remote(AutoModel, folder, options)
    # InternLM2's get_score puts a token of its own after the conversation and scores there.
    token = folder.config.get("reward_token_id")
    scored = (
        "the last token, by its own code" if token is None else f"reward token {token} after the text, by its own code"
    )
    text = CLASS_TEXT if token is None else f"{CLASS_TEXT}, then reward token {token}"
    refusal = "its backbone is code of its own, which the standard layout does not hold"
    rule = ScoringRule(f"reward class {folder.remote_class('AutoModel')}", scored, text)
    return Imported(model, rule, TextRule(appended_id=token), reader=LogitReader(), refusal=refusal)


class LogitReader:
    """Read one number a row off the logits; of logits for every token the last."""

    def prepare(self, completion: Completion) -> Completion:
        """Give the completion as it is."""
        return completion

    def check(self, ids: Sequence[int]) -> None:
        """Take every sequence."""

    def read(self, model: nn.Module, input_ids: Tensor) -> list[Reading]:
        """Score rows of one length. Shapes: input_ids [U, L] -> U readings."""
        output = model(input_ids=input_ids, attention_mask=input_ids.new_ones(input_ids.shape))
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        logits = output[0] if logits is None else logits
        if logits.ndim > 1 and logits.shape[1] == input_ids.shape[1] and logits[0].numel() == input_ids.shape[1]:
            logits = logits.reshape(input_ids.shape)[:, -1]
        if logits.numel() != len(input_ids):
            raise CheckpointError(
                f"{type(model).__name__} returned logits of the shape {list(logits.shape)}, not one a text"
            )
        return [Reading(value) for value in logits.float().reshape(-1).tolist()]


REWARD_CLASS = Layout(
    "a reward class behind AutoModel through its own code (InternLM2ForRewardModel, Qwen2ForRewardModel)",
    _is_reward_class,
    _load_reward_class,
)
