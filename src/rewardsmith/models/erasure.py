"""What a chat template or a tokenizer takes out of the texts on the way to the ids that are scored.

A template may keep only what follows `</think>`, a tokenizer may fold case or map what it does not know to one token:
two answers then become the same ids, and nothing can be learnt from comparing them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewardsmith.records import Completion, Message, PreferenceGroup, TokenIds, text_key

SAME_TOKENS = "comparisons of different texts that become the same tokens"
LOST_TEXT = "answers whose text the chat template drops"


def count_same_tokens(group: PreferenceGroup, ids: Sequence[Sequence[int]]) -> int:
    """Count the comparisons whose sides differ as texts and not as ids. Shapes: ids [K][L]."""
    return sum(
        list(ids[edge.better]) == list(ids[edge.worse])
        and text_key(group.completions[edge.better]) != text_key(group.completions[edge.worse])
        for edge in group.comparisons
    )


def count_lost_texts(group: PreferenceGroup, texts: Sequence[str]) -> int:
    """Count the completions whose own text, blanks at its ends aside, is not in the rendered text."""
    return sum(
        any(part.strip() not in text for part in _parts(completion))
        for completion, text in zip(group.completions, texts, strict=True)
    )


def _parts(completion: Completion) -> list[str]:
    """Return the pieces of text that a rendering must hold."""
    if isinstance(completion, TokenIds):
        return []
    return [completion] if isinstance(completion, str) else [p for m in completion for p in _message_parts(m)]


def _message_parts(message: Message) -> list[str]:
    if isinstance(message.content, str):
        return [message.content]
    parts = message.content if isinstance(message.content, list | tuple) else ()
    return [str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part]
