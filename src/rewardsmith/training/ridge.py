"""The linear head of ratings with the smallest squared error: one linear system, in place of iterations.

Shapes: B sequences, D features, A attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rewardsmith.models.attribute_head import AttributeHead
from rewardsmith.training.loss import StepLoss

if TYPE_CHECKING:
    from rewardsmith.training.head_fitting import Problem

# Rows whose products are added at a time, in fp64.
ROWS = 8192


def is_quadratic(head: nn.Module, loss: StepLoss) -> bool:
    """Whether the loss of a head is a sum of squares of what is linear in its parameters."""
    return isinstance(head, AttributeHead) and not loss.compares and loss.rating_loss == "squared"


def solve_ratings(head: nn.Module, problem: Problem, l2: float) -> None:
    """Set the head to the minimum of the mean squared error plus l2 / 2 times the sum of squared weights.

    Ridge regression (Hoerl and Kennard 1970) as ArmoRM fits its ratings (Wang et al. 2024, arXiv 2406.12845, section
    3.1), in units in which every feature has a spread of 1, so with the penalty that L-BFGS takes. A bias is not
    penalised. Without a penalty and with fewer ratings than features it is the smallest of the solutions.
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
        found = _solve(problem, rows_B, target_BA[:, columns], (float(known_BA.sum()), l2, head.bias is not None))
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


def _solve(problem: Problem, rows_B: Tensor, target_BA: Tensor, how: tuple[float, float, bool]) -> Tensor:
    """Return weights and, below them, biases. Shapes: -> [D or D + 1, A].

    Args:
        how: the number of ratings that the loss is the mean over, the penalty, and whether there is a bias.
    """
    count, l2, has_bias = how
    width = problem.table_UD.shape[1] + has_bias
    gram = torch.zeros(width, width, dtype=torch.float64, device=target_BA.device)
    right = torch.zeros(width, target_BA.shape[1], dtype=torch.float64, device=target_BA.device)
    for part_B in rows_B.split(ROWS):
        features = problem.table_UD[problem.row_B[part_B]].double() / problem.spread_D.double()
        if has_bias:
            features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
        gram += features.T @ features
        right += features.T @ target_BA[part_B]
    penalty = torch.full((width,), l2 * count / 2, dtype=torch.float64, device=gram.device)
    if has_bias:
        penalty[-1] = 0.0
    matrix = gram + penalty.diag()
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.linalg.pinv(matrix, hermitian=True) @ right if failed else torch.cholesky_solve(right, factor)
