"""Phrases that say nothing about the matter, before or after the answer. They are English."""

from __future__ import annotations

import re

import numpy as np

from rewardsmith.audit.answers import is_english

SURE = ("Sure!", "Certainly!", "Of course!", "Absolutely!")
GREETINGS = ("Hello there!", "Hi, thanks for reaching out.", "Good day to you.")
CLOSINGS = (
    "I hope this helps! Let me know if you have any other questions.",
    "Feel free to ask if you need anything else.",
    "Please let me know if you would like more details.",
)
APOLOGIES = ("I apologize for any confusion.", "I'm sorry about that.", "My apologies.")
FILLER = (
    "There are of course many things that could be said here.",
    "This is a matter that can be looked at in a number of different ways.",
    "It is worth keeping in mind that this is how things stand.",
    "As always, some points may matter more than other points.",
    "All of this is to be seen together with everything else.",
)
DISCLAIMER = "As an AI language model, I don't have personal experiences or opinions."
KNOWN_DISCLAIMER = re.compile(r"^As an AI\b[^.,!?]*(?:[.!?]|, )\s*", re.IGNORECASE)


def pick(phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    """Give one of `phrases`."""
    return phrases[int(rng.integers(len(phrases)))]


def open_with_sure(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Begin with "Sure!" or its like."""
    if not is_english(answer) or re.match(r"(?i)(sure|certainly|of course|absolutely)\b", answer):
        return None
    return f"{pick(SURE, rng)} {answer}"


def open_with_greeting(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Begin with a greeting."""
    if not is_english(answer) or re.match(r"(?i)(hello|hi|hey|good day)\b", answer):
        return None
    return f"{pick(GREETINGS, rng)} {answer}"


def close_with_offer(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """End with an offer of further help."""
    if not is_english(answer) or re.search(r"(?i)(hope this helps|let me know|feel free)[^\n]*$", answer):
        return None
    return f"{answer} {pick(CLOSINGS, rng)}"


def open_with_apology(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Begin with an apology for nothing."""
    if not is_english(answer) or re.match(r"(?i)(i apologi|i'm sorry|sorry|my apolog)", answer):
        return None
    return f"{pick(APOLOGIES, rng)} {answer}"


def add_filler(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Add three sentences without content: length alone."""
    if not is_english(answer):
        return None
    chosen = rng.choice(len(FILLER), size=3, replace=False)
    return " ".join([answer, *(FILLER[index] for index in chosen)])


def open_with_disclaimer(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Begin with "As an AI language model"."""
    return f"{DISCLAIMER} {answer}" if is_english(answer) and "As an AI" not in answer else None


def remove_disclaimer(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Remove an opening "As an AI ..."."""
    rest = KNOWN_DISCLAIMER.sub("", answer)
    return rest[0].upper() + rest[1:] if rest and rest != answer else None
