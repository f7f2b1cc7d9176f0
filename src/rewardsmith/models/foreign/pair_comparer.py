"""PairRM (llm-blender): a DeBERTa that reads two answers to one prompt and says by how much the first is better.

There is no reward of one answer; see `rewardsmith.scoring.comparer` for what is made of K answers. The published
`PairRM-hf` folder: a backbone under `pretrained_model`, a two-layer head `head_layer` that reads, side by side, the
hidden states of the source token and of a candidate's token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, DebertaV2Model
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2PreTrainedModel

from rewardsmith.errors import CheckpointError
from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import Imported, ImportOptions, Layout, ScoringRule
from rewardsmith.models.heads import quiet_loading

NAME = "PairRM comparer"
MARKS = ("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id")


class PairComparerModel(DebertaV2PreTrainedModel):
    """A DeBERTa with a head over the source token beside a candidate's token."""

    config_class = DebertaV2Config
    base_model_prefix = "pretrained_model"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.pretrained_model = DebertaV2Model(config)
        width, tasks = config.hidden_size, getattr(config, "n_tasks", 1)
        # The numbers of the layers are those of the published weights; dropout stands at 0 and 3.
        self.head_layer = nn.Sequential(
            nn.Identity(), nn.Linear(2 * width, width), nn.Tanh(), nn.Identity(), nn.Linear(width, tasks)
        )
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Give by how much the first candidate is better, in log odds. Shapes: [U, L] -> [U]."""
        hidden = self.pretrained_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        source, first, second = (self._at(hidden, input_ids, name) for name in MARKS)
        left = self.head_layer(torch.cat([source, first], dim=-1))
        right = self.head_layer(torch.cat([source, second], dim=-1))
        return (left - right).mean(-1)

    def _at(self, hidden: Tensor, input_ids: Tensor, mark: str) -> Tensor:
        """Give the hidden state at a mark's first place. Shapes: [U, L, D], [U, L] -> [U, D]."""
        place_U = (input_ids == getattr(self.config, mark)).int().argmax(-1)
        return hidden[torch.arange(len(hidden), device=hidden.device), place_U]


def recognises(folder: Folder) -> bool:
    """Whether the class or the weights are PairRM's."""
    return "PairRM" in folder.architecture or {"head_layer.1.weight", "head_layer.4.weight"} <= set(folder.files)


def load(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head. Raises CheckpointError when weights or marks are missing."""
    config = DebertaV2Config.from_pretrained(str(folder.path))
    absent = [mark for mark in MARKS if not isinstance(getattr(config, mark, None), int)]
    if absent:
        raise CheckpointError(
            f"{folder.path}: config.json lacks {', '.join(absent)}; take the -hf version of the model"
        )
    dtype = options.model.get("dtype", torch.float32)
    with quiet_loading():
        loaded: Any = PairComparerModel.from_pretrained(
            str(folder.path), config=config, output_loading_info=True, dtype=dtype
        )
    model, info = loaded
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        raise CheckpointError(f"{folder.path} lacks the weights {', '.join(missing[:4])}; rewards would be random")
    scored = "two answers to one prompt against each other, in both orders"
    text = "<|source|>prompt, <|candidate1|>answer, <|candidate2|>answer, each framed by the tokenizer"
    reward = "no scalar: the mean probability of beating the other answers of the prompt, so it depends on them"
    refusal = "it compares two answers; one answer alone has no reward"
    return Imported(model, ScoringRule(NAME, scored, text, reward), is_comparer=True, refusal=refusal)


LAYOUT = Layout("DebertaV2PairRM with head_layer over two candidates (llm-blender PairRM-hf)", recognises, load)
