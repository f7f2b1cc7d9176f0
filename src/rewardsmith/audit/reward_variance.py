"""How much a reward differs among answers to one prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewardsmith.audit.best_of_n import Floats
from rewardsmith.audit.findings import Finding, Level
from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Resampling, bootstrap_amount, bootstrap_mean

# From a prompt without differences a policy learns nothing: more such prompts than this ask for a look, or for action.
MANY_FLAT, MOST_FLAT = 0.1, 0.5


@dataclass(frozen=True, slots=True)
class RewardVariance:
    """How much the proxy differs among the samples of one prompt (Razin et al. 2025, arXiv 2503.15477).

    A prompt whose samples all get the same reward teaches a policy nothing, however accurate the reward is.

    Args:
        mean: over prompts, the variance of the rewards, in units of the variance of all rewards.
        quantiles: of that variance over prompts, at 0.1, 0.5 and 0.9.
        share_flat: share of prompts whose standard deviation is below `eps`.
        eps: in units of the reward.
    """

    mean: Estimate
    quantiles: dict[str, float]
    share_flat: Estimate
    eps: float

    @property
    def findings(self) -> list[Finding]:
        """Name the share of flat prompts where it is large."""
        flat = self.share_flat
        if not flat.value > MANY_FLAT:
            return []
        level: Level = "red" if flat.value > MOST_FLAT else "yellow"
        text = f"reward variance: the rewards of {100 * flat.value:.0f}% of {flat.n} prompts are flat"
        return [Finding(level, f"{text} (standard deviation below {self.eps:g}); a policy learns nothing from them")]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        quantiles = {name: _plain(value) for name, value in self.quantiles.items()}
        shares = {"share_below_eps": self.share_flat.to_dict(), "eps": self.eps}
        findings = {"findings": [finding.to_dict() for finding in self.findings]}
        return {"mean": self.mean.to_dict(), "quantiles": quantiles, **shares, **findings}


def measure_variance(rewards: Sequence[Floats], how: Resampling, eps: float = 1e-4) -> RewardVariance:
    """Measure the variance of rewards within prompts, relative to that of all rewards."""
    total = float(np.var(np.concatenate(rewards), ddof=1))
    variances = np.array([float(np.var(row, ddof=1)) for row in rewards])
    whitened = variances / total if total > 0 else np.array([])
    quantiles = {str(q): float(np.quantile(whitened, q)) if len(whitened) else math.nan for q in (0.1, 0.5, 0.9)}
    flat = bootstrap_mean(np.sqrt(variances) < eps, None, how.resamples, how.seed)
    return RewardVariance(bootstrap_amount(whitened, None, how.resamples, how.seed), quantiles, flat, eps)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
