"""A tokenizer prepared for reward models: a pad token that ends no text, a template that ends in the scored token.

A template that writes today's date gets a fixed one, so that a reward is the same tomorrow.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models import templates
from rewardsmith.models.templates import (
    CLOCK,
    DATE_FORMAT,
    DATE_MACRO,
    FIXED_DATE,
    PLAIN_NAME,
    SAMPLE,
    apply_template,
    control_tokens,
    named_template,
)

PAD_TOKENS = ("<|finetune_right_pad_id|>", "<pad>", "<|pad|>", "[PAD]", "<|padding|>", "<|endoftext|>")
NEW_PAD_TOKEN = "<|pad|>"


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


def prepare_tokenizer(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None = None, *, end: TemplateEnd | None = IN_EOS
) -> list[str]:
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
        notes += end_template(tokenizer, end.strip, end.gap)
    return notes + fix_date(tokenizer)


def take_template(tokenizer: Any, model: Any, name: str | None, path: str) -> list[str]:
    """Give the tokenizer of a model with a contract the template that was asked for; say what changed.

    Raises:
        ConfigError: the model at `path` was trained with another.
    """
    if name is None:
        return []
    own, tokenizer.chat_template = tokenizer.chat_template, templates.named_template(name, tokenizer)
    notes = prepare_tokenizer(tokenizer, model)
    if own and tokenizer.chat_template != own:
        raise ConfigError(f"{path} was trained with the chat template that it holds; leave --chat-template {name} out")
    return notes


def _separate_pad(tokenizer: Any, model: PreTrainedModel | None) -> list[str]:
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
        if model is not None and tokenizer.pad_token_id >= rows:
            model.resize_token_embeddings(len(tokenizer))
    why = "there was none" if before is None else f"{before!r} also ends or begins a text"
    return [f"the pad token is now {tokenizer.pad_token!r} (id {tokenizer.pad_token_id}): {why}"]


def keep_plain_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a tokenizer without a chat template the built-in one, so that every tool writes conversations alike."""
    if not tokenizer.chat_template:
        tokenizer.chat_template = named_template(PLAIN_NAME, tokenizer)


def end_template(tokenizer: PreTrainedTokenizerBase, strip: str | None = None, gap: str = "") -> list[str]:
    """Make the template's texts end in the token that is scored, and say what was changed.

    A template that ends in a control token of its own, such as `<|im_end|>` where EOS is `<|endoftext|>`, is closed
    already: only white space after it goes. Any other gets EOS.

    Args:
        strip: characters that go from the end, None for all white space.
        gap: written before an EOS that is added (OpenRLHF writes a blank).
    """
    original = tokenizer.chat_template
    if not isinstance(original, str):
        raise ConfigError("the tokenizer has several chat templates; set tokenizer.chat_template to the one to use")
    try:
        before = apply_template(tokenizer, SAMPLE)
    except ScoringError as error:
        return [f"the chat template refused a one-turn conversation and was left as it is: {error}"]
    eos, stripped = tokenizer.eos_token, before.rstrip(strip)
    own = None if gap or stripped.endswith(eos) else _control_token_at_end(tokenizer, stripped)
    if before.endswith(own or eos):
        if own is None:
            return []
        return [f"the chat template ends in {own!r}, which is scored, not in EOS {eos!r}, which closes plain text"]
    tail = repr(strip)[1:-1] if strip is not None else ""
    strip_call = f"rstrip('{tail}')" if strip is not None else "rstrip()"
    close = (
        ""
        if own
        else f"{{% if not conversation.endswith(eos_token) %}}{{{{ '{gap}' + eos_token }}}}{{% endif %}}"
        if gap
        else "{% if not conversation.endswith(eos_token) %}{{ eos_token }}{% endif %}"
    )
    tokenizer.chat_template = (
        "{% set conversation %}" + original + "{% endset %}"
        "{% if add_generation_prompt %}{{ conversation }}{% else %}"
        "{% set conversation = conversation." + strip_call + " %}"
        "{{ conversation }}" + close + "{% endif %}"
    )
    wanted = stripped if own or stripped.endswith(eos) else stripped + gap + eos
    if apply_template(tokenizer, SAMPLE) != wanted:
        tokenizer.chat_template = original
        return ["the chat template does not end in EOS and could not be wrapped; the scored token is its last one"]
    if own:
        return [
            f"the chat template ended in {before[len(stripped) - len(own) :]!r}; it now ends in {own!r}, which is "
            f"scored; EOS {eos!r} closes plain text"
        ]
    ending = repr(before[-len(eos) - 2 :])
    return [f"the chat template ended in {ending}; it now ends in EOS {eos!r}, which is the token that is scored"]


def _control_token_at_end(tokenizer: PreTrainedTokenizerBase, text: str) -> str | None:
    """Return the special token that a text ends in, None when it ends in none."""
    return max((token for token in control_tokens(tokenizer) if text.endswith(token)), key=len, default=None)


def fix_date(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return a template that writes today's date a fixed one, so that a reward is the same tomorrow; say so."""
    template = tokenizer.chat_template
    if not isinstance(template, str) or CLOCK not in template or f"macro {CLOCK}" in template:
        return []
    formats = list(dict.fromkeys(re.findall(CLOCK + r"\(\s*(?:\"([^\"]*)\"|'([^']*)')", template)))
    cases = "".join(
        f"{{% {'if' if number == 0 else 'elif'} format == {found!r} %}}{time.strftime(found, FIXED_DATE)}"
        for number, found in enumerate(a or b for a, b in formats)
    )
    rest = time.strftime(DATE_FORMAT, FIXED_DATE)
    body = f"{cases}{{% else %}}{rest}{{% endif %}}" if cases else rest
    # A macro of the template's own stands before the clock that transformers offers, in every tool.
    tokenizer.chat_template = f"{DATE_MACRO}{body}{{% endmacro %}}{template}"
    return [f"the chat template writes today's date; it now always writes {rest}, so that rewards stay the same"]


def require_vocabulary(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Refuse a tokenizer without a vocabulary: transformers makes one, silently, where the files are missing."""
    if not tokenizer("Good day.", add_special_tokens=False)["input_ids"]:
        raise ConfigError(
            f"the tokenizer of {name!r} makes no tokens of a text; are its files (tokenizer.json) missing? Copy them "
            "there, or pass another as processing_class"
        )
