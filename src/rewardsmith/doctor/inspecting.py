"""`inspect` as a function: preference data through a tokenizer or, without one, in words."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rewardsmith.data.checks.inspected import Inspected, inspect_sources
from rewardsmith.data.texts import as_sources
from rewardsmith.records import PreferenceGroup

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def inspect(data: Any, *, tokenizer: Any = None, quote: bool = True, **options: Any) -> Inspected:
    """Look through preference data once: size, faults, leaks, lengths, sources, agreement.

    Args:
        data: what `load_preferences` takes; a list of paths is read as one set.
        tokenizer: a tokenizer, or the name of one: lengths are then tokens of the sequences that are scored.
        quote: read again for the texts of a few rows that are named.
        options: of `iter_preferences`: reader, split, limit. Rows that cannot be read are counted.

    Raises:
        DataError: no row could be read.

    Example:
        >>> inspect([{"prompt": "2+2?", "chosen": "4", "rejected": "five"}])
        <inspected 1 row in memory: 1 comparison on 1 prompt; the longer answer wins in 0.000>
    """
    encode = None if tokenizer is None else sequence_encoder(tokenizer)[0]
    return inspect_sources(as_sources(data), encode=encode, quote=quote, **options)


def sequence_encoder(
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[Callable[[PreferenceGroup], list[list[int]]], list[str]]:
    """Return what gives the token ids that training and scoring see, and what was changed in the tokenizer for it."""
    from rewardsmith.models.rendering import Renderer
    from rewardsmith.models.tokenizer import prepare_tokenizer

    if isinstance(tokenizer, str):
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    notes = prepare_tokenizer(tokenizer)
    renderer = Renderer(tokenizer)
    # The warning that a sequence is longer than the model takes is what the histogram is for.
    tokenizer.model_max_length = sys.maxsize

    def encode(group: PreferenceGroup) -> list[list[int]]:
        return [
            renderer.encode(group.prompt, completion, group.tools, group.chat_template_kwargs)
            for completion in group.completions
        ]

    return encode, notes
