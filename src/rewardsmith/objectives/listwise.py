"""Listwise objectives: one loss a prompt, from the order of all its answers.

The comparisons of a prompt must order its answers from best to worst, with ties between equals (a ranking does). Where
they do not (some pairs were never judged, or judgements contradict each other), the prompt's loss is the mean of its
pairs' losses, which for two answers is the same objective.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from rewardsmith.objectives.comparisons import Comparisons, at_least_float32, bradley_terry, mean_over_groups

# Averaging over the orders of m tied answers takes 2^m terms; larger ties take Efron's approximation.
MAX_EXACT_TIES = 6


def plackett_luce(rewards_B: Tensor, comparisons: Comparisons, top_k: int | None = None) -> tuple[Tensor, Tensor]:
    """Plackett-Luce: `-sum_k [r_(k) - logsumexp_(j >= k) r_(j)]`, the answers in order of preference.

    Plackett (1975); as ListMLE in Xia et al. (2008). With two answers it is Bradley-Terry. Tied answers: the mean over
    all their orders, so that a tie of two is the soft label 1/2; from seven tied answers on, Efron (1977).

    Args:
        top_k: only the first k choices count; None counts all.

    Shapes: rewards_B (B,) -> losses_G (G,), weight_G (G,) with 0 for prompts without a comparison of any weight.
    """
    return _listwise(rewards_B, comparisons, lambda levels: _ranking_loss(levels, top_k))


def best_against_rest(rewards_B: Tensor, comparisons: Comparisons) -> tuple[Tensor, Tensor]:
    """Best against the rest: `-r_best + logsumexp_j r_j`, a cross-entropy with the best answer as its class.

    The objective behind best-of-n accuracy. Several best answers: the mean of each against the rest without the others.

    Shapes: rewards_B (B,) -> losses_G (G,), weight_G (G,).
    """
    return _listwise(rewards_B, comparisons, _best_loss)


def _listwise(
    rewards_B: Tensor, comparisons: Comparisons, loss_of_levels: Callable[[list[Tensor]], Tensor]
) -> tuple[Tensor, Tensor]:
    rewards_B = at_least_float32(rewards_B)
    losses, weights = [], []
    pair_losses = bradley_terry(rewards_B, comparisons)
    edges = _edges_of_groups(comparisons.judged())
    for group in range(comparisons.num_groups):
        members = edges[group]
        weights.append(1.0 if members else 0.0)
        if not members:
            losses.append(rewards_B.new_zeros(()))
            continue
        levels = order_levels(members)
        if levels is None:
            mask_P = comparisons.group_P == group
            total, count = mean_over_groups(
                pair_losses[mask_P], comparisons.weight_P[mask_P], torch.zeros_like(comparisons.group_P[mask_P]), 1
            )
            losses.append(total / count)
        else:
            losses.append(loss_of_levels([rewards_B[level] for level in levels]))
    return torch.stack(losses), rewards_B.new_tensor(weights)


def _edges_of_groups(judged: Comparisons) -> dict[int, list[tuple[int, int, bool]]]:
    """Return `(better, worse, is_tie)` of every comparison, by group."""
    columns = [getattr(judged, name).tolist() for name in ("better_P", "worse_P", "is_tie_P", "group_P")]
    edges: dict[int, list[tuple[int, int, bool]]] = defaultdict(list)
    for better, worse, tie, group in zip(*columns, strict=True):
        edges[group].append((better, worse, tie))
    return edges


def order_levels(edges: list[tuple[int, int, bool]]) -> list[list[int]] | None:
    """Return the answers from best to worst, equals together; None when the comparisons do not order them all.

    Args:
        edges: `(better, worse, is_tie)`.
    """
    wins: dict[int, set[int]] = defaultdict(set)
    nodes: set[int] = set()
    judged: set[frozenset[int]] = set()
    for better, worse, tie in edges:
        nodes |= {better, worse}
        if better == worse:
            continue
        judged.add(frozenset((better, worse)))
        if not tie:
            wins[better].add(worse)
    if len(judged) < len(nodes) * (len(nodes) - 1) // 2 or len(nodes) < 2:
        return None
    by_wins: dict[int, list[int]] = defaultdict(list)
    for node in sorted(nodes):
        by_wins[len(wins[node])].append(node)
    levels = [by_wins[count] for count in sorted(by_wins, reverse=True)]
    below = set(nodes)
    for level in levels:
        below -= set(level)
        if any(wins[node] != below for node in level):
            return None
    return levels


def _ranking_loss(levels: list[Tensor], top_k: int | None) -> Tensor:
    """Sum the choices from best to worst. Shapes: each level (m,) -> ()."""
    total = levels[0].new_zeros(())
    chosen = 0
    for index, level in enumerate(levels):
        if top_k is not None and chosen >= top_k:
            break
        below = torch.cat(levels[index + 1 :]) if index + 1 < len(levels) else level.new_zeros(0)
        total = total + _tied_choices(level, below) - level.sum()
        chosen += len(level)
    return total


def _tied_choices(level: Tensor, below: Tensor) -> Tensor:
    """Return the sum of log-denominators while the tied answers are chosen one after the other."""
    size = len(level)
    total = level.new_zeros(())
    if size > MAX_EXACT_TIES:
        for taken in range(size):
            share = level + torch.log(level.new_tensor((size - taken) / size))
            total = total + torch.logsumexp(torch.cat([share, below]), 0)
        return total
    for remaining in range(size, 0, -1):
        terms = [
            torch.logsumexp(torch.cat([level[list(kept)], below]), 0) for kept in combinations(range(size), remaining)
        ]
        total = total + torch.stack(terms).mean()
    return total


def _best_loss(levels: list[Tensor]) -> Tensor:
    """Shapes: each level (m,) -> ()."""
    best = levels[0]
    rest = torch.cat(levels[1:]) if len(levels) > 1 else best.new_zeros(0)
    terms = [torch.logsumexp(torch.cat([one[None], rest]), 0) - one for one in best]
    if not len(rest):
        return _tied_choices(best, rest) - best.sum()
    return torch.stack(terms).mean()
