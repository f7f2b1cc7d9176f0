"""Shorten the prompt of a text that is too long: oldest turns, then the start of what is left. Never the answer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from rewardsmith.errors import ScoringError, TooLongError, answer_is_long
from rewardsmith.models.long_texts import cuttable_ids
from rewardsmith.models.rendering import Composed, Renderer
from rewardsmith.models.shared_prefix.packing import cut_shared_start
from rewardsmith.records import Completion, Message, Text, TokenIds
from rewardsmith.scoring.scorer import Encode, Fitted, sized

# Of more turns the first that fit are found by halving: fewer turns have fewer tokens.
MANY_TURNS = 64


def fit_dialogues(renderer: Renderer, dialogues: Sequence[Composed], limit: int) -> Fitted:
    """Return the ids of whole dialogues, cut where all are alike if one has more than `limit` tokens.

    Raises:
        TooLongError: an answer, what follows the shared start, is too long by itself.
    """
    found = cuttable_ids(renderer, dialogues, limit)
    if any(found.too_long):
        tokens = f"over {limit}"
        own = TooLongError(answer_is_long(tokens, limit), tokens)
        raise TooLongError(str(own), tokens, {index: own for index, is_long in enumerate(found.too_long) if is_long})
    rows = cut_shared_start(found.ids, limit)
    cut = (len(now) < len(ids) for ids, now in zip(found.ids, rows, strict=True))
    return Fitted(rows, [bool(found.place) or is_cut for is_cut in cut])


def truncated(encode: Encode, prompt: Text, completion: Completion, limit: int) -> list[int]:
    """Cut, with every failure on the way being that of a text that is too long."""
    try:
        return truncate_prompt(encode, prompt, completion, limit)
    except TooLongError:
        raise
    except ScoringError as error:
        raise TooLongError(str(error), f"over {limit}") from error


def truncate_prompt(encode: Encode, prompt: Text, completion: Completion, limit: int) -> list[int]:
    """Return token ids of at most `limit` with as much of the end of the prompt as fits.

    A conversation loses its oldest exchanges whole, system messages excepted; then the first text that is left, or a
    plain prompt, loses its start. The text is rendered anew each time, so that its markup stays whole.

    Args:
        encode: tokenises the whole text for a prompt.

    Raises:
        TooLongError: the answer alone, or token ids, are too long.
    """
    whole, tokens = sized(encode, prompt)
    if whole is not None and len(whole) <= limit:
        return whole
    if isinstance(completion, TokenIds):
        raise TooLongError(
            f"a sequence of {tokens} token ids exceeds {limit}; its prompt cannot be told apart to cut it", tokens
        )
    prompts = _without_oldest_turns(prompt)
    fitting = _first_fitting(encode, prompts, limit)
    if fitting == 0:
        return encode(prompts[0])
    # What fits without more turns may fit with the end of the turn before it.
    last = prompts[-1 if fitting is None else fitting - 1]
    ids = _cut_start(encode, last, limit)
    if ids is None and fitting is not None:
        return encode(prompts[fitting])
    if ids is None:
        _, needed = sized(encode, _with_start_cut(last, _length(last)))
        raise TooLongError(answer_is_long(needed, limit), needed)
    return ids


def _fits(encode: Encode, prompt: Text, limit: int) -> bool:
    ids, _ = sized(encode, prompt)
    return ids is not None and len(ids) <= limit


def _first_fitting(encode: Encode, prompts: Sequence[Text], limit: int) -> int | None:
    """Number the first of ever shorter prompts that fits."""
    if len(prompts) <= MANY_TURNS:
        return next((number for number, shorter in enumerate(prompts) if _fits(encode, shorter, limit)), None)
    number = bisect_left(prompts, True, key=lambda shorter: _fits(encode, shorter, limit))
    return number if number < len(prompts) else None


def _without_oldest_turns(prompt: Text) -> list[Text]:
    """Return the prompt with ever fewer exchanges; the last exchange stays. A plain text stays as it is."""
    if isinstance(prompt, str):
        return [prompt]
    system = tuple(message for message in prompt if message.role == "system")
    rest = [message for message in prompt if message.role != "system"]
    starts = [index for index, message in enumerate(rest) if message.role == "user" or index == 0]
    return [(*system, *rest[start:]) for start in starts]


def _cut_start(encode: Encode, prompt: Text, limit: int) -> list[int] | None:
    """Cut as few characters as make the text fit; None when even the empty prompt does not."""
    low, high = 0, _length(prompt)
    if not _fits(encode, _with_start_cut(prompt, high), limit):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _fits(encode, _with_start_cut(prompt, middle), limit) else (middle, high)
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
