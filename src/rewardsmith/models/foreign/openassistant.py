"""Open-Assistant's `GPTNeoXRewardModel`: GPT-NeoX, pooled by last token or mean, and `out_proj` with bias."""

from __future__ import annotations

from transformers import GPTNeoXConfig

from rewardsmith.errors import CheckpointError
from rewardsmith.models.foreign.folder import Folder
from rewardsmith.models.foreign.imported import Imported, ImportOptions, ScoringRule
from rewardsmith.models.foreign.linear_head import LinearHead, build_classifier
from rewardsmith.models.heads import to_pooled

NAME = "Open-Assistant"
ACCEPTS = "GPTNeoXRewardModel with out_proj (Open-Assistant)"
HEAD = LinearHead("out_proj.weight", "out_proj.bias")


def recognises(folder: Folder) -> bool:
    """Whether the config or the weights are of this class."""
    named = "gpt_neox_reward_model" in (folder.config.get("model_type"), *map(_snake, (folder.architecture,)))
    return named or (HEAD.weight in folder.files and any(name.startswith("gpt_neox.") for name in folder.files))


def load(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head. Raises CheckpointError when weights are missing or the pooling is not known."""
    if HEAD.weight not in folder.files:
        raise CheckpointError(f"{folder.path} has no reward head {HEAD.weight}; rewards would be random")
    pooling = folder.config.get("pooling") or "last"
    if pooling not in ("last", "mean"):
        raise CheckpointError(f"{folder.path}: pooling {pooling!r} is not known; Open-Assistant has last and mean")
    values = {
        key: value for key, value in folder.config.items() if key not in ("model_type", "pooling", "architectures")
    }
    head = HEAD if HEAD.bias in folder.files else LinearHead(HEAD.weight)
    model, notes = build_classifier(folder, head, options, GPTNeoXConfig(**values))
    if pooling == "mean":
        linear = model.score
        model = to_pooled(model, "mean")
        model.score = linear
    scored = "the last token" if pooling == "last" else "the mean of all tokens"
    text = "plain text in Open-Assistant's markup (<|prompter|>...<|endoftext|><|assistant|>...) plus EOS"
    return Imported(model, ScoringRule(NAME, f"{scored}, by the linear head out_proj with its bias", text), notes=notes)


def _snake(architecture: str) -> str:
    return "gpt_neox_reward_model" if architecture == "GPTNeoXRewardModel" else ""
