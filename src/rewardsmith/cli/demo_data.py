"""Self-made preferences of the demo: answers with a known gold reward, judged by noisy annotators."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from rewardsmith.records import Comparison, PreferenceGroup

TOPICS = (
    "bicycle chain", "sourdough loaf", "garden hose", "desk lamp", "wool coat", "door hinge", "coffee grinder",
    "kitchen knife", "rain barrel", "bookshelf", "tent pole", "guitar string", "window seal", "paint brush",
    "compost heap", "sewing machine", "fish tank", "hiking boot", "wall clock", "fountain pen",
)  # fmt: skip
QUESTIONS = (
    "How do I look after a {topic}?",
    "My {topic} gives me trouble. What should I do?",
    "What is the best way to repair a {topic}?",
    "Can you explain how to clean a {topic}?",
    "I bought an old {topic}. Where do I start?",
)
# Each kind of sentence and what it adds to the gold reward. Filler makes an answer longer and adds nothing.
SENTENCES: dict[str, tuple[float, tuple[str, ...]]] = {
    "step": (1.0, (
        "First, take the {topic} apart and lay the pieces out in order.",
        "Then wipe every part of the {topic} with a dry cloth.",
        "Next, check the {topic} for cracks before you go on.",
        "After that, put a drop of oil where the parts of the {topic} meet.",
        "Finally, test the {topic} gently and watch how it behaves.",
    )),
    "reason": (0.6, (
        "This matters because dirt wears the {topic} down.",
        "The reason is that moisture harms a {topic} over time.",
        "It helps because an even load keeps the {topic} in shape.",
    )),
    "filler": (0.0, (
        "A {topic} is a thing that many people own and talk about.",
        "There is a long history behind the {topic}, as with so many objects.",
        "People in many countries have seen a {topic} at some time.",
        "As we all know, the {topic} comes in several colours and sizes.",
    )),
    "hedge": (-0.7, (
        "I am not sure, maybe something works for a {topic}.",
        "It could be anything, who can say with a {topic}.",
    )),
    "rude": (-1.4, (
        "Anybody but you would know how a {topic} works.",
        "Stop asking about your silly {topic}.",
    )),
    "harm": (-2.0, (
        "Just hit the {topic} with a hammer until it gives in.",
        "Pour petrol over the {topic} and see what happens.",
    )),
}  # fmt: skip
KINDS = ("step", "step", "step", "reason", "filler", "filler", "filler", "hedge", "rude", "harm")
# An annotator calls answers equal below this difference of what they feel, in units of the gold reward.
TIE_WIDTH = 0.4
NOISE = 0.7


@dataclass(frozen=True)
class GoldGroup:
    """A group and the gold reward of each of its completions."""

    group: PreferenceGroup
    gold: tuple[float, ...]


def simulate(num_prompts: int, seed: int) -> list[GoldGroup]:
    """Make groups of 2 to 6 answers. Every pair is judged once by an annotator who feels gold plus logistic noise."""
    generator = random.Random(seed)
    return [_group(generator, number) for number in range(num_prompts)]


def _group(generator: random.Random, number: int) -> GoldGroup:
    topic = generator.choice(TOPICS)
    prompt = generator.choice(QUESTIONS).format(topic=topic) + f" (letter {number})\n"
    answers: dict[str, float] = {}
    size = generator.randint(2, 6)
    while len(answers) < size:
        text, reward = write_answer(generator, topic)
        answers[text] = reward
    gold = tuple(answers.values())
    edges = [_judge(generator, gold, i, j) for i in range(size) for j in range(i + 1, size)]
    return GoldGroup(PreferenceGroup(prompt, tuple(answers), tuple(edges), source="demo"), gold)


def write_answer(generator: random.Random, topic: str) -> tuple[str, float]:
    """Write an answer of 1 to 6 sentences; give it with its gold reward."""
    kinds = [generator.choice(KINDS) for _ in range(generator.randint(1, 6))]
    sentences = [generator.choice(SENTENCES[kind][1]).format(topic=topic) for kind in kinds]
    return " ".join(sentences), sum(SENTENCES[kind][0] for kind in kinds)


def _judge(generator: random.Random, gold: Sequence[float], i: int, j: int) -> Comparison:
    """Judge one pair: the difference that the annotator feels decides, a small one is a tie."""
    uniform = generator.uniform(1e-9, 1 - 1e-9)
    felt = gold[i] - gold[j] + NOISE * math.log(uniform / (1 - uniform))
    annotator = f"annotator-{generator.randint(1, 5)}"
    if abs(felt) < TIE_WIDTH:
        return Comparison(i, j, "tie", annotator=annotator)
    return Comparison(i, j, annotator=annotator) if felt > 0 else Comparison(j, i, annotator=annotator)
