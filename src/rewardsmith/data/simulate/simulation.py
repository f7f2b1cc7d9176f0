"""Simulate preference data whose truth is known."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from rewardsmith.data.loading import LoadReport, PreferenceSet
from rewardsmith.data.simulate.annotators import AnnotatorConfig, judge_pair
from rewardsmith.data.simulate.answers import (
    SENTENCES,
    as_conversation,
    distinct_answers,
    sample_answers,
    write_prompt,
)
from rewardsmith.data.simulate.gold import gold_reward
from rewardsmith.errors import ConfigError
from rewardsmith.records import Message, PreferenceGroup

SOURCE = "simulator"
GOLD = "gold"


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """What is simulated.

    Args:
        prompts: how many prompts.
        answers: fewest and most different answers of a prompt.
        sentences: fewest and most sentences of an answer.
        pairs: judge so many pairs of a prompt, drawn by chance; None judges all.
        conversational: prompts and answers as messages instead of text.
        seed: of everything. Prompt number i is the same however many prompts there are.
        annotators: how pairs are judged.
    """

    prompts: int = 1000
    answers: tuple[int, int] = (2, 6)
    sentences: tuple[int, int] = SENTENCES
    pairs: int | None = None
    conversational: bool = False
    seed: int = 0
    annotators: AnnotatorConfig = field(default_factory=AnnotatorConfig)

    def __post_init__(self) -> None:
        if self.prompts < 0 or (self.pairs is not None and self.pairs < 1):
            raise ConfigError(f"prompts must be >= 0 and pairs >= 1, not {self.prompts} and {self.pairs}")
        for name, least in (("answers", 2), ("sentences", 1)):
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise ConfigError(f"{name} must be a range from {least} on, such as {least}-6, not {low}-{high}")

    def to_dict(self) -> dict[str, Any]:
        """Give every setting as plain values."""
        return asdict(self)


def simulate(config: SimulationConfig) -> PreferenceSet:
    """Simulate preferences into memory.

    Every group carries the gold reward of its answers as the rating "gold".

    Example:
        >>> from rewardsmith.data.simulate import SimulationConfig, simulate
        >>> groups = simulate(SimulationConfig(prompts=2, answers=(3, 3)))
        >>> [len(group.comparisons) for group in groups]
        [3, 3]
    """
    groups = list(iter_simulated(config))
    comparisons = sum(len(group.comparisons) for group in groups)
    return PreferenceSet(groups, LoadReport(rows=len(groups), groups=len(groups), comparisons=comparisons))


def iter_simulated(config: SimulationConfig) -> Iterator[PreferenceGroup]:
    """Give the groups of `simulate` one by one."""
    return (simulate_group(config, index) for index in range(config.prompts))


def sample_groups(prompts: int, answers: int, seed: int = 0) -> list[PreferenceGroup]:
    """Give prompts with independent samples of a policy, without judgements, as audits of best-of-n need them.

    Equal answers stay, since a policy does give them; loading such groups from a file keeps one of each.
    """
    groups = []
    for index in range(prompts):
        prompt = write_prompt(index, seed)
        texts = tuple(sample_answers(prompt, answers, seed))
        gold = tuple(gold_reward(prompt, text) for text in texts)
        groups.append(PreferenceGroup(prompt, texts, ratings={GOLD: gold}, source=SOURCE, group_id=f"{seed}-{index}"))
    return groups


def simulate_group(config: SimulationConfig, index: int) -> PreferenceGroup:
    """Give group number `index`; it depends on nothing but the settings and `index`."""
    key = f"{config.seed}/{index}"
    prompt = write_prompt(index, config.seed)
    size = random.Random(f"size/{key}").randint(*config.answers)
    answers = distinct_answers(prompt, size, config.seed, config.sentences)
    gold = tuple(gold_reward(prompt, answer) for answer in answers)
    edges = [
        edge
        for pair in _pairs(config, size, key)
        for edge in judge_pair(config.annotators, answers, gold, pair, f"judge/{key}/{pair}")
    ]
    return PreferenceGroup(
        as_conversation(prompt) if config.conversational else prompt,
        tuple((Message("assistant", answer),) if config.conversational else answer for answer in answers),
        tuple(edges),
        ratings={GOLD: gold},
        source=SOURCE,
        group_id=f"{config.seed}-{index}",
    )


def _pairs(config: SimulationConfig, size: int, key: str) -> list[tuple[int, int]]:
    """Choose the pairs to judge."""
    if config.annotators.raters == 0:
        return []
    total = size * (size - 1) // 2
    if config.pairs is None or config.pairs >= total:
        return list(combinations(range(size), 2))
    generator = random.Random(f"pairs/{key}")
    chosen: set[tuple[int, int]] = set()
    while len(chosen) < config.pairs:
        first, second = sorted(generator.sample(range(size), 2))
        chosen.add((first, second))
    return sorted(chosen)


def demo_groups(num_train: int, num_held_out: int, seed: int) -> tuple[list[PreferenceGroup], list[PreferenceGroup]]:
    """Return the demo's training and held-out groups: short answers, judged by five noisy annotators.

    One simulation is cut in two, so no prompt is in both.
    """
    annotators = AnnotatorConfig(raters=1, pool=5, temperature=0.7, tie_threshold=0.4)
    config = SimulationConfig(prompts=num_train + num_held_out, sentences=(1, 6), seed=seed, annotators=annotators)
    groups = list(simulate(config))
    return groups[:num_train], groups[num_train:]
