"""Prepare a tokenizer for reward models: a pad token that ends no text, a template that ends in the scored token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.models import templates

PAD_TOKENS = ("<|finetune_right_pad_id|>", "<pad>", "<|pad|>", "[PAD]", "<|padding|>", "<|endoftext|>")
NEW_PAD_TOKEN = "<|pad|>"


def pair_separator(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Give the text that makes one text of two in the tokenizer's own way; None when there is none."""
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
