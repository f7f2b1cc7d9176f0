"""TRL's `AutoModelForCausalLMWithValueHead`: a language model with `v_head.summary`, a linear layer with a bias."""

from __future__ import annotations

from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import Imported, ImportOptions, ScoringRule, TextRule
from rewardsmith.models.foreign.linear_head import LinearHead, build_classifier
from rewardsmith.models.tokenizer import IN_EOS

NAME = "TRL value head"
ACCEPTS = "v_head.summary.weight and .bias beside a language model (TRL)"
HEAD = LinearHead("v_head.summary.weight", "v_head.summary.bias")
TEXT = "the chat template, made to end in EOS; plain text is prompt plus completion plus EOS"


def recognises(folder: Folder) -> bool:
    """Whether the head stands among the weights."""
    return HEAD.weight in folder.files


def load(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head. Raises CheckpointError when weights are missing."""
    rule = ScoringRule(NAME, "the last token, by the linear value head with its bias", TEXT)
    head = HEAD if HEAD.bias in folder.files else LinearHead(HEAD.weight)
    model, notes = build_classifier(folder, head, options)
    return Imported(model, rule, TextRule(IN_EOS), notes=notes)
