"""Reward classes behind `AutoModel` through their own code: InternLM2's (`v_head`, `get_score`), Qwen2.5-Math-RM's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from transformers import AutoModel

from rewardsmith.errors import CheckpointError
from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import Imported, ImportOptions, Reading, ScoringRule, TextRule, load_remote
from rewardsmith.records import Completion

NAME = "reward class"
ACCEPTS = "a reward class behind AutoModel through its own code (InternLM2ForRewardModel, Qwen2ForRewardModel)"
TEXT = "the tokenizer's chat template as it is; plain text is prompt plus completion plus EOS"


def recognises(folder: Folder) -> bool:
    """Whether the folder's code gives a class that is named a reward model."""
    return "reward" in folder.remote_class("AutoModel").lower()


def load(folder: Folder, options: ImportOptions) -> Imported:
    """Load by the folder's code. Raises CheckpointError without permission, or when weights are missing."""
    model = load_remote(AutoModel, folder, options)
    # InternLM2's get_score puts a token of its own after the conversation and scores there.
    token = folder.config.get("reward_token_id")
    scored = (
        "the last token, by its own code" if token is None else f"reward token {token} after the text, by its own code"
    )
    text = TEXT if token is None else f"{TEXT}, then reward token {token}"
    refusal = "its backbone is code of its own, which the standard layout does not hold"
    rule = ScoringRule(f"{NAME} {folder.remote_class('AutoModel')}", scored, text)
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
