"""Simulated annotators: Bradley-Terry noise, lapses, biases for length and position, ties, several raters."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rewardsmith.data.simulate.gold import standard_length
from rewardsmith.errors import ConfigError
from rewardsmith.records import Comparison

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
    """Give one comparison by each of `config.raters` annotators.

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
