"""The loss of judged steps: cross-entropy of two classes, wrong and right.

Lightman et al. 2023 (arXiv 2305.20050), section 2.5, and TRL's PRMTrainer; a soft label is the probability that a step
is right, as rollouts give it (Wang et al. 2023, arXiv 2312.08935, the soft estimation of equation 4).
"""

from __future__ import annotations

from torch import Tensor


def step_cross_entropy(logits_SC: Tensor, right_S: Tensor) -> Tensor:
    """Return -(1 - p) log P(wrong) - p log P(right) of each step, p its label.

    | argument | shape | what |
    |---|---|---|
    | logits_SC | [S, 2] | of the classes wrong and right |
    | right_S | [S] | probability that the step is right, in [0, 1] |

    Example:
        >>> import torch
        >>> step_cross_entropy(torch.zeros(1, 2), torch.ones(1)).item()
        0.6931471824645996
    """
    wrong_S, is_right_S = logits_SC.float().log_softmax(-1).unbind(-1)
    return -(1 - right_S) * wrong_S - right_S * is_right_S
