"""OpenRLHF: a backbone and a linear head without bias, named by `value_head_prefix`; mean and std in the config."""

from __future__ import annotations

from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import Imported, ImportOptions, ScoringRule, TextRule
from rewardsmith.models.foreign.linear_head import LinearHead, build_classifier
from rewardsmith.models.tokenizer import IN_EOS, TemplateEnd

NAME = "OpenRLHF"
ACCEPTS = (
    "a linear head named by value_head_prefix, or score, value_head, reward_head, regression_head, score_head "
    "(OpenRLHF, UltraRM, Safe-RLHF)"
)
HEADS = ("score", "value_head", "reward_head", "regression_head", "score_head")
# Heads of other tools that are laid out alike.
OTHERS = ("reward_head", "regression_head", "score_head")
OTHER_TEXT = "the chat template, made to end in EOS; plain text is prompt plus completion plus EOS"
TEXT = "chat template or plain text, without newlines at its end; where EOS lacks, a blank and EOS follow"
# openrlhf/datasets/reward_dataset.py: rstrip("\n"), then " " + EOS unless it is there; no special tokens are added.
CLOSED = TextRule(TemplateEnd("\n", " "), has_bos=False, eos_gap=" ", strips_end="\n")


def recognises(folder: Folder) -> bool:
    """Whether a head of such a name stands among the weights of a backbone."""
    return bool(_prefix(folder)) and not folder.config.get("auto_map")


def load(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head. Raises CheckpointError when weights are missing."""
    prefix = _prefix(folder)
    bias = f"{prefix}.bias" if f"{prefix}.bias" in folder.files else ""
    mean, std = statistics(folder)
    model, notes = build_classifier(folder, LinearHead(f"{prefix}.weight", bias), options)
    reward = "raw" if std is None else f"raw; normalized=True gives (raw - {mean:.6g}) / {std:.6g}"
    own = prefix in OTHERS and not folder.config.get("value_head_prefix")
    rule = ScoringRule(NAME, f"the last token, by the linear head {prefix}", OTHER_TEXT if own else TEXT, reward)
    return Imported(model, rule, TextRule(IN_EOS) if own else CLOSED, mean, std, notes=notes)


def statistics(folder: Folder) -> tuple[float | None, float | None]:
    """Give the mean and standard deviation that training wrote into the config, or as buffers; None without them."""
    if "mean" in folder.config and folder.config.get("std"):
        return float(folder.config["mean"]), float(folder.config["std"])
    if "mean" in folder.files and "std" in folder.files:
        found = folder.read(["mean", "std"])
        return float(found["mean"].reshape(-1)[0]), float(found["std"].reshape(-1)[0])
    return None, None


def _prefix(folder: Folder) -> str:
    named = folder.config.get("value_head_prefix")
    names = (str(named),) if named else HEADS
    return next((name for name in names if f"{name}.weight" in folder.files), "")
