"""Shorten the prompt of a text that is too long: oldest turns, then the start of what is left. Never the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.packing import shared_prefix_length
from rewardsmith.records import Completion, Message, Text, TokenIds

Encode = Callable[[Text], list[int]]


def truncate_prompt(encode: Encode, prompt: Text, completion: Completion, limit: int) -> list[int]:
    """Give token ids of at most `limit` with as much of the end of the prompt as fits.

    A conversation loses its oldest exchanges whole, system messages excepted; then the first text that is left, or a
    plain prompt, loses its start. The text is rendered anew each time, so that its markup stays whole.

    Args:
        encode: tokenises the whole text for a prompt.

    Raises:
        ScoringError: the answer alone, or token ids, are too long.
    """
    whole = encode(prompt)
    if len(whole) <= limit:
        return whole
    if isinstance(completion, TokenIds):
        raise ScoringError(
            f"a sequence of {len(whole)} token ids exceeds {limit}; its prompt cannot be told apart to cut it"
        )
    prompts = _without_oldest_turns(prompt)
    fitting = next((number for number, shorter in enumerate(prompts) if len(encode(shorter)) <= limit), None)
    if fitting == 0:
        return encode(prompts[0])
    # What fits without more turns may fit with the end of the turn before it.
    last = prompts[-1 if fitting is None else fitting - 1]
    ids = _cut_start(encode, last, limit)
    if ids is None and fitting is not None:
        return encode(prompts[fitting])
    if ids is None:
        needed = len(encode(_with_start_cut(last, _length(last))))
        raise ScoringError(
            f"the answer and its markup alone have {needed} tokens, the model reads {limit}; it is not cut"
        )
    return ids


def cut_shared_start(sequences: Sequence[list[int]], limit: int) -> list[list[int]]:
    """Return token ids cut where all sequences are alike: whole dialogues say their prompt only by that.

    The first token, such as BOS or [CLS], stays.

    Raises:
        ScoringError: an answer, what follows the shared start, is too long by itself.
    """
    room = max(0, shared_prefix_length([tuple(ids) for ids in sequences]) - 1)
    excess = max(map(len, sequences)) - limit
    if excess > room:
        raise ScoringError(
            f"the answer and its markup alone have {max(map(len, sequences)) - room} tokens, the model reads {limit}; "
            "it is not cut"
        )
    return [ids[:1] + ids[1 + excess :] if excess > 0 else ids for ids in sequences]


def _without_oldest_turns(prompt: Text) -> list[Text]:
    """Give the prompt with ever fewer exchanges; the last exchange stays. A plain text stays as it is."""
    if isinstance(prompt, str):
        return [prompt]
    system = tuple(message for message in prompt if message.role == "system")
    rest = [message for message in prompt if message.role != "system"]
    starts = [index for index, message in enumerate(rest) if message.role == "user" or index == 0]
    return [(*system, *rest[start:]) for start in starts]


def _cut_start(encode: Encode, prompt: Text, limit: int) -> list[int] | None:
    """Cut as few characters as make the text fit; None when even the empty prompt does not."""
    low, high = 0, _length(prompt)
    if len(encode(_with_start_cut(prompt, high))) > limit:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if len(encode(_with_start_cut(prompt, middle))) <= limit else (middle, high)
    return encode(_with_start_cut(prompt, high))


def _first_text(prompt: Sequence[Message]) -> int | None:
    """Number the message whose start is cut."""
    return next((i for i, m in enumerate(prompt) if m.role != "system" and isinstance(m.content, str)), None)


def _length(prompt: Text) -> int:
    if isinstance(prompt, str):
        return len(prompt)
    place = _first_text(prompt)
    return 0 if place is None else len(prompt[place].content)


def _with_start_cut(prompt: Text, characters: int) -> Text:
    if isinstance(prompt, str):
        return prompt[characters:]
    place = _first_text(prompt)
    if place is None:
        return prompt
    message = replace(prompt[place], content=prompt[place].content[characters:])
    return (*prompt[:place], message, *prompt[place + 1 :])
