"""What an importer gives: the model, the rule by which it scores, and whether the standard layout can hold it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rewardsmith.models.foreign.reading import Reader


@dataclass(frozen=True)
class ScoringRule:
    """How a model without a scoring contract is scored; it is stated when the model is loaded.

    Args:
        layout: whose layout was recognised.
        scored: which hidden state the head reads, and what the head is.
        text: how prompt and completion become token ids.
        reward: what the number is: raw, aggregated, on which scale.
    """

    layout: str
    scored: str
    text: str = "the tokenizer's chat template as it is; plain text is prompt plus completion plus EOS"
    reward: str = "raw"

    def __str__(self) -> str:
        return f"layout: {self.layout}; scored: {self.scored}; text: {self.text}; reward: {self.reward}"


@dataclass(frozen=True)
class TextRule:
    """Where the text of a layout departs from the template or text plus EOS.

    Args:
        ends_in_eos: rewrite a chat template so that it ends in EOS, as the tool that trained the model feeds it.
        appended_id: token that is put after every text, and scored.
        skips_padding: as Hugging Face's pooling does, score the last token that is not the pad token.
    """

    ends_in_eos: bool = False
    appended_id: int | None = None
    skips_padding: bool = False


@dataclass
class Imported:
    """A foreign model in memory.

    Args:
        model: a sequence classifier with a linear head, or whatever class its own code brings.
        rule: how it is scored.
        text: how its texts are tokenised.
        reward_mean, reward_std: what `normalized=True` subtracts and divides by; None when the folder names none.
        reader: computes rewards of a model that is no sequence classifier; None for one that is.
        is_comparer: whether it compares two answers instead of scoring one.
        refusal: why the standard layout cannot hold it; "" when it can.
        notes: what else there is to say.
    """

    model: Any
    rule: ScoringRule
    text: TextRule = field(default_factory=TextRule)
    reward_mean: float | None = None
    reward_std: float | None = None
    reader: Reader | None = None
    is_comparer: bool = False
    refusal: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ImportOptions:
    """How a foreign model is loaded.

    Args:
        trust_remote_code: whether Python code of the folder may run.
        aggregate: how step scores become one reward: "min", "product", "last" or "mean".
        model: further arguments of `from_pretrained`, such as dtype.
    """

    trust_remote_code: bool = False
    aggregate: str = "min"
    model: dict[str, Any] = field(default_factory=dict)
