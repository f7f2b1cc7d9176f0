"""Which model a bulk job runs, in a form that can be sent to other processes, and what its rewards depend on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardsmith._version import __version__
from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.records import fingerprint
from rewardsmith.scoring.bulk.ledger import hash_files

# What rewards and their order depend on; the rooms above only call these.
CODE_ROOMS = ("preferences", "modeling", "scoring")


@dataclass(frozen=True)
class ModelSpec:
    """A reward model by its place and how it is run; the arguments are those of `RewardModel.from_pretrained`.

    `ensemble` names further members; `parts` keeps what each reward is made of; `truncate_prompt` cuts the start of a
    prompt where a text is too long, which is an error of its row otherwise.
    """

    path: str
    device: str | None = None
    dtype: str | None = None
    tokens_per_batch: int | None = None
    trust_remote_code: bool = False
    ensemble: tuple[str, ...] = ()
    combine: str = "mean"
    aggregate: str = "min"
    parts: bool = False
    truncate_prompt: bool = False

    def open(self) -> Any:
        """Load the model as it is. Raises CheckpointError when it cannot be loaded."""
        from rewardsmith.scoring.reward_model import RewardModel

        return RewardModel.from_pretrained(
            [self.path, *self.ensemble] if self.ensemble else self.path,
            device=self.device,
            dtype=self.dtype,
            tokens_per_batch=self.tokens_per_batch,
            trust_remote_code=self.trust_remote_code,
            combine=self.combine,
            aggregate=self.aggregate,
        )

    def load(self) -> Any:
        """Load the model for a bulk job.

        Raises:
            CheckpointError: it cannot be loaded, or a weight is not finite; every reward of it would be lost.
            ConfigError: prompts shall be cut for a model that compares answers.
        """
        model = self.open()
        name = find_bad_weight(model)
        if name is not None:
            raise CheckpointError(
                f"{self.path}: the weight {name} holds NaN or infinity, so no text can be scored; take another "
                "checkpoint, or load it with --dtype float32 if it overflows"
            )
        if self.truncate_prompt and not (model.scores_ids or hasattr(model, "members")):
            raise ConfigError(f"{self.path} compares answers and does not truncate; leave out --truncate-prompt")
        model.scores_by_row, model.keeps_parts = not model.scores_ids, self.parts
        model.cuts_prompts = self.truncate_prompt
        return model

    def fingerprints(self, model: Any) -> dict[str, str]:
        """Give what the rewards of the loaded model depend on, beside the input."""
        own = {"combine": self.combine, "aggregate": self.aggregate, "parts": str(self.parts)}
        own["truncation"] = "truncate_prompt" if self.truncate_prompt else "error"
        return {**model_fingerprints(model, self.path), **own}


def find_bad_weight(model: Any) -> str | None:
    """Name the first weight that is not finite, None when all are."""
    import torch

    for member in getattr(model, "members", (model,)):
        for name, weight in member.model.named_parameters():
            if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
                return str(name) if member is model else f"{name} of {member.name}"
    return None


def model_fingerprints(model: Any, path: str) -> dict[str, str]:
    """Give weights, template, precision, batches and package versions of a loaded model."""
    from rewardsmith.models.contract import package_versions, template_hash

    if members := getattr(model, "members", ()):
        own = [model_fingerprints(member, member.name) for member in members]
        return {key: fingerprint([prints[key] for prints in own]) for key in own[0]}
    folder = Path(path)
    commit = getattr(model.model.config, "_commit_hash", None)
    renderer, plan = getattr(model, "renderer", None), getattr(model, "plan", None)
    policy = str(renderer.policy.to_dict()) if renderer is not None else "comparer"
    weights = model.model.dtype, model.model.device.type, model.tokens_per_batch, plan is not None and plan.share
    return {
        "model": hash_files(folder) if folder.is_dir() else f"{path}@{commit}",
        "template": fingerprint([str(template_hash(model.tokenizer)), policy]),
        "dtype": " ".join(map(str, weights)),
        "packages": " ".join(f"{name}={version}" for name, version in sorted(package_versions().items())),
    }


def code_fingerprint() -> str:
    """Give the version and a hash of the source files that scoring runs through."""
    root = Path(__file__).resolve().parents[1]
    files = [path for room in CODE_ROOMS for path in sorted((root / room).rglob("*.py"))]
    texts = [text for path in files for text in (path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))]
    return f"{__version__} {fingerprint(texts)[:16]}"
