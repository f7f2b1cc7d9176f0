"""What the checks of a checkpoint look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewardsmith.findings import Level
from rewardsmith.models.contract import ScoringContract
from rewardsmith.models.rendering import Renderer


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
