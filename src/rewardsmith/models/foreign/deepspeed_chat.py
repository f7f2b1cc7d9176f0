"""DeepSpeed-Chat's `RewardModel`: the backbone under `rwtranrsformer` (its spelling) and `v_head` without bias."""

from __future__ import annotations

from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import Imported, ImportOptions, ScoringRule
from rewardsmith.models.foreign.linear_head import LinearHead, build_classifier

NAME = "DeepSpeed-Chat"
ACCEPTS = "v_head.weight beside a backbone under rwtranrsformer (DeepSpeed-Chat)"
# Forks correct the spelling.
PREFIXES = ("rwtranrsformer.", "rwtransformer.")
HEAD = "v_head.weight"


def recognises(folder: Folder) -> bool:
    """Whether the backbone has the prefix and the head is there."""
    return HEAD in folder.files and any(name.startswith(PREFIXES) for name in folder.files)


def load(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head. Raises CheckpointError when weights are missing."""
    bias = "v_head.bias" if "v_head.bias" in folder.files else ""
    model, notes = build_classifier(folder, LinearHead(HEAD, bias), options, rename=_standard_name)
    rule = ScoringRule(NAME, "the last token, by the linear head v_head")
    return Imported(model, rule, notes=notes)


def _standard_name(name: str, prefix: str) -> str:
    found = next((start for start in PREFIXES if name.startswith(start)), "")
    return f"{prefix}.{name[len(found) :]}" if found else name
