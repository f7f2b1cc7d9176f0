"""Edits that make a worse answer: cut, repeated, empty, random, or an answer to something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rewardsmith.audit.answers import sentences

Edit = Callable[[str, str, np.random.Generator], str | None]
# Another prompt's answer must differ; so many draws find one unless nearly all are the same.
DRAWS = 10


def cut_last_sentence(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Break off in the middle of the last sentence."""
    last = sentences(answer)[-1]
    if len(last.split()) < 4:
        return None
    at = answer.rfind(last)
    return answer[:at] + " ".join(last.split()[: len(last.split()) // 2])


def cut_in_half(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Keep the first half of the words."""
    parts = answer.split(" ")
    return " ".join(parts[: len(parts) // 2]).rstrip() if len(parts) >= 4 else None


def repeat(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Say everything twice."""
    return f"{answer}\n\n{answer}"


def echo_before(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Repeat the prompt before the answer."""
    return f"{prompt}\n\n{answer}" if prompt else None


def echo_only(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Hand the prompt back in place of an answer."""
    return prompt or None


def shuffle_words(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Put the words in a random order."""
    parts = answer.split()
    return " ".join(parts[index] for index in rng.permutation(len(parts))) if len(parts) >= 4 else None


def leave_empty(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Say nothing."""
    return ""


def say_one_word(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
    """Say one word that answers nothing."""
    return "the"


def random_words_from(vocabulary: Sequence[str]) -> Edit:
    """Return the edit that writes as many random words, drawn from the words of all answers."""

    def write_random_words(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
        """Write random words."""
        return " ".join(vocabulary[i] for i in rng.integers(len(vocabulary), size=len(answer.split())))

    return write_random_words


def answer_from(pool: Sequence[tuple[str, str]]) -> Edit:
    """Return the edit that answers with a good answer to another prompt, out of `pool` (prompt, answer)."""

    def answer_another(prompt: str, answer: str, rng: np.random.Generator) -> str | None:
        """Answer another prompt."""
        for index in rng.integers(len(pool), size=DRAWS):
            other, text = pool[int(index)]
            if other != prompt and text != answer:
                return text
        return None

    return answer_another
