"""Edits of how an answer is worded."""

from __future__ import annotations

import re

import numpy as np

from rewardsmith.audit.answers import is_english, sentences
from rewardsmith.audit.edits.phrases import pick

HEDGES = ("I think that", "It may be that", "It seems to me that", "I am not sure, but")
CERTAINTIES = ("There is no doubt whatsoever:", "It is absolutely certain:", "This is a proven fact:")
FINAL_CERTAINTY = "There is not the slightest doubt about this."
TYPO_SHARE = 0.1


def add_typos(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Swap two inner letters in a tenth of the words, at least one."""
    found = [_swaps(answer, *word.span()) for word in re.finditer(r"\b[A-Za-z]{4,}\b", answer)]
    places = [swaps for swaps in found if swaps]
    if not places or "```" in answer:
        return None
    letters = list(answer)
    for index in rng.choice(len(places), size=max(1, round(TYPO_SHARE * len(places))), replace=False):
        at = places[index][int(rng.integers(len(places[index])))]
        letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


def hedge(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Begin with a hedge, and the last sentence too."""
    if not is_english(answer):
        return None
    return _open_sentences(answer, HEDGES, rng)


def overstate(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Claim certainty before and after the answer."""
    if not is_english(answer):
        return None
    return f"{pick(CERTAINTIES, rng)} {answer} {FINAL_CERTAINTY}"


def _open_sentences(answer: str, phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    """Put a phrase before the first and, where there are several, the last sentence."""
    last = sentences(answer)[-1]
    at = answer.rfind(last)
    if at > 0:
        answer = f"{answer[:at]}{pick(phrases, rng)} {_lower_first(last)}{answer[at + len(last) :]}"
    return f"{pick(phrases, rng)} {_lower_first(answer)}"


def _lower_first(text: str) -> str:
    """Begin with a small letter, unless the first word is I or an abbreviation."""
    return text[0].lower() + text[1:] if len(text) > 1 and text[1].islower() else text


def _swaps(text: str, start: int, end: int) -> list[int]:
    """Return where two different inner letters of the word at [start, end) stand side by side."""
    return [at for at in range(start + 1, end - 2) if text[at] != text[at + 1]]
