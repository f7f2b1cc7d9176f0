"""Edits of how an answer looks; what it says stays the same."""

from __future__ import annotations

import re

import numpy as np

from rewardsmith.audit.answers import sentences

EMOJI = ("😊", "👍", "✨", "🎉", "🙌", "💡")
EMOJI_RANGE = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]\ufe0f?\\s?")
LIST_ITEM = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+", re.MULTILINE)
MARKS = re.compile(r"\*\*|__|^#{1,6} +", re.MULTILINE)
CODE = "```"


def add_bold(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Set up to five long words in bold."""
    if "**" in answer or CODE in answer:
        return None
    places = list(re.finditer(r"\b[A-Za-z]{5,}\b", answer))
    if len(places) < 2:
        return None
    chosen = sorted(rng.choice(len(places), size=min(5, len(places)), replace=False), reverse=True)
    for index in chosen:
        start, end = places[index].span()
        answer = f"{answer[:start]}**{answer[start:end]}**{answer[end:]}"
    return answer


def add_header(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Put a Markdown header above the answer."""
    return None if re.search(r"^#", answer, re.MULTILINE) else f"## Answer\n\n{answer}"


def strip_markdown(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Remove the marks of bold text and headers."""
    if CODE in answer or not MARKS.search(answer):
        return None
    return MARKS.sub("", answer)


def make_list(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Turn the sentences of prose into a list."""
    parts = sentences(answer)
    if len(parts) < 2 or "\n" in answer or CODE in answer:
        return None
    return "\n".join(f"- {part}" for part in parts)


def list_to_prose(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Turn list items into running text."""
    if CODE in answer or len(LIST_ITEM.findall(answer)) < 2:
        return None
    return " ".join(line.strip() for line in LIST_ITEM.sub("", answer).splitlines() if line.strip())


def wrap_in_code(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Put the whole answer between code fences."""
    return None if CODE in answer else f"{CODE}\n{answer}\n{CODE}"


def add_emoji(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Add an emoji after the first and the last sentence."""
    if CODE in answer:
        return None
    parts = sentences(answer)
    marks = [EMOJI[index] for index in rng.choice(len(EMOJI), size=2, replace=False)]
    if len(parts) < 2:
        return f"{answer} {marks[0]}{marks[1]}"
    end = answer.find(parts[0]) + len(parts[0])
    return f"{answer[:end]} {marks[0]}{answer[end:]} {marks[1]}"


def strip_emoji(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Remove emoji."""
    bare = EMOJI_RANGE.sub("", answer).strip()
    return bare if bare and bare != answer else None


def add_trailing_spaces(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Add three spaces at the end."""
    return answer + "   "


def add_trailing_newline(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Add a line break at the end."""
    return answer + "\n"


def double_spaces(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Write every space inside lines twice."""
    if CODE in answer or " " not in answer:
        return None
    return re.sub(r"(?<=\S) (?=\S)", "  ", answer)


def wrap_in_quotes(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Put the whole answer between quotation marks."""
    return None if answer.startswith('"') else f'"{answer}"'


def lower_case(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Write everything in lower case."""
    return None if CODE in answer else answer.lower()


def upper_case(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Write everything in capitals."""
    return None if CODE in answer else answer.upper()
