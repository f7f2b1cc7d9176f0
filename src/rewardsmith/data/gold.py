"""The language of the simulator: prompts and answers written in it from seeds, and the gold reward that reads them.

Adding prompts or answers changes none that came before. Scorers that depart from the gold reward in a known way stand
beside it."""

from __future__ import annotations

import random
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from statistics import NormalDist

from rewardsmith.data.merging import text_digest
from rewardsmith.data.near import normalise
from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.records import Completion, Message, ScoreRequest, Text, TokenIds, text_key

TOPICS = (
    "bicycle chain", "sourdough loaf", "garden hose", "desk lamp", "wool coat", "door hinge", "coffee grinder",
    "kitchen knife", "rain barrel", "bookshelf", "tent pole", "guitar string", "window seal", "paint brush",
    "compost heap", "sewing machine", "fish tank", "hiking boot", "wall clock", "fountain pen",
)  # fmt: skip
QUESTIONS = (
    "How do I look after it?",
    "It gives me trouble. What should I do?",
    "What is the best way to repair it?",
    "Can you explain how to clean it?",
    "Where do I start?",
    "What should I never do with it?",
    "How long can it last?",
)
OWNERS = (
    "I have", "My neighbour left me", "My sister gave me", "Our school owns", "I found", "We inherited",
    "I just bought", "My landlord lent me", "The club keeps", "I borrowed",
)  # fmt: skip
ADJECTIVES = (
    "an old", "a cheap", "a heavy", "a strange", "a rusty", "a foreign", "a noisy", "a second-hand", "a tall",
    "an ugly", "a rare",
)  # fmt: skip
PLACES = (
    "in the attic", "at a market in the harbour", "behind the shed", "in a box without a label", "on the balcony",
    "in the cellar of a bakery", "beside the railway", "at the far end of the garden", "in a cottage by the lake",
    "in the boot of a car", "under the stairs", "at a farm up in the hills", "in an empty shop",
)  # fmt: skip

# Kind -> worth in the gold reward -> sentences. "{topic}" is the thing that is asked about.
SAID: dict[str, tuple[tuple[float, str], ...]] = {
    "step": (
        (1.0, "First, take the {topic} apart and lay the pieces out in order."),
        (0.9, "Then wipe every part of the {topic} with a dry cloth."),
        (1.1, "Next, check the {topic} for cracks before you go on."),
        (0.95, "After that, put a drop of oil where the parts of the {topic} meet."),
        (1.05, "Finally, test the {topic} gently and watch how it behaves."),
        (0.85, "Keep the {topic} away from damp walls while you work."),
        (1.15, "Replace the worn piece of the {topic} before it harms the rest."),
        (0.8, "Write down how the {topic} looked before you changed anything."),
    ),
    "reason": (
        (0.6, "This matters because dirt wears the {topic} down."),
        (0.55, "The reason is that moisture harms a {topic} over time."),
        (0.65, "It helps because an even load keeps the {topic} in shape."),
        (0.5, "Without that, the {topic} would give way at its weakest place."),
        (0.7, "A {topic} that is cared for early needs fewer repairs later."),
    ),
    "filler": (
        (0.0, "A {topic} is a thing that many people own and talk about."),
        (0.0, "There is a long history behind the {topic}, as with so many objects."),
        (0.0, "People in many countries have seen a {topic} at some time."),
        (0.0, "As we all know, the {topic} comes in several colours and sizes."),
        (0.0, "One could say a great deal more about the {topic} on another day."),
        (0.0, "The word for a {topic} differs from one language to the next."),
    ),
    "praise": (
        (-0.9, "What a wonderful question about the {topic}, and how clever of you to ask."),
        (-1.0, "You may trust me fully, this is the best answer about a {topic} ever written."),
        (-1.1, "Only a brilliant person like you would think so deeply about a {topic}."),
        (-1.2, "Every expert in the world agrees with all that I say about the {topic}."),
    ),
    "hedge": (
        (-0.6, "I am not sure, maybe something works for a {topic}."),
        (-0.7, "It could be anything, who can say with a {topic}."),
        (-0.8, "Perhaps the {topic} is fine, perhaps it is not, I cannot tell."),
    ),
    "rude": (
        (-1.3, "Anybody but you would know how a {topic} works."),
        (-1.5, "Stop asking about your silly {topic}."),
    ),
    "harm": (
        (-1.9, "Just hit the {topic} with a hammer until it gives in."),
        (-2.1, "Pour petrol over the {topic} and see what happens."),
    ),
}  # fmt: skip

# How an answer is written -> (share of answers, weight of each kind of sentence).
MANNERS: dict[str, tuple[float, dict[str, float]]] = {
    "careful": (0.25, {"step": 5, "reason": 3, "filler": 2, "hedge": 0.3, "praise": 0.2}),
    "ordinary": (0.45, {"step": 3, "reason": 1.5, "filler": 3, "hedge": 1, "praise": 1, "rude": 0.5, "harm": 0.4}),
    "careless": (0.15, {"step": 1, "reason": 0.5, "filler": 3, "hedge": 2, "praise": 0.5, "rude": 1.5, "harm": 1.5}),
    "flattering": (0.15, {"step": 2, "reason": 1, "filler": 2, "hedge": 0.5, "praise": 4}),
}


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
        """Return the gold reward of every completion."""
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
        """Return the biased reward of every completion. Raises what `GoldScorer` raises."""
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
    """Return the gold reward of one answer; the rules stand at `GoldScorer`."""
    return read_answer(topic_of(prompt), plain_text(completion)).gold


def standard_length(text: str) -> float:
    """Return the length in characters, from the mean of simulated answers, in their standard deviations."""
    return (len(text) - LENGTH_MEAN) / LENGTH_STD


def topic_of(prompt: Text) -> str | None:
    """Return what a prompt asks about, its last topic; None for an empty prompt.

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
    places = {words.rfind(f" {topic} "): topic for topic in TOPICS}
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
    """Return the text of a string or of messages. Raises ScoringError for token ids and for parts that are no text."""
    if isinstance(text, str):
        return text
    if isinstance(text, TokenIds):
        raise ScoringError("the gold reward reads text, not token ids; give the completions as text")
    if not all(isinstance(message.content, str) for message in text):
        raise ScoringError("the gold reward reads messages whose content is text")
    return "\n".join(message.content for message in text)


def _normal(key: str) -> float:
    """Return a standard normal number that depends on `key` alone."""
    return NormalDist().inv_cdf((int.from_bytes(text_digest(key), "big") + 0.5) / 2**64)


def _known_sentences() -> dict[str, tuple[str, str, float]]:
    """Map every sentence about every topic to topic, kind with its number, and worth."""
    return {
        normalise(sentence.replace("{topic}", topic)): (topic, f"{kind} {number}", worth)
        for topic in TOPICS
        for kind, sentences in SAID.items()
        for number, (worth, sentence) in enumerate(sentences)
    }


_KNOWN = _known_sentences()


NUM_SENTENCES = (1, 10)
# Draws of an answer before a prompt is said to have no further distinct ones.
MAX_DRAWS_PER_ANSWER = 200
_PARTS = (TOPICS, OWNERS, ADJECTIVES, PLACES, QUESTIONS)


def num_prompts() -> int:
    """Return how many prompts differ in their words; from there on a number is added to them."""
    product = 1
    for part in _PARTS:
        product *= len(part)
    return product


def write_prompt(index: int, seed: int = 0) -> str:
    """Return prompt number `index` of a seed. The prompts of one seed are all different.

    Every seed shuffles the same list of about 200,000 prompts, so two seeds may share a few; for training and test
    data that share none, cut one simulation in two.
    """
    total = num_prompts()
    place = _shuffled(seed)[index % total]
    digits = []
    for part in _PARTS:
        place, digit = divmod(place, len(part))
        digits.append(part[digit])
    topic, owner, adjective, where, question = digits
    letter = f" (letter {index // total + 1})" if index >= total else ""
    return f"{owner} {adjective} {topic} {where}. {question}{letter}"


def as_conversation(prompt: str) -> tuple[Message, ...]:
    """Return a prompt as the one message of a user."""
    return (Message("user", prompt),)


def sample_answers(prompt: Text, n: int, seed: int = 0, sentences: tuple[int, int] = NUM_SENTENCES) -> list[str]:
    """Return n independent answers to a simulated prompt, as a policy would; equal ones may come more than once.

    The first answers of a larger n are those of a smaller n.

    Args:
        sentences: fewest and most sentences of an answer.

    Raises:
        ScoringError: the prompt is none of the simulator.
    """
    return list(islice(_answers(prompt, seed, sentences), n))


def distinct_answers(prompt: Text, n: int, seed: int = 0, sentences: tuple[int, int] = NUM_SENTENCES) -> list[str]:
    """Return the first n different answers of `sample_answers`. Raises DataError where there are not so many."""
    found: dict[str, None] = {}
    for answer in islice(_answers(prompt, seed, sentences), MAX_DRAWS_PER_ANSWER * n):
        found[answer] = None
        if len(found) == n:
            return list(found)
    raise DataError(f"only {len(found)} different answers of {sentences} sentences, not {n}; allow more sentences")


def _answers(prompt: Text, seed: int, sentences: tuple[int, int]) -> Iterator[str]:
    """Write answers without end."""
    if not 1 <= sentences[0] <= sentences[1]:
        raise ConfigError(f"sentences must be (fewest, most) with 1 <= fewest <= most, not {sentences}")
    topic = topic_of(prompt) or TOPICS[0]
    generator = random.Random(f"answers/{seed}/{text_key(prompt)}")
    names = list(MANNERS)
    shares = [MANNERS[name][0] for name in names]
    while True:
        weights = MANNERS[generator.choices(names, shares)[0]][1]
        kinds = generator.choices(list(weights), list(weights.values()), k=generator.randint(*sentences))
        said = [generator.choice(SAID[kind])[1] for kind in kinds]
        yield " ".join(said).replace("{topic}", topic)


@lru_cache(maxsize=8)
def _shuffled(seed: int) -> array[int]:
    """Return the order of the prompts of a seed."""
    order = list(range(num_prompts()))
    random.Random(f"prompts/{seed}").shuffle(order)
    return array("l", order)
