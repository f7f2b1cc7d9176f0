"""Terms added to a loss that a constant shift of all rewards would otherwise leave free."""

from torch import Tensor

from rewardsmith.errors import ConfigError
from rewardsmith.objectives.comparisons import Comparisons, at_least_float32


def centring(rewards_B: Tensor, comparisons: Comparisons) -> Tensor:
    """Give `(r_w + r_l)^2`, one value a comparison; it pulls the mean reward of each pair to zero.

    Eisenstein et al. (2023, arXiv 2312.09244, eq. 2). Multiply it by the coefficient, which TRL calls
    `center_rewards_coefficient` (0.01 in its documentation), and reduce it like the loss.

    Shapes: rewards_B (B,) -> (P,).
    """
    rewards_B = at_least_float32(rewards_B)
    return (rewards_B[comparisons.better_P] + rewards_B[comparisons.worse_P]).square()


def l2_on_rewards(rewards_B: Tensor, comparisons: Comparisons, beta: float = 0.001) -> Tensor:
    """Give `beta/2 (r_w^2 + r_l^2)`, one value a comparison; it keeps rewards small.

    The term of the k-wise loss in "Reward Modeling for Large language models" (beta 0.001), reduced like the loss. A
    completion that stands in several comparisons counts in each.

    Shapes: rewards_B (B,) -> (P,).
    Raises ConfigError when `beta` is negative.
    """
    if not beta >= 0:
        raise ConfigError(f"beta must be >= 0, not {beta}")
    rewards_B = at_least_float32(rewards_B)
    return beta / 2 * (rewards_B[comparisons.better_P].square() + rewards_B[comparisons.worse_P].square())
