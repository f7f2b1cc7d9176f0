"""The special tokens around a text, and a tokenizer prepared for reward models.

A prepared one has a pad token that ends no text, and a template that ends in the scored token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.errors import CheckpointError
from rewardsmith.models import templates

PAD_TOKENS = ("<|finetune_right_pad_id|>", "<pad>", "<|pad|>", "[PAD]", "<|padding|>", "<|endoftext|>")
NEW_PAD_TOKEN = "<|pad|>"


@dataclass(frozen=True)
class TextPolicy:
    """Which special tokens stand around a plain text.

    Args:
        closed_by_tokenizer: the tokenizer itself frames a text ([CLS] ... [SEP] of encoders); nothing is added.
        bos_text: written before a decoder's text, "" when its tokenizer adds none.
        eos_text: written after it, unless it stands there already.
        eos_gap: written between the text and an EOS that is added.
        strips_end: characters that go from the end of a text before it is closed.
        appended_id: token that some foreign models score; it is put after every text.
        skipped_id: pad token of a foreign model that also ends its texts: Hugging Face's pooling passes over it.
        pair_separator: what a foreign encoder was trained to read between a question and its answer.
    """

    closed_by_tokenizer: bool
    bos_text: str = ""
    eos_text: str = ""
    eos_gap: str = ""
    strips_end: str = ""
    appended_id: int | None = None
    skipped_id: int | None = None
    pair_separator: str | None = None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> TextPolicy:
        """Read off what the tokenizer adds by itself."""
        framed = tokenizer("a")["input_ids"]
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        start = next((i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), 0)
        if framed[start + len(bare) :]:
            return cls(True)
        bos = tokenizer.bos_token if start and framed[0] == tokenizer.bos_token_id else ""
        return cls(False, bos or "", tokenizer.eos_token or "")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextPolicy:
        """Read what a contract holds. Raises CheckpointError for a rule that this version does not know."""
        known = {item.name for item in fields(cls)}
        # Until now a contract also kept the marks of the template, which are read off the tokenizer.
        values = {name: value for name, value in values.items() if name != "rendered"}
        if unknown := sorted(values.keys() - known):
            raise CheckpointError(f"text_policy holds {', '.join(unknown)}, which is not known; upgrade rewardsmith")
        if not isinstance(values.get("closed_by_tokenizer"), bool):
            raise CheckpointError("text_policy lacks closed_by_tokenizer (true or false); save the model again")
        for name, value in values.items():
            kinds: tuple[type, ...] = (bool,) if name == "closed_by_tokenizer" else (int, str)
            wanted = int if name.endswith("_id") else str
            if value is not None and not isinstance(value, kinds if wanted is str and len(kinds) == 1 else wanted):
                raise CheckpointError(f"text_policy: {name} is {value!r}, no {wanted.__name__}; save the model again")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for the scoring contract; what is not set is left out."""
        kept = {"closed_by_tokenizer", "bos_text", "eos_text"}
        return {name: value for name, value in asdict(self).items() if name in kept or value not in (None, "")}

    def finish(self, ids: list[int]) -> list[int]:
        """Return the ids up to the token that is scored."""
        ids = without_end(ids, self.skipped_id)
        return ids if self.appended_id is None or ids[-1:] == [self.appended_id] else [*ids, self.appended_id]

    def close(self, text: str) -> str:
        """Return a plain text with the EOS that it lacks."""
        if not self.eos_text:
            return text
        if self.strips_end:
            text = text.rstrip(self.strips_end)
        return text if text.endswith(self.eos_text) else text + self.eos_gap + self.eos_text


def without_end(ids: list[int], token: int | None) -> list[int]:
    """Return ids without the copies of a token at their end; the first id always stays."""
    end = len(ids)
    while token is not None and end > 1 and ids[end - 1] == token:
        end -= 1
    return ids[:end]


def pair_separator(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the text that makes one text of two in the tokenizer's own way; None when there is none."""
    if not tokenizer.sep_token:
        return None
    first, second = "one", "two"
    pair = tokenizer(first, second)["input_ids"]
    for count in (1, 2):
        separator = tokenizer.sep_token * count
        if tokenizer(first + separator + second)["input_ids"] == pair:
            return separator
    return None


@dataclass(frozen=True, slots=True)
class TemplateEnd:
    """How a chat template is made to end: what goes from its end (None: white space), and what stands before EOS."""

    strip: str | None = None
    gap: str = ""


IN_EOS = TemplateEnd()


def prepare_tokenizer(tokenizer: Any, model: Any = None, *, end: TemplateEnd | None = IN_EOS) -> list[str]:
    """Give the tokenizer a pad token that ends no text and a template that ends in the scored token; say what changed.

    `end=None` leaves the template's end as it is, for models that were trained with it so. A template that writes
    today's date gets a fixed one in any case.

    Pad equal to EOS makes Hugging Face's classifiers score the token before EOS; a template that ends in a newline
    makes tools score different tokens (docs/migrating-from-trl.md).
    """
    notes = _separate_pad(tokenizer, model)
    if model is not None:
        config = model.config.get_text_config()
        config.pad_token_id = tokenizer.pad_token_id
        if tokenizer.eos_token_id is not None:
            config.eos_token_id = tokenizer.eos_token_id
    if end is not None and tokenizer.chat_template and tokenizer.eos_token:
        notes += templates.end_template(tokenizer, end.strip, end.gap)
    return notes + templates.fix_date(tokenizer)


def _separate_pad(tokenizer: Any, model: PreTrainedModel) -> list[str]:
    """Choose a pad token that is none of the tokens a text holds."""
    marks = templates.template_marks(tokenizer)
    closing = tokenizer(marks.end.strip(), add_special_tokens=False)["input_ids"] if marks else []
    taken = {tokenizer.eos_token_id, tokenizer.bos_token_id, *(closing[-1:] if len(closing) == 1 else ())}
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in taken:
        return []
    before = tokenizer.pad_token
    vocabulary = tokenizer.get_vocab()
    rows = None if model is None else model.get_input_embeddings().num_embeddings
    for token in PAD_TOKENS:
        known = vocabulary.get(token)
        if known is not None and known not in taken and (rows is None or known < rows):
            tokenizer.pad_token = token
            break
    else:
        tokenizer.add_special_tokens({"pad_token": NEW_PAD_TOKEN})
        if rows is not None and tokenizer.pad_token_id >= rows:
            model.resize_token_embeddings(len(tokenizer))
    why = "there was none" if before is None else f"{before!r} also ends or begins a text"
    return [f"the pad token is now {tokenizer.pad_token!r} (id {tokenizer.pad_token_id}): {why}"]
