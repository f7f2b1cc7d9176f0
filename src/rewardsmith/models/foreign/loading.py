"""Tell the layout of a foreign reward model and load it by its importer."""

from __future__ import annotations

import re
from typing import Any

from transformers import PreTrainedConfig

from rewardsmith.errors import CheckpointError
from rewardsmith.models.foreign import own_code, value_heads
from rewardsmith.models.foreign.folder import Folder, open_folder, read_config
from rewardsmith.models.foreign.imported import Imported, ImportOptions, ScoringRule

# A head in several layers, as nn.Sequential names them.
DEEP_HEAD = re.compile(
    r"(?:\w+\.)?(?:score|classifier|regression_layer|out_proj|\w*head\w*)(?:\.\w+)?\.\d+\.(?:weight|bias)"
)
# The first that recognises a folder loads it; what is told by a class of its own stands before what is told by a head.
LAYOUTS = (
    own_code.PAIR_COMPARER,
    own_code.STEP_CLASSIFIER,
    value_heads.OPENASSISTANT,
    own_code.MULTI_OBJECTIVE,
    own_code.REWARD_CLASS,
    value_heads.LLAMAFACTORY,
    value_heads.TRL,
    value_heads.DEEPSPEED_CHAT,
    value_heads.OPENRLHF,
)


def load_foreign(path: str, options: ImportOptions) -> Imported | None:
    """Load a model of another tool; None for what transformers' sequence classifiers and adapters of them load.

    Raises:
        CheckpointError: no layout is recognised, or its weights are not complete.
    """
    config = read_config(path)
    if _is_standard(config):
        return None
    folder = open_folder(path, config) if config or _is_folder(path) else None
    if folder is None:
        return None
    for layout in LAYOUTS:
        if layout.recognises(folder):
            return layout.load(folder, options)
    if folder.is_adapter or not config:
        return None
    raise CheckpointError(_unknown(folder))


def standard_rule(config: PreTrainedConfig, skips_padding: bool) -> tuple[ScoringRule, float | None, float | None]:
    """Return the rule of a sequence classifier without a contract, with the mean and std its config may name."""
    mean, std = getattr(config, "mean", None), getattr(config, "std", None)
    known = isinstance(mean, int | float) and isinstance(std, int | float) and std > 0
    reward = f"raw; normalized=True gives (raw - {mean:.6g}) / {std:.6g}" if known else "raw"
    last = "the last token that is not the pad token, which is also EOS" if skips_padding else "the last token"
    rule = ScoringRule("sequence classifier", f"{last}, or as the class pools, by the model's own head", reward=reward)
    return (rule, float(mean), float(std)) if known else (rule, None, None)  # type: ignore[arg-type]


def _is_standard(config: dict[str, Any]) -> bool:
    names = config.get("architectures") or ()
    if config.get("value_head_prefix", "score") != "score":
        return False
    return any(str(name).endswith("ForSequenceClassification") for name in names) or "reward_pooling" in config


def _is_folder(path: str) -> bool:
    from pathlib import Path

    return Path(path).is_dir()


def _unknown(folder: Folder) -> str:
    accepted = "; ".join(["*ForSequenceClassification with one label", *(layout.accepts for layout in LAYOUTS)])
    deep = sorted(name for name in (*folder.head_files, *folder.files) if DEEP_HEAD.fullmatch(name))
    if deep:
        layers = len({name.rpartition(".")[0] for name in deep})
        return (
            f"{folder.path} has a head of {layers} layers ({', '.join(deep[:4])}), which no known layout computes. "
            f"Accepted: {accepted}"
        )
    return (
        f"{folder.path} has no reward head that is known, so its rewards would be random. "
        f"Found: {folder.describe()}. Accepted: {accepted}"
    )
