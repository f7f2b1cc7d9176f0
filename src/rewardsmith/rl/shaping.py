"""What is done to a reward before a policy sees it: pessimism, length, scale, uncertainty, clipping."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.blocks.words import read_estimate
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import Completion, ScoreRequest, TokenIds
from rewardsmith.scoring.ensemble import combine_part, combine_rewards
from rewardsmith.scoring.scorer import RewardParts

logger = logging.getLogger(__name__)
Rewards = list[float | None]


@dataclass(frozen=True, slots=True)
class LengthPenalty:
    """What is taken from a reward for each unit of length, in units of the raw reward."""

    weight: float
    unit: str = "words"

    def __post_init__(self) -> None:
        if self.unit not in ("words", "characters"):
            raise ConfigError(f"a length penalty counts words or characters, not {self.unit!r}")

    @classmethod
    def from_audit(cls, path: str | Path, unit: str = "words") -> LengthPenalty:
        """Read the excess weight of length that `rewardsmith audit --json` measured.

        Where its interval holds 0 the judgements warrant what the reward pays for length, and the penalty is 0.

        Raises:
            ConfigError: the file holds no audit of one model's length.
        """
        try:
            result = json.loads(Path(path).read_text(encoding="utf-8"))
            length = result["length"]
            found = length if length.get("unit") == unit else length["other_units"][unit]
            estimate = read_estimate(found["excess_weight"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}: no audit of the length of one model in {unit}; write it with --json") from error
        if estimate is None or not (estimate.low > 0 or estimate.high < 0):
            logger.warning("%s: the excess weight of length is not told from 0; no penalty", path)
            return cls(0.0, unit)
        return cls(estimate.value, unit)

    def of(self, completion: Completion) -> float:
        """Return what one answer loses."""
        if isinstance(completion, TokenIds):
            raise ScoringError("a length penalty counts words or characters of texts, not token ids")
        text = completion if isinstance(completion, str) else plain_text(completion[-1:])
        return self.weight * (len(text.split()) if self.unit == "words" else len(text))


@dataclass(frozen=True, slots=True)
class RewardOptions:
    """What is done to the rewards of each scorer, in this order; functions of yours are left as they are.

    Args:
        normalized: subtract the mean and divide by the standard deviation of the model's contract; members first, so
            combine, penalty and uncertainty are then in standard deviations.
        combine, penalty: how the members of an ensemble become one reward, as in `rewardsmith.scoring.ensemble`; None
            keeps the scorer's own.
        length: taken off, in units of the raw reward.
        uncertainty: the spread of the members at which an answer counts half: rewards are drawn towards their prompt's
            mean by 1 / (1 + (spread / uncertainty)^2), so the advantage is weighted by it. None weighs all alike.
        clip: rewards beyond plus or minus this are cut.
        wait_seconds: how long a server that does not answer is waited for before the run stops.
    """

    combine: str | None = None
    penalty: float = 1.0
    length: LengthPenalty | None = None
    normalized: bool = False
    uncertainty: float | None = None
    clip: float | None = None
    wait_seconds: float = 600.0

    def __post_init__(self) -> None:
        if self.combine is not None:
            combine_rewards((0.0,), self.combine, self.penalty)
        if not self.wait_seconds >= 0:
            raise ConfigError(f"wait_seconds must be 0 or more, not {self.wait_seconds:g}")
        for name in ("uncertainty", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, not {value:g}; leave it out for none")

    @property
    def needs_parts(self) -> bool:
        """Whether more is read than a raw reward: what members give, or rewards on the checkpoint's scale."""
        return self.combine is not None or self.uncertainty is not None or self.normalized


def shape(
    how: RewardOptions, request: ScoreRequest, row: Sequence[RewardParts | None], length_unit: float = 1.0
) -> Rewards:
    """Apply the options to one prompt's answers, whose rewards are normalised already where they should be.

    A length penalty is in raw rewards; `length_unit` is the standard deviation that they were divided by.
    """
    rewards: Rewards = []
    for part, completion in zip(row, request.completions, strict=True):
        if part is None:
            rewards.append(None)
            continue
        value = part.reward
        if how.combine is not None:
            value = combine_part(part, how.combine, how.penalty)
        if how.length is not None:
            value -= how.length.of(completion) / length_unit
        rewards.append(value)
    if how.uncertainty is not None:
        rewards = _weigh(rewards, row, how.uncertainty)
    if how.clip is None:
        return rewards
    return [None if reward is None else min(max(reward, -how.clip), how.clip) for reward in rewards]


def _weigh(rewards: Rewards, row: Sequence[RewardParts | None], uncertainty: float) -> Rewards:
    """Draw rewards towards the mean of their prompt, the uncertain ones more."""
    known = [reward for reward in rewards if reward is not None]
    if not known:
        return rewards
    mean = math.fsum(known) / len(known)
    weighed: Rewards = []
    for reward, part in zip(rewards, row, strict=True):
        if reward is None or part is None or math.isnan(part.spread):
            weighed.append(reward)
        else:
            weighed.append(mean + (reward - mean) / (1 + (part.spread / uncertainty) ** 2))
    return weighed
