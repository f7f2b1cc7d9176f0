"""How much a reward differs among answers to one prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewardsmith.audit.plan import CachingScorer, Context, Part, Plain, plain_findings
from rewardsmith.blocks.kinds import Block, Section, Table, Value
from rewardsmith.blocks.words import read_estimate, read_number
from rewardsmith.errors import DataError
from rewardsmith.findings import Finding, Level
from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import Floats, Resampling, bootstrap_amount, clustered_share

# From a prompt without differences a policy learns nothing: more such prompts than this ask for a look, or for action.
MANY_FLAT, MOST_FLAT = 0.1, 0.5
REMEDY = "leave flat prompts out of the policy's training, or sample at a higher temperature"


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
        return [
            Finding(
                level,
                "reward variance",
                f"{text} (standard deviation below {self.eps:g}); a policy learns nothing from them",
                REMEDY,
            )
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        quantiles = {name: _plain(value) for name, value in self.quantiles.items()}
        shares = {"share_below_eps": self.share_flat.to_dict(), "eps": self.eps}
        findings = {"findings": plain_findings(self.findings)}
        return {"mean": self.mean.to_dict(), "quantiles": quantiles, **shares, **findings}


def run(context: Context) -> RewardVariance | None:
    """Measure the plan's samples on prompts all of whose answers can be scored; None without samples, or with a gold
    reward, whose part measures the variance too.

    Raises:
        DataError: no prompt has two answers that can be scored.
    """
    samples = context.plan.samples
    if samples is None or samples.gold is not None:
        return None
    rows = [rewards for _, rewards in samples.score(CachingScorer(context.scorer.scorer)) if len(rewards) > 1]
    if not rows:
        raise DataError("--samples: no prompt has two answers that can be scored")
    return measure_variance([np.array(row, dtype=np.float64) for row in rows], context.plan.how)


def measure_variance(rewards: Sequence[Floats], how: Resampling, eps: float = 1e-4) -> RewardVariance:
    """Measure the variance of rewards within prompts, relative to that of all rewards."""
    total = float(np.var(np.concatenate(rewards), ddof=1))
    variances = np.array([float(np.var(row, ddof=1)) for row in rewards])
    whitened = variances / total if total > 0 else np.array([])
    quantiles = {str(q): float(np.quantile(whitened, q)) if len(whitened) else math.nan for q in (0.1, 0.5, 0.9)}
    flat = clustered_share(np.sqrt(variances) < eps)
    return RewardVariance(bootstrap_amount(whitened, None, how.resamples, how.seed), quantiles, flat, eps)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def variance_section(result: Plain) -> Section | None:
    """Show the reward variance where it was measured without a gold reward."""
    blocks = variance_blocks(result.get("reward_variance"))
    if not blocks:
        return None
    return Section(
        "Reward variance",
        "How much rewards differ among a policy's answers to one prompt. Where they hardly differ, the policy learns"
        " nothing, however accurate the reward is.",
        "It depends on the policy that wrote the answers: measure it with the one that you will train.",
        blocks,
    )


def variance_blocks(variance: object) -> list[Block]:
    """Return the reward variance as a table."""
    if not isinstance(variance, Mapping):
        return []
    rows: list[list[Value]] = []
    for key, name in (("mean", "mean over prompts"), ("share_below_eps", "share of prompts without differences")):
        estimate = read_estimate(variance.get(key))
        if estimate is not None:
            rows.append([name, estimate])
    quantiles = variance.get("quantiles")
    for level, item in (quantiles if isinstance(quantiles, Mapping) else {}).items():
        rows.append([f"quantile {level} over prompts", read_number(item)])
    if variance.get("eps") is not None:
        rows.append(["no difference: standard deviation below", read_number(variance["eps"])])
    caption = "Variance of the reward within a prompt, as a share of the variance of all rewards"
    return [Table(caption, ("", "value"), rows)] if rows else []


PART = Part("reward_variance", run, variance_section)
