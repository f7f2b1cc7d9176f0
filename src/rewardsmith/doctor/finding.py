"""What a check says, and what it looks at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rewardsmith.models.contract import ScoringContract
from rewardsmith.models.rendering import Renderer

Level = Literal["green", "yellow", "red"]
LEVELS: tuple[Level, ...] = ("green", "yellow", "red")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor.

    Args:
        level: "green" is well, "yellow" may ruin a run, "red" ruins it.
        check: short name of what was looked at; the headings of docs/doctor.md.
        message: what was found, with the numbers.
        remedy: what to do; "" when green.
    """

    level: Level
    check: str
    message: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """Give plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and tokenizer as they are, before anything is repaired.

    Args:
        model: the sequence classifier (without PEFT around it), or None when nothing is loaded.
        tokenizer: as loaded from its folder.
        config: the text config.
        renderer: renders as the model will be scored.
        contract: of the checkpoint; None when it has none.
        has_head: False for a language model that is still to be trained.
        is_adapter: the checkpoint is a LoRA adapter, so the config is its base's.
    """

    model: Any
    tokenizer: Any
    config: Any
    renderer: Renderer
    contract: ScoringContract | None = None
    has_head: bool = True
    is_adapter: bool = False

    @property
    def is_decoder(self) -> bool:
        """Whether a token at the end is scored; encoders frame and pool in their own way."""
        return not self.renderer.policy.closed_by_tokenizer

    @property
    def fault(self) -> Level:
        """Level of what `rewardsmith train` repairs: red in a reward model, yellow in one still to be trained."""
        return "red" if self.has_head else "yellow"


def worst(findings: Iterable[Finding]) -> Level:
    """Give the worst level; "green" when there is no finding."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="green")
