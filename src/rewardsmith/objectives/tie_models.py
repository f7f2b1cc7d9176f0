"""Rao-Kupper and Davidson: models in which "equally good" is an outcome of its own, with a learnable threshold."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rewardsmith.errors import ConfigError
from rewardsmith.objectives.comparisons import Comparisons, at_least_float32

# Below this threshold a tie has probability ~0 and its loss would be infinite; the value is held here and the
# gradient passes, so that ties can still lift it.
SMALLEST_LOG_THRESHOLD = 1e-4


def rao_kupper(rewards_B: Tensor, comparisons: Comparisons, log_threshold: Tensor) -> Tensor:
    """Return the negative log likelihood of "better", "worse" or "tie" with `t = log_threshold` > 0, one a comparison.

    `P(w) = sigmoid(d - t)`, `P(l) = sigmoid(-d - t)`, `P(tie) = (exp(2t) - 1) P(w) P(l)` with `d = r_w - r_l`
    (Rao and Kupper 1967, JASA 62:194). A judge who cannot tell apart rewards that differ by less than about t says
    "tie". t = 0 is Bradley-Terry. Margins are not read.

    | input | used as |
    | --- | --- |
    | tie_share_P | share of the outcome "tie": 1 for a tie, votes for one where they are known |
    | probability_P | soft label, of which half of tie_share_P is taken off for each win |
    | log_threshold | scalar tensor, learnable; start it at `rao_kupper_start(share of ties)` |
    | weight_P | not here, in the reduction |

    Shapes: rewards_B (B,), log_threshold () -> losses_P (P,).
    """
    return _outcome_loss(comparisons, *rao_kupper_outcomes(comparisons.differences(rewards_B), log_threshold))


def rao_kupper_outcomes(lead_P: Tensor, log_threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logarithms of `P(w)`, `P(l)` and `P(tie)`. Shapes: lead_P (P,), log_threshold () -> (P,) each."""
    threshold = _held_above(at_least_float32(log_threshold), SMALLEST_LOG_THRESHOLD)
    log_win_P, log_loss_P = logsigmoid(lead_P - threshold), logsigmoid(-lead_P - threshold)
    # log(exp(2t) - 1), written so that a large t does not overflow.
    log_tie_P = 2 * threshold + torch.log(-torch.expm1(-2 * threshold)) + log_win_P + log_loss_P
    return log_win_P, log_loss_P, log_tie_P


def davidson(rewards_B: Tensor, comparisons: Comparisons, log_nu: Tensor) -> Tensor:
    """Return the negative log likelihood of "better", "worse" or "tie" with `nu = exp(log_nu)`, one a comparison.

    `P(w) : P(l) : P(tie) = exp(r_w) : exp(r_l) : nu exp((r_w + r_l)/2)` (Davidson 1970, JASA 65:317): ties go with
    the geometric mean of both strengths. nu -> 0 is Bradley-Terry. Margins are not read.

    | input | used as |
    | --- | --- |
    | tie_share_P | share of the outcome "tie": 1 for a tie, votes for one where they are known |
    | probability_P | soft label, of which half of tie_share_P is taken off for each win |
    | log_nu | scalar tensor, learnable; start it at `davidson_start(share of ties)` |
    | weight_P | not here, in the reduction |

    Shapes: rewards_B (B,), log_nu () -> losses_P (P,).
    """
    return _outcome_loss(comparisons, *davidson_outcomes(comparisons.differences(rewards_B), log_nu))


def davidson_outcomes(lead_P: Tensor, log_nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logarithms of `P(w)`, `P(l)` and `P(tie)`. Shapes: lead_P (P,), log_nu () -> (P,) each."""
    half_P = lead_P / 2
    log_tie_strength_P = at_least_float32(log_nu).expand_as(half_P)
    total_P = torch.logsumexp(torch.stack([half_P, -half_P, log_tie_strength_P]), dim=0)
    return half_P - total_P, -half_P - total_P, log_tie_strength_P - total_P


def rao_kupper_start(tie_share: float) -> float:
    """Return the log threshold at which equal rewards tie with probability `tie_share`: log((1+s)/(1-s))."""
    share = _usable_share(tie_share)
    return math.log((1 + share) / (1 - share))


def davidson_start(tie_share: float) -> float:
    """Return the log of nu at which equal rewards tie with probability `tie_share`: log(2s/(1-s))."""
    share = _usable_share(tie_share)
    return math.log(2 * share / (1 - share))


def _outcome_loss(comparisons: Comparisons, log_win_P: Tensor, log_loss_P: Tensor, log_tie_P: Tensor) -> Tensor:
    tie_P, label_P = comparisons.tie_share_P, comparisons.probability_P
    # Shares that were rounded must not give a side less than nothing.
    win_P, loss_P = (label_P - tie_P / 2).clamp_min(0), (1 - label_P - tie_P / 2).clamp_min(0)
    return -(win_P * log_win_P + loss_P * log_loss_P + tie_P * log_tie_P)


def _held_above(value: Tensor, smallest: float) -> Tensor:
    return value + (value.clamp_min(smallest) - value).detach()


def _usable_share(tie_share: float) -> float:
    """Keep a measured share inside [0.001, 0.999]: at 0 and 1 the threshold would be infinite or undefined."""
    if not 0 <= tie_share <= 1:
        raise ConfigError(f"a share of ties must lie in [0, 1], not {tie_share}")
    return min(max(tie_share, 0.001), 0.999)
