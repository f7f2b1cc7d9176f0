"""Simulate preference data whose truth is known, judged by annotators of known faults.

For the demo, for tests of training, and for tests of audits. Annotators have Bradley-Terry noise, lapses, biases for
length and position, and ties; the language and the gold reward are those of `rewardsmith.data.gold`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Literal

from rewardsmith.data.gold import (
    NUM_SENTENCES,
    BiasedScorer,
    GoldScorer,
    as_conversation,
    distinct_answers,
    gold_reward,
    sample_answers,
    simulated_scorer,
    standard_length,
    write_prompt,
)
from rewardsmith.data.loading import LoadReport, PreferenceSet
from rewardsmith.errors import ConfigError
from rewardsmith.records import Comparison, Message, PreferenceGroup

__all__ = [
    "AnnotatorConfig",
    "BiasedScorer",
    "GoldScorer",
    "SimulationConfig",
    "demo_groups",
    "iter_simulated",
    "sample_answers",
    "sample_groups",
    "simulate",
    "simulated_scorer",
    "write_prompt",
]


SOURCE = "simulator"
GOLD = "gold"
Order = Literal["fixed", "shuffled"]


@dataclass(frozen=True, slots=True)
class AnnotatorConfig:
    """How annotators judge.

    An annotator feels the difference f = gold_i - gold_j + length_bias * (length_i - length_j) + position_bias * s
    + temperature * e, with standardised lengths, s = +1 when i is shown first and -1 otherwise, and e of the standard
    logistic distribution. |f| below `tie_threshold` is a tie; otherwise the sign decides. Without biases that is
    P(i wins) = sigmoid((gold_i - gold_j - tie_threshold) / temperature): Bradley and Terry (1952) where the threshold
    is 0, Rao and Kupper (1967) with theta = exp(tie_threshold / temperature) where it is not.

    Args:
        raters: judgements of each pair, each by another annotator; 0 judges nothing.
        pool: how many annotators there are; None means as many as `raters`.
        temperature: scale of the noise in gold units; 0 has none.
        lapse: chance that an annotator does not look and picks a side by coin.
        length_bias: gold units felt for each standard deviation of length.
        position_bias: gold units felt in favour of the answer that is shown first.
        tie_threshold: a felt difference below it is called a tie, in gold units.
        order: "fixed" shows the answer with the lower index first; "shuffled" shows either first by coin, so that a
            position bias turns into noise.
    """

    raters: int = 1
    pool: int | None = None
    temperature: float = 0.7
    lapse: float = 0.0
    length_bias: float = 0.0
    position_bias: float = 0.0
    tie_threshold: float = 0.0
    order: Order = "fixed"

    def __post_init__(self) -> None:
        if self.raters < 0 or (self.pool is not None and self.pool < max(1, self.raters)):
            raise ConfigError(f"raters must be >= 0 and the pool at least as many, not {self.raters} of {self.pool}")
        for name in ("temperature", "tie_threshold"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be a finite number >= 0, not {value}")
        if not 0 <= self.lapse <= 1:
            raise ConfigError(f"lapse must lie in [0, 1], not {self.lapse}")
        if not (math.isfinite(self.length_bias) and math.isfinite(self.position_bias)):
            raise ConfigError("length_bias and position_bias must be finite numbers")
        if self.order not in ("fixed", "shuffled"):
            raise ConfigError(f"order must be 'fixed' or 'shuffled', not {self.order!r}")


def judge_pair(
    config: AnnotatorConfig, answers: Sequence[str], gold: Sequence[float], pair: tuple[int, int], key: str
) -> list[Comparison]:
    """Return one comparison by each of `config.raters` annotators.

    Args:
        pair: two indices of `answers` and `gold`, the one that is shown first with "fixed" order in front.
        key: seed of this pair. Further raters change no judgement of earlier ones.
    """
    first, second = pair
    difference = gold[first] - gold[second]
    difference += config.length_bias * (standard_length(answers[first]) - standard_length(answers[second]))
    # Only the draws of one generator are used, in a fixed number for each judgement.
    generator = random.Random(key)
    pool = list(range(1, (config.pool or config.raters) + 1))
    generator.shuffle(pool)
    return [_judge(config, difference, pair, generator, f"annotator-{who}") for who in pool[: config.raters]]


def _judge(
    config: AnnotatorConfig, difference: float, pair: tuple[int, int], generator: random.Random, annotator: str
) -> Comparison:
    """Judge once."""
    shown, lapses, coin = generator.random(), generator.random(), generator.random()
    noise = min(max(generator.random(), 1e-12), 1 - 1e-12)
    first, second = pair
    if lapses < config.lapse:
        better, worse = pair if coin < 0.5 else (second, first)
        return Comparison(better, worse, annotator=annotator)
    side = -1 if config.order == "shuffled" and shown < 0.5 else 1
    felt = difference + side * config.position_bias + config.temperature * math.log(noise / (1 - noise))
    if abs(felt) < config.tie_threshold or felt == 0:
        return Comparison(first, second, "tie", annotator=annotator)
    better, worse = pair if felt > 0 else (second, first)
    return Comparison(better, worse, annotator=annotator)


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
    sentences: tuple[int, int] = NUM_SENTENCES
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
        """Return every setting as plain values."""
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
    """Return the groups of `simulate` one by one."""
    return (simulate_group(config, index) for index in range(config.prompts))


def sample_groups(prompts: int, answers: int, seed: int = 0) -> list[PreferenceGroup]:
    """Return prompts with independent samples of a policy, without judgements, as audits of best-of-n need them.

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
    """Return group number `index`; it depends on nothing but the settings and `index`."""
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


def count_judgements(group: PreferenceGroup) -> dict[str, int]:
    """Count what a group holds; `agree` are sided judgements on the gold reward's side, `alike` those without one."""
    gold: Any = group.ratings[GOLD]
    sided = [edge for edge in group.comparisons if not edge.is_tie]
    return {
        "prompts": 1,
        "answers": len(group),
        "comparisons": len(group.comparisons),
        "ties": group.num_ties,
        "agree": sum(gold[edge.better] > gold[edge.worse] for edge in sided),
        "alike": sum(gold[edge.better] == gold[edge.worse] for edge in sided),
    }
