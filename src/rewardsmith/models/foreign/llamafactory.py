"""LLaMA-Factory: `value_head.safetensors` or `.bin` beside a language model, or beside a LoRA adapter of one."""

from __future__ import annotations

from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import Imported, ImportOptions, ScoringRule, TextRule
from rewardsmith.models.foreign.linear_head import LinearHead, build_classifier
from rewardsmith.models.foreign.trl_value_head import HEAD, TEXT

NAME = "LLaMA-Factory value head"
ACCEPTS = "value_head.safetensors or value_head.bin beside a language model or its LoRA adapter (LLaMA-Factory)"


def recognises(folder: Folder) -> bool:
    """Whether the head stands in a file of its own."""
    return HEAD.weight in folder.head_files


def load(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head; an adapter is merged into its base. Raises CheckpointError when weights are missing."""
    merged = ", its LoRA adapter merged" if folder.is_adapter else ""
    rule = ScoringRule(f"{NAME}{merged}", "the last token, by the linear value head with its bias", TEXT)
    head = HEAD if HEAD.bias in folder.head_files else LinearHead(HEAD.weight)
    return Imported(build_classifier(folder, head, options), rule, TextRule(ends_in_eos=True))
