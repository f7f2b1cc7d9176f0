"""Hinge: the better completion should lead by a margin, and more lead earns nothing."""

import torch
from torch import Tensor

from rewardsmith.errors import ConfigError
from rewardsmith.objectives.comparisons import Comparisons


def hinge(rewards_B: Tensor, comparisons: Comparisons, default_margin: float = 1.0) -> Tensor:
    """Give `q max(0, m - (r_w - r_l)) + (1-q) max(0, m + (r_w - r_l))`, one loss a comparison.

    With q = 1 the calibration loss of SLiC-HF (Zhao et al. 2023, arXiv 2305.10425, eq. 1) on rewards. m is the
    comparison's own margin where it is > 0, else `default_margin`. For a tie m = 0 and q = 0.5, so its loss is
    `|r_w - r_l| / 2`.

    | input | used as |
    | --- | --- |
    | probability_P | soft label q |
    | margin_P | the lead asked for, where > 0; a tie asks for none |
    | weight_P | not here, in the reduction |

    Shapes: rewards_B (B,) -> losses_P (P,).
    Raises ConfigError when `default_margin` is not positive: with 0 a constant reward would be a perfect one.
    """
    if not default_margin > 0:
        raise ConfigError(f"default_margin must be positive, not {default_margin}")
    margin_P = comparisons.margin_P
    margin_P = torch.where(margin_P > 0, margin_P, torch.full_like(margin_P, default_margin))
    margin_P = torch.where(comparisons.is_tie_P, torch.zeros_like(margin_P), margin_P)
    lead_P, label_P = comparisons.differences(rewards_B), comparisons.probability_P
    return label_P * torch.relu(margin_P - lead_P) + (1 - label_P) * torch.relu(margin_P + lead_P)
