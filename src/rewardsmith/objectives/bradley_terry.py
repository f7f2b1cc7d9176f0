"""Bradley-Terry: the better completion wins with probability sigmoid(r_w - r_l)."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rewardsmith.errors import ConfigError
from rewardsmith.objectives.comparisons import Comparisons


def bradley_terry(rewards_B: Tensor, comparisons: Comparisons, label_smoothing: float = 0.0) -> Tensor:
    """Give `-[q log sigmoid(z) + (1-q) log sigmoid(-z)]` with `z = r_w - r_l - margin`, one loss a comparison.

    q is the soft label `probability_P`, smoothed to `(1 - e) q + e (1 - q)`. With q = 1 this is the loss of
    Bradley and Terry (1952) as Ouyang et al. (2022, arXiv 2203.02155, eq. 1) use it; the margin is that of Llama 2
    (Touvron et al. 2023, arXiv 2307.09288, eq. 2); smoothing is that of conservative DPO (Mitchell 2023).
    A tie is q = 0.5 without margin. `k_wise` is this function, averaged over a prompt's pairs and then over prompts.

    | input | used as |
    | --- | --- |
    | probability_P | soft label q; 1 certain, 0.5 tie |
    | margin_P | subtracted from the difference; not for ties |
    | weight_P | not here, in the reduction |

    Shapes: rewards_B (B,) -> losses_P (P,).
    Raises ConfigError when `label_smoothing` is outside [0, 0.5].
    """
    if not 0 <= label_smoothing <= 0.5:
        raise ConfigError(f"label_smoothing must lie in [0, 0.5], not {label_smoothing}")
    logits_P = comparisons.differences(rewards_B) - comparisons.directed_margin()
    return soft_log_loss(logits_P, smoothed_labels(comparisons, label_smoothing))


def scaled_bradley_terry(rewards_B: Tensor, comparisons: Comparisons, label_smoothing: float = 0.0) -> Tensor:
    """Give `margin * -log sigmoid(r_w - r_l)`: the margin multiplies the loss, it does not shift the difference.

    Wang et al. (2024, HelpSteer2-Preference, arXiv 2410.01257, eq. 3), with margins 1 (slightly), 2 and 3 (much
    better). A comparison whose margin is unknown (0) counts once, and so does a tie: an unknown strength must not
    silence a judgement. Soft labels and smoothing as in `bradley_terry`.

    | input | used as |
    | --- | --- |
    | probability_P | soft label q |
    | margin_P | factor of the loss where > 0, else 1 |
    | weight_P | not here, in the reduction |

    Shapes: rewards_B (B,) -> losses_P (P,).
    Raises ConfigError when `label_smoothing` is outside [0, 0.5].
    """
    if not 0 <= label_smoothing <= 0.5:
        raise ConfigError(f"label_smoothing must lie in [0, 0.5], not {label_smoothing}")
    margin_P = comparisons.directed_margin()
    scale_P = torch.where(margin_P > 0, margin_P, torch.ones_like(margin_P))
    logits_P = comparisons.differences(rewards_B)
    return scale_P * soft_log_loss(logits_P, smoothed_labels(comparisons, label_smoothing))


def soft_log_loss(logits_P: Tensor, labels_P: Tensor) -> Tensor:
    """Give `-[q log sigmoid(z) + (1-q) log sigmoid(-z)]` as `softplus(-z) + (1-q) z`, which stays finite."""
    return softplus(-logits_P) + (1 - labels_P) * logits_P


def smoothed_labels(comparisons: Comparisons, label_smoothing: float) -> Tensor:
    """Give the soft labels (P,) after a share `label_smoothing` of them is taken to be flipped."""
    return comparisons.probability_P * (1 - 2 * label_smoothing) + label_smoothing
