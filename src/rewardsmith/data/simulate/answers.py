"""Prompts and graded answers made from seeds: adding prompts or answers changes none that came before."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from rewardsmith.data.simulate import language
from rewardsmith.data.simulate.gold import topic_of
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Message, Text, text_key

SENTENCES = (1, 10)
# Draws of an answer before a prompt is said to have no further distinct ones.
MAX_DRAWS_PER_ANSWER = 200
_PARTS = (language.TOPICS, language.OWNERS, language.ADJECTIVES, language.PLACES, language.QUESTIONS)


def num_prompts() -> int:
    """Give how many prompts differ in their words; from there on a number is added to them."""
    product = 1
    for part in _PARTS:
        product *= len(part)
    return product


def write_prompt(index: int, seed: int = 0) -> str:
    """Give prompt number `index` of a seed. The prompts of one seed are all different.

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
    """Give a prompt as the one message of a user."""
    return (Message("user", prompt),)


def sample_answers(prompt: Text, n: int, seed: int = 0, sentences: tuple[int, int] = SENTENCES) -> list[str]:
    """Give n independent answers to a simulated prompt, as a policy would; equal ones may come more than once.

    The first answers of a larger n are those of a smaller n.

    Args:
        sentences: fewest and most sentences of an answer.

    Raises:
        ScoringError: the prompt is none of the simulator.
    """
    return list(islice(_answers(prompt, seed, sentences), n))


def distinct_answers(prompt: Text, n: int, seed: int = 0, sentences: tuple[int, int] = SENTENCES) -> list[str]:
    """Give the first n different answers of `sample_answers`. Raises DataError where there are not so many."""
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
    topic = topic_of(prompt) or language.TOPICS[0]
    generator = random.Random(f"answers/{seed}/{text_key(prompt)}")
    names = list(language.MANNERS)
    shares = [language.MANNERS[name][0] for name in names]
    while True:
        weights = language.MANNERS[generator.choices(names, shares)[0]][1]
        kinds = generator.choices(list(weights), list(weights.values()), k=generator.randint(*sentences))
        said = [generator.choice(language.SENTENCES[kind])[1] for kind in kinds]
        yield " ".join(said).replace("{topic}", topic)


@lru_cache(maxsize=8)
def _shuffled(seed: int) -> array[int]:
    """Give the order of the prompts of a seed."""
    order = list(range(num_prompts()))
    random.Random(f"prompts/{seed}").shuffle(order)
    return array("l", order)
