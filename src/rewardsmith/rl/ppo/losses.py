"""The loss of a mini-batch, or of a part of one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rewardsmith.rl.ppo import formulas
from rewardsmith.rl.ppo.config import PPOConfig
from rewardsmith.rl.ppo.rollout import Rollout


def compute_losses(
    model: nn.Module, rollout: Rollout, rows: Sequence[int], config: PPOConfig, totals: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, dict[str, float]]:
    """Return policy loss plus vf_coef times value loss of some answers, and what is logged.

    Args:
        model: called as `PolicyAndValue` is.
        totals: tokens and states of the whole mini-batch, which sums are divided by, so that accumulating gradients
            changes nothing; None takes those of `rows`.
    """
    rows = list(rows)
    said = [rollout.answers[row] for row in rows]
    logprobs, entropies, values, _ = model([rollout.prompts[row] for row in rows], said, config.temperature)
    width = logprobs.shape[1]
    tokens, states = rollout.tokens_BL[rows, :width], rollout.states_BM[rows, : width + 1]
    num_tokens, num_states = totals or (tokens.sum(), states.sum())
    log_ratio = (logprobs - rollout.logprobs_BL[rows, :width]) * tokens
    ratios = log_ratio.exp()
    policy = formulas.policy_losses(ratios, rollout.advantages_BL[rows, :width], config.cliprange)
    old, returns = rollout.values_BM[rows, : width + 1], rollout.returns_BM[rows, : width + 1]
    value = formulas.value_losses(values, old, returns, config.cliprange_value)
    policy_loss = (policy.losses * tokens).sum() / num_tokens.clamp(min=1)
    value_loss = (value.losses * states).sum() / num_states.clamp(min=1)
    found = {
        "loss/policy_avg": formulas.masked_mean(policy.losses, tokens),
        "loss/value_avg": formulas.masked_mean(value.losses, states),
        "policy/approxkl_avg": 0.5 * formulas.masked_mean(log_ratio**2, tokens),
        "policy/clipfrac_avg": formulas.masked_mean(policy.is_clipped, tokens),
        "policy/entropy_avg": formulas.masked_mean(entropies, tokens),
        "val/clipfrac_avg": formulas.masked_mean(value.is_clipped, states),
        "val/ratio": formulas.masked_mean(ratios, tokens),
    }
    return policy_loss + config.vf_coef * value_loss, {name: float(x.detach()) for name, x in found.items()}
