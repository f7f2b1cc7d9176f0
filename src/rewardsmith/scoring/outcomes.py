"""How a comparison of two answers ends: the probability that the first is preferred, the second, or neither.

A model that was trained with Rao-Kupper or Davidson has learned how often raters call two answers equally good, and
`rewardsmith evaluate --save-temperature` fits temperature and threshold of any model together on held-out judgements
with ties. What was fitted stands in the scoring contract and goes before what was learned. Rewards are divided by the
temperature, the threshold is not. Any other model is read as Bradley-Terry, which has no ties.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rewardsmith.capabilities import Outcomes
from rewardsmith.errors import ConfigError
from rewardsmith.objectives import OBJECTIVES

if TYPE_CHECKING:
    from rewardsmith.models.contract import ScoringContract
    from rewardsmith.scoring.scorer import RewardParts, RewardScorer

# Points of the Gauss-Hermite rule by which a tie model is averaged over a normal difference of rewards.
NUM_POINTS = 64


@dataclass(frozen=True)
class Reader:
    """Says how comparisons of two answers end that `scorer` read together; made by `read_outcomes`."""

    scorer: RewardScorer
    tie_models: tuple[str, ...]
    trained_ties: tuple[str, ...]

    def of(self, first: RewardParts, second: RewardParts) -> Outcomes:
        """Return the probabilities for two answers of one prompt.

        Several models, or heads on one backbone, give the mean of their probabilities, whatever way their rewards are
        combined in; a head with a distribution gives the mean over it.
        """
        if self.scorer.capabilities.compares:
            # Of two answers, the number of each is its probability of beating the other.
            return Outcomes(first.reward, second.reward, None)
        members = zip(self.scorer.members, first.columns, second.columns, strict=True)
        found = [_of_member(*one) for one in members]
        one, two, tie = (math.fsum(values) / len(found) for values in zip(*found, strict=True))
        return Outcomes(one, two, tie if self.tie_models else None)


def read_outcomes(scorer: RewardScorer) -> Reader:
    """Check a model once, and return what reads its answers.

    Raises:
        ConfigError: its rewards are no log odds, or only some of its members know ties.
    """
    for member in scorer.members:
        if not (member.has_head or member.capabilities.compares):
            raise ConfigError(f"{member.name} is not scored by a head of log odds, so it gives no probabilities")
    known = {member.name: _tie_model(member) for member in scorer.members}
    named = [ties[0] for ties in known.values() if ties is not None]
    if named and len(named) < len(known):
        ways = {ties is not None: name for name, ties in reversed(known.items())}
        raise ConfigError(
            f"{ways[True]} knows ties and {ways[False]} none, so together they give no probability of a tie; take "
            "members of one loss_type, or fit each: rewardsmith evaluate --save-temperature"
        )
    trained = [ties[0] for member in scorer.members if (ties := learned_ties(member.contract)) is not None]
    return Reader(scorer, tuple(dict.fromkeys(named)), tuple(dict.fromkeys(trained)))


def moderated(difference: float, deviation: float) -> float:
    """Return P(first is preferred) where the difference of rewards is normal: `sigmoid(m / sqrt(1 + pi v / 8))`.

    MacKay (1992), "The evidence framework applied to classification networks", eq. 10.

    Example:
        >>> round(moderated(2.0, 0.0), 4), round(moderated(2.0, 2.0), 4)
        (0.8808, 0.7862)
    """
    return float(torch.sigmoid(_double(difference / math.sqrt(1 + math.pi * deviation**2 / 8))))


def _tie_model(member: RewardScorer) -> tuple[str, float] | None:
    """Return the model of ties and its threshold: what was fitted, else what training has learned."""
    contract = member.contract
    if contract is not None and contract.tie_model is not None:
        return contract.tie_model, float(contract.tie_threshold)
    return learned_ties(contract)


def learned_ties(contract: ScoringContract | None) -> tuple[str, float] | None:
    """Return the model of ties that a model was trained with, and the threshold that it learned; None without one."""
    objective = {} if contract is None else contract.objective
    name, threshold = str(objective.get("loss_type")), objective.get("threshold")
    is_known = name in OBJECTIVES and OBJECTIVES[name].log_outcomes is not None
    return (name, float(threshold)) if is_known and isinstance(threshold, int | float) else None


def _of_member(member: RewardScorer, first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Return P(first), P(second) and P(tie) of one model from what its head gave: the reward, then each head's."""
    temperature = 1.0 if member.contract is None else member.contract.temperature
    lead, *rest = ((one - two) / temperature for one, two in zip(first, second, strict=True))
    ties = _tie_model(member)
    if not member.has_distribution:
        leads_P = _double(rest or [lead])
        weight_P = torch.full_like(leads_P, 1 / len(leads_P))
    elif ties is None:
        deviation = math.hypot(*rest)
        return moderated(lead, deviation), moderated(-lead, deviation), 0.0
    else:
        points, weights = np.polynomial.hermite_e.hermegauss(NUM_POINTS)
        leads_P = lead + math.hypot(*rest) * torch.from_numpy(points)
        weight_P = torch.from_numpy(weights / weights.sum())
    if ties is None:
        shares = [torch.sigmoid(leads_P), torch.sigmoid(-leads_P), torch.zeros_like(leads_P)]
    else:
        name, threshold = ties
        log_outcomes = OBJECTIVES[name].log_outcomes
        assert log_outcomes is not None
        shares = [log_P.exp() for log_P in log_outcomes(leads_P, _double(threshold))]
    one, two, tie = (float((share_P * weight_P).sum()) for share_P in shares)
    return one, two, tie


def _double(values: float | Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
