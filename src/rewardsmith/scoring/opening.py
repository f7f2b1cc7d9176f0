"""Open a reward model by its place: which models, and how they are run, in a form that other processes can be sent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from rewardsmith.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)
BYTES_OF_A_TOKEN = 4
if TYPE_CHECKING:
    from rewardsmith.scoring.scorer import RewardScorer


@dataclass(frozen=True)
class ModelOptions:
    """How a local reward model is run, the same for every command; the names are those of `from_pretrained`.

    Args:
        device: None takes a GPU where there is one.
        dtype: None is float32 on a CPU, bfloat16 on a GPU.
        tokens_per_batch: distinct tokens of one forward; None chooses by device.
        trust_remote_code: run Python code that a checkpoint brings.
        truncate_prompt: cut the start of a prompt where a text is too long; an error otherwise.
        verify: compare the golden rewards of a checkpoint that has some before anything is scored.
        special_tokens: what happens to control tokens inside texts: "allow", "as_text" or "refuse".
        combine, penalty: how the rewards of an ensemble become one.
        aggregate: how the scores of a step model become one.
        compile: compile the layers: "on", "off", or "auto", where a CPU's work repays it.
        chat_template: a Jinja file, "plain" or "chatml", for a model that was not trained on a template that it holds.
        revision: branch, tag or commit of a hub id that names none itself ("owner/name@REVISION").
        expected_tokens: about how many tokens will be scored, for "auto"; 0 where nobody knows.
    """

    device: str | None = None
    dtype: str | None = None
    tokens_per_batch: int | None = None
    trust_remote_code: bool = False
    truncate_prompt: bool = False
    verify: bool = True
    special_tokens: str = "allow"
    combine: str = "mean"
    penalty: float = 1.0
    aggregate: str = "min"
    compile: str = "off"
    chat_template: str | None = None
    revision: str | None = None
    expected_tokens: float = field(default=0.0, compare=False)


class OpenOptions(TypedDict, total=False):
    """`ModelOptions` as arguments of a function; every one may be left out."""

    device: str | None
    dtype: str | None
    tokens_per_batch: int | None
    trust_remote_code: bool
    truncate_prompt: bool
    verify: bool
    special_tokens: str
    combine: str
    penalty: float
    aggregate: str
    compile: str
    chat_template: str | None
    revision: str | None


@dataclass(frozen=True)
class ModelSpec:
    """A reward model by its place and how it is run; several places are one ensemble."""

    paths: tuple[str, ...]
    options: ModelOptions = field(default_factory=ModelOptions)

    @classmethod
    def of(cls, name: str, ensemble: Sequence[str] = (), options: ModelOptions | None = None) -> ModelSpec:
        """Read a model's name: a folder or hub id, or several with commas between them; `ensemble` names more."""
        return cls((*split_members(name), *ensemble), options or ModelOptions())

    @property
    def name(self) -> str:
        """The places in one text."""
        return ",".join(self.paths)

    def require_outside(self, out: Path) -> None:
        """Refuse an output in the folder of a model: rewards are bound to what lies there. Raises ConfigError."""
        inside = next((path for path in self.paths if Path(path).resolve() in out.resolve().parents), None)
        if inside is not None and Path(inside).is_dir():
            raise ConfigError(f"{out}: lies in the model's own folder, which it would change; write it elsewhere")

    def open(self) -> RewardScorer:
        """Load the model.

        Raises:
            CheckpointError: it cannot be loaded, or a weight is not finite: every reward of it would be lost.
            ConfigError: prompts shall be cut for a model that compares answers.
        """
        from transformers.utils import logging

        from rewardsmith.scoring.reward_model import RewardModel

        # A bar over the weights says nothing that a user could act on.
        logging.disable_progress_bar()
        how = self.options
        model = RewardModel.from_pretrained(
            self.paths[0] if len(self.paths) == 1 else self.paths,
            device=how.device,
            dtype=how.dtype,
            tokens_per_batch=how.tokens_per_batch,
            trust_remote_code=how.trust_remote_code,
            combine=how.combine,
            penalty=how.penalty,
            aggregate=how.aggregate,
            verify=how.verify,
            special_tokens=how.special_tokens,
            truncation="truncate_prompt" if how.truncate_prompt else None,
            chat_template=how.chat_template,
            revision=how.revision,
        )
        bad = find_bad_weight(model)
        if bad is not None:
            raise CheckpointError(
                f"{self.name}: the weight {bad} holds NaN or infinity, so no text can be scored; take another "
                "checkpoint, or load it with --dtype float32 if it overflows"
            )
        for said in [member.compile(how.compile, how.expected_tokens) for member in model.members]:
            if said:
                logger.warning("%s: %s", self.name, said)
        return model


def count_tokens_about(place: object) -> float:
    """Return about how many tokens a file or folder of texts holds, some four bytes each; 0 for a hub id or nothing."""
    path = Path(str(place or "/dev/null"))
    files = [path] if path.is_file() else path.rglob("*") if path.is_dir() else []
    return sum(file.stat().st_size for file in files if file.is_file()) / BYTES_OF_A_TOKEN


def split_members(name: str) -> tuple[str, ...]:
    """Return the places that "a,b,c" names; what exists under the whole name is one place."""
    if "," not in name or Path(name).exists():
        return (name,)
    members = tuple(part.strip() for part in name.split(","))
    if not all(members):
        raise ConfigError(f"{name!r}: a member of the ensemble has no name; give them as a,b,c")
    return members


def find_bad_weight(model: RewardScorer) -> str | None:
    """Name the first weight that is not finite, None when all are."""
    import torch

    for member in model.members:
        for name, weight in member.model.named_parameters():
            if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
                return str(name) if member is model else f"{name} of {member.name}"
    return None
