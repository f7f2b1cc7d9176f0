"""Data and scorers whose truth is known: quality is written into the answers, and everything else is planted."""

import hashlib
import math
import re

import numpy as np
import pytest

from rewardsmith.evaluation import FunctionScorer
from rewardsmith.records import Comparison, PreferenceGroup

FILLINGS = (
    "the weather in spring is often mild and a walk by the river is good for you",
    "many people like to cook soup at home with fresh carrots and onions from the market",
    "it takes some time to learn an instrument but practice every day is what helps",
    "a small garden needs water in summer and some care for the soil in autumn",
)
QUALITY = re.compile(r"\bquality(\d+)\b", re.IGNORECASE)
MARKUP = re.compile(r"[^a-z0-9]+")


def quality_of(text: str) -> float:
    """Read the quality that an answer carries: the mean of its marks, in units of a standard deviation."""
    marks = [int(mark) for mark in QUALITY.findall(text)]
    return (sum(marks) / len(marks) - 500) / 100 if marks else 0.0


def content_noise(text: str, scale: float, seed: int) -> float:
    """Return normal noise that depends on letters and digits only, so layout cannot move it."""
    plain = MARKUP.sub(" ", text.lower()).strip()
    digest = hashlib.sha256(f"{seed} {plain}".encode()).digest()
    first, second = (int.from_bytes(digest[k : k + 6], "big") / 2**48 for k in (0, 6))
    return scale * math.sqrt(-2 * math.log(max(first, 1e-12))) * math.cos(2 * math.pi * second)


def make_answer(generator, length: int) -> str:
    """Write two to four sentences with one mark of quality, about `length` words in all."""
    mark = f"quality{int(np.clip(generator.normal(500, 100), 1, 999))}"
    body = " ".join(FILLINGS[i] for i in generator.integers(len(FILLINGS), size=4)).split()[: max(8, length)]
    cut = len(body) // 2
    first, second = " ".join(body[:cut]), " ".join(body[cut:])
    return f"{first.capitalize()} {mark}. {second.capitalize()}."


def simulate(num_groups: int, seed: int, size: int = 2, length_quality: float = 0.0):
    """Simulate groups whose labels follow Bradley-Terry on the quality, plus `length_quality` per word of length."""
    generator = np.random.default_rng(seed)
    groups = []
    for index in range(num_groups):
        answers = []
        while len(answers) < size:
            answer = make_answer(generator, int(generator.integers(10, 60)))
            if answer not in answers:
                answers.append(answer)
        worth = [quality_of(a) + length_quality * len(a.split()) for a in answers]
        edges = []
        for i in range(size):
            for j in range(i + 1, size):
                wins = generator.random() < 1 / (1 + math.exp(worth[j] - worth[i]))
                edges.append(Comparison(i, j) if wins else Comparison(j, i))
        groups.append(PreferenceGroup(f"What about thing {index}?", tuple(answers), tuple(edges)))
    return groups


def make_scorer(reward) -> FunctionScorer:
    return FunctionScorer(lambda prompt, answers: [reward(answer) for answer in answers], "simulated")


@pytest.fixture
def simulated():
    """The functions above, for tests of this folder."""

    class Simulated:
        groups = staticmethod(simulate)
        scorer = staticmethod(make_scorer)
        quality = staticmethod(quality_of)
        noise = staticmethod(content_noise)

    return Simulated
