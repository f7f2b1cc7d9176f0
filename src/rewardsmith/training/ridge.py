"""The linear head of ratings with the smallest squared error: one linear system, in place of iterations.

Shapes: B sequences, D features, A attributes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rewardsmith.models.attribute_head import AttributeHead
from rewardsmith.training.loss import StepLoss

if TYPE_CHECKING:
    from rewardsmith.training.head_fitting import Problem

# Penalties that are tried where none is given, and the one that is taken where there are too few groups to choose by.
PENALTIES, PENALTY = (1e-1, 1e-2, 1e-3, 1e-4), 1e-2
# Rows whose products are added at a time, in fp64.
ROWS = 8192


def is_quadratic(head: nn.Module, loss: StepLoss) -> bool:
    """Whether the loss of a head is a sum of squares of what is linear in its parameters."""
    return isinstance(head, AttributeHead) and not loss.compares and loss.rating_loss == "squared"


def solve_ratings(head: nn.Module, problem: Problem, l2: float) -> None:
    """Set the head to the minimum of the mean squared error plus l2 / 2 times the sum of squared weights.

    Ridge regression (Hoerl and Kennard 1970) as ArmoRM fits its ratings (Wang et al. 2024, arXiv 2406.12845, section
    3.1), in units in which every feature has a spread of 1, so with the penalty that L-BFGS takes. A bias is not
    penalised, nor is `free_direction` in its place. Without a penalty and with fewer ratings than features it is the
    smallest of the solutions.
    """
    ratings_BA = problem.ratings_BA
    assert isinstance(head, AttributeHead), "only a head of ratings is fitted to ratings"
    assert ratings_BA is not None, "a head of ratings is fitted to ratings"
    known_BA = ~ratings_BA.isnan()
    mean_A, std_A = (
        torch.tensor([getattr(one, name) for one in head.attributes], dtype=torch.float64, device=ratings_BA.device)
        for name in ("mean", "std")
    )
    target_BA = (ratings_BA.double() - mean_A) / std_A
    for columns in _alike(known_BA):
        rows_B = known_BA[:, columns[0]].nonzero()[:, 0]
        if not len(rows_B):
            continue
        found = _solve(problem, rows_B, target_BA[:, columns], (float(known_BA.sum()), l2, head))
        with torch.no_grad():
            head.weight[columns] = (found[: head.in_features] / problem.spread_D.double()[:, None]).T.to(head.weight)
            if head.bias is not None:
                head.bias[columns] = found[-1].to(head.bias)


def _alike(known_BA: Tensor) -> Iterator[list[int]]:
    """Yield the attributes that the same completions are rated for: they share one matrix."""
    kinds: dict[bytes, list[int]] = {}
    for column in range(known_BA.shape[1]):
        kinds.setdefault(known_BA[:, column].cpu().numpy().tobytes(), []).append(column)
    yield from kinds.values()


def free_direction(head: AttributeHead, problem: Problem) -> Tensor | None:
    """Return the direction of the mean feature, along which a head without a bias is not penalised; None with a bias.

    Such a head makes the mean rating of this direction. Penalised, it would shrink all ratings towards 0, and no
    penalty would do as well as always giving the mean. Features are in units of their spread. Shapes: -> [D].
    """
    if head.bias is not None:
        return None
    mean_D = problem.table_UD.double().mean(0) / problem.spread_D.double()
    length = float(mean_D.norm())
    return mean_D / length if length else None


def penalties_of(head: nn.Module, is_compared: bool) -> tuple[float, ...]:
    """Return the penalties to try for a head where none are given.

    Ratings want more of them: over few answers the best guess may be little more than their mean. D features with a
    spread of 1 have eigenvalues of D at most, so ten times that leaves of all fits only the mean.
    """
    if is_compared or not isinstance(head, AttributeHead):
        return PENALTIES
    powers = math.ceil(math.log10(20 * head.in_features / len(head.attributes)))
    return (*(10.0**power for power in range(max(powers, 0), -1, -1)), *PENALTIES)


def _solve(problem: Problem, rows_B: Tensor, target_BA: Tensor, how: tuple[float, float, AttributeHead]) -> Tensor:
    """Return weights and, below them, biases. Shapes: -> [D or D + 1, A].

    Args:
        how: the number of ratings that the loss is the mean over, the penalty, and the head.
    """
    count, l2, head = how
    has_bias = head.bias is not None
    width = problem.table_UD.shape[1] + has_bias
    gram = torch.zeros(width, width, dtype=torch.float64, device=target_BA.device)
    right = torch.zeros(width, target_BA.shape[1], dtype=torch.float64, device=target_BA.device)
    for part_B in rows_B.split(ROWS):
        features = problem.table_UD[problem.row_B[part_B]].double() / problem.spread_D.double()
        if has_bias:
            features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
        gram += features.T @ features
        right += features.T @ target_BA[part_B]
    penalty = torch.eye(width, dtype=torch.float64, device=gram.device)
    if has_bias:
        penalty[-1, -1] = 0.0
    if (free_D := free_direction(head, problem)) is not None:
        penalty -= torch.outer(free_D, free_D)
    matrix = gram + l2 * count / 2 * penalty
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.linalg.pinv(matrix, hermitian=True) @ right if failed else torch.cholesky_solve(right, factor)
