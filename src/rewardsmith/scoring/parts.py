"""What a reward is made of: the members of an ensemble, the attributes of a head, the steps of a solution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RewardParts:
    """One reward and its parts; what a model does not have is empty.

    Args:
        reward: the number that `score` gives.
        spread: standard deviation over the members of an ensemble (their number as divisor); NaN without members.
        members: the reward of each member, in their order.
        attributes: name -> score of a head with several objectives; "gate/NAME" is the weight of one.
        steps: score of each step of a solution.
    """

    reward: float
    spread: float = math.nan
    members: tuple[float, ...] = ()
    attributes: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[float, ...] = ()

    def rescaled(self, mean: float, std: float) -> RewardParts:
        """Subtract `mean` and divide by `std`; attributes and steps keep their own scales."""
        members = tuple((value - mean) / std for value in self.members)
        return RewardParts((self.reward - mean) / std, self.spread / std, members, self.attributes, self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Give the parts that are there, beside the reward, for JSON and extra columns."""
        found: dict[str, Any] = {}
        if self.members:
            found |= {"spread": self.spread, "members": list(self.members)}
        if self.attributes:
            found["attributes"] = dict(self.attributes)
        if self.steps:
            found["steps"] = list(self.steps)
        return found


def probability(reward: float) -> float:
    """Return the logistic function of a reward, without overflow.

    Not scipy's: adapters inside other trainers import this and must not load numpy.
    """
    if reward >= 0:
        return 1 / (1 + math.exp(-reward))
    return math.exp(reward) / (1 + math.exp(reward))
