"""The gold reward of the simulator, read from the text alone, and scorers that depart from it in a known way."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from rewardsmith.data.simulate import language
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import Completion, ScoreRequest, Text, TokenIds, normalise

# What a sentence about something else than was asked is worth, and an answer that says nothing the language knows.
OFF_TOPIC = -1.0
NOTHING_SAID = -2.0
# Mean and standard deviation of the length in characters of answers with 1 to 10 sentences; a test measures them.
LENGTH_MEAN, LENGTH_STD = 360.0, 190.0
PREFIX = "simulator:"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says: the gold reward and how many sentences of praise it holds."""

    gold: float
    num_praise: int


class GoldScorer:
    """The gold reward as a scorer. It needs no state: it reads each answer against its prompt.

    A sentence is worth what the language says, whatever its case, punctuation or Markdown. A sentence said before in
    the same answer adds nothing; one about another topic than the prompt's is worth `OFF_TOPIC`; one that the language
    does not know adds nothing. An answer without any known sentence (empty, a refusal, foreign text) is worth
    `NOTHING_SAID`. An empty prompt asks about no topic, so every topic fits.

    Raises:
        ScoringError: a prompt that names no topic of the simulator, or a completion of token ids.

    Example:
        >>> from rewardsmith.data.simulate import GoldScorer, write_prompt
        >>> from rewardsmith.records import ScoreRequest
        >>> GoldScorer().score_requests([ScoreRequest(write_prompt(0), ("No idea.",))])
        [[-2.0]]
    """

    name = PREFIX + "gold"

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Give the gold reward of every completion."""
        return [[gold_reward(request.prompt, text) for text in request.completions] for request in requests]


class BiasedScorer:
    """The gold reward plus planted faults of known size, to test audits with.

    reward = gold + length_weight * standard_length + praise_weight * sentences of praise + noise * a normal number

    Args:
        length_weight: gold units for each standard deviation of the length (`standard_length`).
        praise_weight: gold units for each sentence of praise, repeated ones too. The gold reward takes about 1 away.
        noise: standard deviation of an error that depends on prompt, answer and seed only.
        seed: of the noise; scorers with different seeds are members of an ensemble.
    """

    def __init__(
        self, length_weight: float = 0.0, praise_weight: float = 0.0, noise: float = 0.0, seed: int = 0
    ) -> None:
        self.length_weight, self.praise_weight = length_weight, praise_weight
        self.noise, self.seed = noise, seed
        parts = {"length": length_weight, "praise": praise_weight, "noise": noise, "seed": seed}
        self.name = PREFIX + (",".join(f"{key}={value:g}" for key, value in parts.items() if value) or "gold")

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Give the biased reward of every completion. Raises what `GoldScorer` raises."""
        return [[self._score(request.prompt, text) for text in request.completions] for request in requests]

    def _score(self, prompt: Text, completion: Completion) -> float:
        text = plain_text(completion)
        reading = read_answer(topic_of(prompt), text)
        reward = reading.gold + self.length_weight * standard_length(text) + self.praise_weight * reading.num_praise
        return reward + self.noise * _normal(f"{self.seed}/{plain_text(prompt)}\x00{text}") if self.noise else reward


def simulated_scorer(name: str) -> GoldScorer | BiasedScorer:
    """Make a scorer of its name: "simulator:gold", or "simulator:length=0.5,praise=2,noise=1,seed=3".

    Raises:
        ConfigError: the name has an unknown part.
    """
    text = name.removeprefix(PREFIX)
    if text == "gold":
        return GoldScorer()
    known = {"length": "length_weight", "praise": "praise_weight", "noise": "noise", "seed": "seed"}
    values: dict[str, float] = {}
    for part in text.split(","):
        key, _, number = part.partition("=")
        try:
            values[known[key.strip()]] = int(number) if key.strip() == "seed" else float(number)
        except (KeyError, ValueError):
            raise ConfigError(
                f"{name!r}: {part!r} is not understood; give simulator:gold or numbers for {', '.join(known)}, "
                "such as simulator:length=0.5,noise=1"
            ) from None
    return BiasedScorer(**values)  # type: ignore[arg-type]


def gold_reward(prompt: Text, completion: Completion) -> float:
    """Give the gold reward of one answer; the rules stand at `GoldScorer`."""
    return read_answer(topic_of(prompt), plain_text(completion)).gold


def standard_length(text: str) -> float:
    """Give the length in characters, from the mean of simulated answers, in their standard deviations."""
    return (len(text) - LENGTH_MEAN) / LENGTH_STD


def topic_of(prompt: Text) -> str | None:
    """Give what a prompt asks about, its last topic; None for an empty prompt.

    Raises:
        ScoringError: the prompt names no topic of the simulator.
    """
    text = plain_text(prompt)
    topic = _last_topic(text)
    if topic is None and text.strip():
        raise ScoringError(
            f"the prompt {text[:60]!r} is none of the simulator; the gold reward reads only data of "
            "`rewardsmith data simulate`"
        )
    return topic


@lru_cache(maxsize=4096)
def _last_topic(text: str) -> str | None:
    """Find the topic that a text names last."""
    words = f" {normalise(text)} "
    places = {words.rfind(f" {topic} "): topic for topic in language.TOPICS}
    last = max(places)
    return places[last] if last >= 0 else None


@lru_cache(maxsize=65536)
def read_answer(topic: str | None, text: str) -> Reading:
    """Read an answer sentence by sentence."""
    found = [_KNOWN[key] for key in map(normalise, re.split(r"[.!?\n]+", text)) if key in _KNOWN]
    if not found:
        return Reading(NOTHING_SAID, 0)
    gold = 0.0
    for about, _, worth in set(found):
        gold += worth if topic is None or about == topic else OFF_TOPIC
    return Reading(round(gold, 9), sum(kind.startswith("praise") for _, kind, _ in found))


def plain_text(text: Completion) -> str:
    """Give the text of a string or of messages. Raises ScoringError for token ids and for parts that are no text."""
    if isinstance(text, str):
        return text
    if isinstance(text, TokenIds):
        raise ScoringError("the gold reward reads text, not token ids; give the completions as text")
    if not all(isinstance(message.content, str) for message in text):
        raise ScoringError("the gold reward reads messages whose content is text")
    return "\n".join(message.content for message in text)


def _normal(key: str) -> float:
    """Give a standard normal number that depends on `key` alone."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return NormalDist().inv_cdf((int.from_bytes(digest, "big") + 0.5) / 2**64)


def _known_sentences() -> dict[str, tuple[str, str, float]]:
    """Map every sentence about every topic to topic, kind with its number, and worth."""
    return {
        normalise(sentence.replace("{topic}", topic)): (topic, f"{kind} {number}", worth)
        for topic in language.TOPICS
        for kind, sentences in language.SENTENCES.items()
        for number, (worth, sentence) in enumerate(sentences)
    }


_KNOWN = _known_sentences()
