"""The formulas of PPO over the tokens of an answer, as functions of tensors.

An answer of n tokens passes n + 1 states: before each token, and after the last one, where the reward is paid. B is
sequences, L the tokens of the longest answer, M = L + 1 its states. Masks are true on what is there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Keeps a division by the deviation finite where all values are one.
WHITEN_EPSILON = 1e-8
KL_ESTIMATORS = ("k1", "k3")


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the true places of the mask; 0 where there is none."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Return values of unit variance over the mask, and of mean 0 unless `shift_mean` is off; 0 elsewhere.

    The variance has n - 1 in its denominator (Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO",
    detail on whitening). A single value has no deviation: it becomes 0, or stays.
    """
    mean = masked_mean(values, mask)
    variance = ((values - mean) ** 2 * mask).sum() / (mask.sum() - 1).clamp(min=1)
    whitened = (values - mean) * torch.rsqrt(variance + WHITEN_EPSILON)
    return (whitened if shift_mean else whitened + mean) * mask


def kl_per_token(logprobs_BL: Tensor, ref_logprobs_BL: Tensor, estimator: str) -> Tensor:
    """Estimate KL(policy || reference) at each sampled token (Schulman 2020, "Approximating KL divergence").

    With log r = log reference - log policy: k1 is -log r, k3 is (r - 1) - log r. Both are unbiased for tokens that the
    policy sampled; k3 is never negative.
    """
    log_ratio = ref_logprobs_BL - logprobs_BL
    return -log_ratio if estimator == "k1" else torch.expm1(log_ratio) - log_ratio


def rewards_of_states(kl_BL: Tensor, scores_B: Tensor, lengths_B: Tensor, kl_coef: float) -> Tensor:
    """Return the reward of each state, of shape [B, M].

    Each token costs kl_coef times its KL; the score is paid in the state after the last token (Ziegler et al. 2019,
    section 2; Stiennon et al. 2020, section 3.4).
    """
    rewards_BM = torch.nn.functional.pad(-kl_coef * kl_BL, (0, 1))
    return rewards_BM.scatter_add(1, lengths_B[:, None], scores_B[:, None].to(rewards_BM.dtype))


def generalized_advantages(rewards_BM: Tensor, values_BM: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Return advantages and returns, both of shape [B, M].

    delta_t = reward_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1}, with V = A = 0 after the last state
    (Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", eq. 16); the
    return is A_t + V_t. Rewards and values are 0 outside of an answer.
    """
    advantages_BM = torch.zeros_like(values_BM)
    later = torch.zeros_like(values_BM[:, 0])
    for place in reversed(range(values_BM.shape[1])):
        following = values_BM[:, place + 1] if place + 1 < values_BM.shape[1] else torch.zeros_like(later)
        later = rewards_BM[:, place] + gamma * following - values_BM[:, place] + gamma * lam * later
        advantages_BM[:, place] = later
    return advantages_BM, advantages_BM + values_BM


@dataclass(frozen=True, slots=True)
class Clipped:
    """Losses per token or state, and where the clipped one is the larger; both of one shape."""

    losses: Tensor
    is_clipped: Tensor


def policy_losses(ratios_BL: Tensor, advantages_BL: Tensor, cliprange: float) -> Clipped:
    """Return max(-A r, -A clip(r, 1 - c, 1 + c)) at each token (Schulman et al. 2017, eq. 7, with its sign turned)."""
    free = -advantages_BL * ratios_BL
    clipped = -advantages_BL * ratios_BL.clamp(1.0 - cliprange, 1.0 + cliprange)
    return Clipped(torch.max(free, clipped), clipped > free)


def value_losses(values_BM: Tensor, old_values_BM: Tensor, returns_BM: Tensor, cliprange: float) -> Clipped:
    """Return half the larger of the squared errors of a value and of the value kept within c of the old one.

    The clipped value loss of OpenAI's baselines, as Huang et al. 2024 describe it.
    """
    kept = torch.max(torch.min(values_BM, old_values_BM + cliprange), old_values_BM - cliprange)
    free, clipped = (values_BM - returns_BM) ** 2, (kept - returns_BM) ** 2
    return Clipped(0.5 * torch.max(free, clipped), clipped > free)


def adapted_kl_coef(kl_coef: float, kl: float, target: float, gain: float) -> float:
    """Return the next coefficient: kl_coef (1 + gain e), e = (kl - target) / target cut to [-0.2, 0.2].

    Ziegler et al. 2019, section 2.2, where gain is 0.1; `kl` is the mean over answers of the sum over tokens.
    """
    error = min(max((kl - target) / target, -0.2), 0.2)
    return kl_coef * (1 + gain * error)
