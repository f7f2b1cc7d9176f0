"""What an importer gives: the model, the rule by which it scores, and how its rewards are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rewardsmith.errors import CheckpointError, ScoringError
from rewardsmith.models.foreign.folder import Folder, why_not
from rewardsmith.models.heads import quiet_loading
from rewardsmith.models.rendering import TextPolicy
from rewardsmith.models.shared_prefix.packing import distinct
from rewardsmith.models.shared_prefix.plan import ForwardPlan
from rewardsmith.models.tokenizer import TemplateEnd
from rewardsmith.records import Completion


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
        end: how a chat template is made to end, as the tool that trained the model feeds it; None leaves it.
        is_plain_closed: whether EOS stands after a plain text; False where the tool scores it as it is.
        has_bos: whether a plain text gets the BOS that its tokenizer adds by itself.
        eos_gap, strips_end: as in TextPolicy.
        appended_id: token that is put after every text, and scored.
        skips_padding: as Hugging Face's pooling does, score the last token that is not the pad token.
    """

    end: TemplateEnd | None = None
    is_plain_closed: bool = True
    has_bos: bool = True
    eos_gap: str = ""
    strips_end: str = ""
    appended_id: int | None = None
    skips_padding: bool = False

    def policy(self, own: TextPolicy) -> TextPolicy:
        """Return the rule for plain texts, from the one that the tokenizer suggests."""
        return replace(
            own,
            bos_text=own.bos_text if self.has_bos else "",
            eos_text=own.eos_text if self.is_plain_closed else "",
            eos_gap=self.eos_gap,
            strips_end=self.strips_end,
            appended_id=self.appended_id,
        )


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


@dataclass(frozen=True)
class Layout:
    """How one tool lays its reward models out.

    Args:
        accepts: what such a folder holds, for the error that names all layouts.
        recognises: whether a folder is one.
        load: loads it; raises CheckpointError when weights are missing.
    """

    accepts: str
    recognises: Callable[[Folder], bool]
    load: Callable[[Folder, ImportOptions], Imported]


Groups = Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Reading:
    """One reward with what it was made of.

    Args:
        reward: the number.
        attributes: name -> score, for a head with several objectives.
        steps: score of each step, for a step model.
    """

    reward: float
    attributes: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[float, ...] = ()


class Reader(Protocol):
    """How to read rewards off a foreign model."""

    def prepare(self, completion: Completion) -> Completion:
        """Return the completion as the model wants it, such as with its step tokens."""

    def check(self, ids: Sequence[int]) -> None:
        """Refuse token ids that the model cannot judge. Raises ScoringError."""

    def read(self, model: nn.Module, input_ids: Tensor) -> list[Reading]:
        """Score rows of one length. Shapes: input_ids [U, L] -> U readings."""


@runtime_checkable
class GroupReader(Reader, Protocol):
    """A reader that computes what texts of a group share once."""

    def with_plan(self, plan: ForwardPlan) -> GroupReader:
        """Return the same reader, for a model that computes by this plan."""

    def read_groups(self, model: nn.Module, groups: Groups, tokens_per_batch: int) -> list[list[Reading]]:
        """Read every sequence of every group, in input order."""


def compute_readings(
    model: PreTrainedModel, reader: Reader, groups: Groups, tokens_per_batch: int
) -> list[list[Reading]]:
    """Read every sequence of every group, in input order; equal sequences are computed once.

    Raises:
        ScoringError: an empty sequence, or a reward that is not finite.
    """
    if isinstance(reader, GroupReader):
        return reader.read_groups(model, groups, tokens_per_batch)
    rows, index = distinct(sequence for group in groups for sequence in group)
    if any(not row for row in rows):
        raise ScoringError("a sequence without tokens was given; nothing can be scored in it")
    # Rows of one length go together: how a foreign model treats padding is not known.
    by_length: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        by_length.setdefault(len(row), []).append(number)
    readings: dict[int, Reading] = {}
    for length, numbers in by_length.items():
        size = max(1, tokens_per_batch // length)
        for start in range(0, len(numbers), size):
            chunk = numbers[start : start + size]
            found = _read_rows(model, reader, [rows[number] for number in chunk])
            readings.update(zip(chunk, found, strict=True))
    stream = iter(index)
    return [[readings[next(stream)] for _ in group] for group in groups]


def _read_rows(model: PreTrainedModel, reader: Reader, rows: list[tuple[int, ...]]) -> list[Reading]:
    with torch.no_grad():
        readings = reader.read(model, torch.tensor(rows, device=model.device))
    for reading in readings:
        if not -float("inf") < reading.reward < float("inf"):
            raise ScoringError(f"the model gave {reading.reward}; check its weights, or load it in fp32")
    return readings


def load_remote(auto_class: Any, folder: Folder, options: ImportOptions) -> Any:
    """Load by an auto class.

    Raises:
        CheckpointError: the folder's code may not run, fails, or leaves weights unset.
    """
    name = folder.remote_class(auto_class.__name__)
    if name and not options.trust_remote_code:
        raise CheckpointError(
            f"{folder.path} is scored by Python code of its own ({name}); read it, then allow it with "
            "trust_remote_code=True (--trust-remote-code)"
        )
    dtype = options.model.get("dtype", torch.float32)
    dtype = getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype
    try:
        with quiet_loading():
            model, info = auto_class.from_pretrained(
                str(folder.path), trust_remote_code=options.trust_remote_code, output_loading_info=True, dtype=dtype
            )
    except (OSError, ValueError, RuntimeError, ImportError, AttributeError) as error:
        raise CheckpointError(f"{folder.path}: its own code {name} cannot be loaded here: {why_not(error)}") from error
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        raise CheckpointError(f"{folder.path} lacks the weights {', '.join(missing[:4])}; rewards would be random")
    return model
