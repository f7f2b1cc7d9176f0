"""Where the answer stands inside a completion, so that it can be edited and put back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rewardsmith.evaluation.judged import plain_text
from rewardsmith.records import Completion, PreferenceGroup, TokenIds, prompt_key

Measure = Callable[[Completion], float]
ASSISTANT = "\n\nAssistant:"
HUMAN = re.compile(r"\n\n(?:Human|Assistant):")
# Words that most English texts of a few sentences hold; used to keep English phrases out of other languages.
COMMON = frozenset(
    ("the", "a", "an", "and", "of", "to", "in", "is", "it", "you", "that", "for", "on", "are", "with", "as", "be")
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The last answer of a completion.

    Args:
        completion: the whole completion.
        text: the answer itself, without space around it.
        before: what stands before `text` in the string that holds it; `after` what stands behind.
    """

    completion: Completion
    text: str
    before: str = ""
    after: str = ""

    def rewrite(self, text: str) -> Completion:
        """Return the completion with `text` in place of the answer."""
        written = self.before + text + self.after
        if isinstance(self.completion, str):
            return written
        messages = self.completion
        assert not isinstance(messages, TokenIds)
        return (*messages[:-1], replace(messages[-1], content=written))


def find_answer(completion: Completion) -> Answer | None:
    """Return the last answer: a text, the last turn of a dialogue in text, or the assistant's last message.

    None where there is nothing that can be edited: token ids, messages with parts or images, an empty answer.
    """
    if isinstance(completion, TokenIds):
        return None
    if isinstance(completion, str):
        content: object = completion
    else:
        content = completion[-1].content if completion and completion[-1].role == "assistant" else None
    if not isinstance(content, str) or not content.strip():
        return None
    cut = content.rfind(ASSISTANT)
    start = cut + len(ASSISTANT) if cut >= 0 else 0
    body = content[start:]
    text = body.strip()
    if not text:
        return None
    lead = len(body) - len(body.lstrip())
    return Answer(completion, text, content[: start + lead], body[lead + len(text) :])


def answer_text(completion: Completion) -> str:
    """Return the text of the last answer, or all text where no answer can be told apart."""
    found = find_answer(completion)
    return found.text if found else plain_text(completion)


def question(group: PreferenceGroup) -> str:
    """Return the last thing that was asked, as text; empty when it is not known."""
    prompt = group.prompt or prompt_key(group)
    if not isinstance(prompt, str):
        asked = [message.content for message in prompt if message.role == "user" and isinstance(message.content, str)]
        return asked[-1].strip() if asked else ""
    parts = [part for part in HUMAN.split(prompt) if part.strip()]
    return parts[-1].strip() if parts else ""


def is_english(text: str) -> bool:
    """Whether phrases in English fit into `text`: Latin letters, and some of the commonest words if it is long."""
    letters = [character for character in text if character.isalpha()]
    if not letters or sum(character.isascii() for character in letters) < 0.9 * len(letters):
        return False
    words = text.lower().split()
    return len(words) < 8 or sum(word.strip(".,!?") in COMMON for word in words) >= 0.05 * len(words)


def sentences(text: str) -> list[str]:
    """Split prose into sentences, at the ends that are followed by space."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def words(texts: Sequence[str]) -> list[str]:
    """Return every word of `texts`, in order."""
    return [word for text in texts for word in text.split()]


def count_words(completion: Completion) -> float:
    """Count the words of the last answer, or token ids where there is no text."""
    return float(len(completion) if isinstance(completion, TokenIds) else len(answer_text(completion).split()))


def count_characters(completion: Completion) -> float:
    """Count the characters of the last answer, or token ids where there is no text."""
    return float(len(completion) if isinstance(completion, TokenIds) else len(answer_text(completion)))


def token_counter(scorer: object) -> Measure | None:
    """Return what counts the tokens of an answer with the scorer's own tokenizer; None where it has none."""
    tokenizer = getattr(scorer, "tokenizer", None)
    if tokenizer is None:
        return None

    def count(completion: Completion) -> float:
        if isinstance(completion, TokenIds):
            return float(len(completion))
        return float(len(tokenizer(answer_text(completion), add_special_tokens=False)["input_ids"]))

    return count
