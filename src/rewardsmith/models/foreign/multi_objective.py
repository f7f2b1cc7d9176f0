"""Heads with several objectives through their own code: ArmoRM, QRM and what gives `.score` and `.rewards` alike."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from rewardsmith.errors import CheckpointError
from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import Imported, ImportOptions, Reading, ScoringRule, load_remote
from rewardsmith.records import Completion

NAME = "multi-objective head"
ACCEPTS = "a sequence classifier through its own code with .score, .rewards, .gating_output (ArmoRM, QRM)"
AUTO_CLASS = "AutoModelForSequenceClassification"


def recognises(folder: Folder) -> bool:
    """Whether the folder brings a classifier of its own."""
    return bool(folder.remote_class(AUTO_CLASS))


def load(folder: Folder, options: ImportOptions) -> Imported:
    """Load by the folder's code. Raises CheckpointError without permission, or when weights are missing."""
    model = load_remote(AutoModelForSequenceClassification, folder, options)
    scored = "what its own code returns as score, from the objectives it returns as rewards"
    refusal = "its reward is a mixture that depends on the prompt; a linear head cannot express it"
    return Imported(model, ScoringRule(NAME, scored), reader=ObjectiveReader(), refusal=refusal)


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
