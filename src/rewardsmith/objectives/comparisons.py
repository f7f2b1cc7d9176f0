"""Comparisons of a batch as tensors, the losses of each comparison, and how losses are reduced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rewardsmith.errors import ConfigError
from rewardsmith.records import PreferenceGroup

Ties = Literal["half", "skip", "model"]


@dataclass(frozen=True)
class Comparisons:
    """P comparisons over a batch of rewards.

    Shapes: every tensor is (P,); `better_P` and `worse_P` index into `rewards_B`, `group_P` lies in 0..num_groups-1.

    Args:
        better_P: index of the preferred sequence (for a tie: either).
        worse_P: index of the other one.
        group_P: which prompt of the batch the comparison belongs to.
        is_tie_P: whether no side is preferred; a soft label of exactly 1/2 prefers none.
        margin_P: how much better, in units of the reward; 0 where unknown. Ties have none: theirs is not read.
        weight_P: how much each comparison counts, >= 0. Objectives do not apply it; the reduction does.
        probability_P: P(better is preferred): 1 when certain, 0.5 for a tie, else a soft label.
        tie_share_P: share of votes for a tie, half of which `probability_P` counts for each side: 1 for a tie, else 0
            where it is not known. Models of ties read it.
        num_groups: G, the prompts of the batch, also those without a comparison.
    """

    better_P: Tensor
    worse_P: Tensor
    group_P: Tensor
    is_tie_P: Tensor
    margin_P: Tensor
    weight_P: Tensor
    probability_P: Tensor
    tie_share_P: Tensor
    num_groups: int

    def __len__(self) -> int:
        return int(self.better_P.shape[0])

    def to(self, device: torch.device | str) -> Comparisons:
        """Move every tensor to `device`."""
        return replace(self, **{k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)})  # type: ignore[arg-type]

    def select(self, mask_P: Tensor) -> Comparisons:
        """Keep the comparisons where `mask_P` is true; the number of groups stays."""
        return replace(self, **{k: v[mask_P] for k, v in vars(self).items() if isinstance(v, Tensor)})  # type: ignore[arg-type]

    def judged(self) -> Comparisons:
        """Return what the labels say, the rule of `records.judgements` over tensors.

        Comparisons of weight 0 are left out, and a soft label below 1/2 turns its pair. Losses do not need it: their
        soft labels say the same either way round.
        """
        kept = self.select(self.weight_P > 0)
        turned_P = kept.probability_P < 0.5
        return replace(
            kept,
            better_P=torch.where(turned_P, kept.worse_P, kept.better_P),
            worse_P=torch.where(turned_P, kept.better_P, kept.worse_P),
            probability_P=torch.where(turned_P, 1 - kept.probability_P, kept.probability_P),
        )

    def differences(self, rewards_B: Tensor) -> Tensor:
        """Return `r_better - r_worse` (P,), in fp32 also when the rewards are bf16 or fp16."""
        rewards_B = at_least_float32(rewards_B)
        return rewards_B[self.better_P] - rewards_B[self.worse_P]

    def directed_margin(self) -> Tensor:
        """Return the margins (P,) with 0 for ties: a tie has no side that a margin could favour."""
        return torch.where(self.is_tie_P, torch.zeros_like(self.margin_P), self.margin_P)


def at_least_float32(rewards_B: Tensor) -> Tensor:
    """Upcast half precision to fp32, so that a loss is the same inside and outside of autocast; fp64 stays."""
    return rewards_B if rewards_B.dtype == torch.float64 else rewards_B.float()


def make_comparisons(
    better: Sequence[int],
    worse: Sequence[int],
    group: Sequence[int] | None = None,
    num_groups: int | None = None,
    **columns: Sequence[float] | Sequence[bool],
) -> Comparisons:
    """Build certain, unweighted comparisons from indices; each one is its own group unless `group` is given.

    `columns` may hold `is_tie`, `margin`, `weight`, `probability` and `tie_share`, P values each. A comparison of a
    sequence with itself, and one whose probability is 0.5, is a tie; a tie has probability 0.5 whatever was said.

    Example:
        >>> make_comparisons([0, 2], [1, 3], margin=[1.0, 0.0]).margin_P
        tensor([1., 0.])
    """
    known = ("is_tie", "margin", "weight", "probability", "tie_share")
    if unknown := set(columns) - set(known):
        raise ConfigError(f"make_comparisons takes {', '.join(known)}, not {sorted(unknown)}")
    groups = list(range(len(better))) if group is None else list(group)
    better_P, worse_P = torch.tensor(list(better), dtype=torch.long), torch.tensor(list(worse), dtype=torch.long)

    def column(name: str, default: float) -> Tensor:
        return torch.tensor(list(columns.get(name, [default] * len(groups))), dtype=torch.float32)

    probability_P = column("probability", 1.0)
    is_tie_P = (column("is_tie", 0.0) > 0) | (better_P == worse_P) | (probability_P == 0.5)
    return Comparisons(
        better_P=better_P,
        worse_P=worse_P,
        group_P=torch.tensor(groups, dtype=torch.long),
        is_tie_P=is_tie_P,
        margin_P=column("margin", 0.0),
        weight_P=column("weight", 1.0),
        probability_P=torch.where(is_tie_P, torch.full_like(probability_P, 0.5), probability_P),
        tie_share_P=column("tie_share", 0.0) if "tie_share" in columns else is_tie_P.float(),
        num_groups=max(groups, default=-1) + 1 if num_groups is None else num_groups,
    )


def comparisons_of_groups(groups: Sequence[PreferenceGroup]) -> Comparisons:
    """Lay the comparisons of several groups end to end; completion k of group g has index `K_0 + ... + K_(g-1) + k`."""
    starts = [0]
    for group in groups:
        starts.append(starts[-1] + len(group))
    edges = [
        (start, g, edge)
        for g, (start, group) in enumerate(zip(starts, groups, strict=False))
        for edge in group.comparisons
    ]
    return make_comparisons(
        [start + edge.better for start, _, edge in edges],
        [start + edge.worse for start, _, edge in edges],
        [g for _, g, _ in edges],
        num_groups=len(groups),
        is_tie=[edge.is_tie for *_, edge in edges],
        margin=[edge.margin or 0.0 for *_, edge in edges],
        weight=[edge.weight for *_, edge in edges],
        probability=[1.0 if edge.probability is None else edge.probability for *_, edge in edges],
        tie_share=[edge.tie_votes for *_, edge in edges],
    )


def with_ties(comparisons: Comparisons, ties: Ties) -> tuple[Comparisons, int]:
    """Say what ties count: returns the comparisons with their new weights, and how many ties lost theirs.

    "half" leaves them: plain Bradley-Terry then reads a tie as the soft label 0.5, which pulls the two rewards
    together. "skip" gives every tie weight 0. "model" is for Rao-Kupper and Davidson: ties stay, except comparisons
    of a sequence with itself, which are ties by construction and would only push the threshold up.
    """
    if ties not in get_args(Ties):
        raise ConfigError(f"ties must be 'half', 'skip' or 'model', not {ties!r}")
    if ties == "half":
        return comparisons, 0
    removed_P = comparisons.is_tie_P if ties == "skip" else comparisons.better_P == comparisons.worse_P
    weight_P = torch.where(removed_P, torch.zeros_like(comparisons.weight_P), comparisons.weight_P)
    return replace(comparisons, weight_P=weight_P), int(removed_P.sum())


# Every reduction returns (sum, denominator) instead of their quotient: the trainer adds both over micro-batches and
# devices and divides once, so that accumulation and data parallelism do not change the loss.


def mean_over_comparisons(losses_P: Tensor, weight_P: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of the losses and the sum of the weights: every comparison counts alike.

    With weights 1 the quotient is the plain mean that TRL takes over the rows of a batch.
    """
    weight_P = weight_P.to(losses_P.dtype)
    return (_silenced(losses_P, weight_P) * weight_P).sum(), weight_P.sum()


def mean_over_groups(losses_P: Tensor, weight_P: Tensor, group_P: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Return the sum over prompts of each prompt's weighted mean loss, and the number of prompts with any weight.

    The k-wise reduction of InstructGPT (Ouyang et al. 2022, arXiv 2203.02155, eq. 1): 1/C(K,2) over the pairs of a
    prompt, then the mean over prompts, so that a prompt with nine answers does not count 36 times. Skipped pairs
    (weight 0) leave the count: the mean is over the remaining ones.
    """
    weight_P = weight_P.to(losses_P.dtype)
    zeros_G = losses_P.new_zeros(num_groups)
    total_G = zeros_G.index_add(0, group_P, _silenced(losses_P, weight_P) * weight_P)
    weight_G = zeros_G.index_add(0, group_P, weight_P)
    has_any_G = weight_G > 0
    mean_G = total_G / torch.where(has_any_G, weight_G, torch.ones_like(weight_G))
    return mean_G.sum(), has_any_G.sum().to(losses_P.dtype)


def mean_over_rankings(losses_G: Tensor, weight_G: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of listwise losses and the number of prompts with any weight.

    The weight of a prompt is a factor of its loss; a prompt without weight (not ranked) does not count.
    """
    weight_G = weight_G.to(losses_G.dtype)
    return (_silenced(losses_G, weight_G) * weight_G).sum(), (weight_G > 0).sum().to(losses_G.dtype)


def _silenced(losses: Tensor, weight: Tensor) -> Tensor:
    """Replace losses without weight by 0, so that an overflow there cannot reach the sum as 0 * inf = NaN."""
    return torch.where(weight > 0, losses, torch.zeros_like(losses))


def bradley_terry(rewards_B: Tensor, comparisons: Comparisons, label_smoothing: float = 0.0) -> Tensor:
    """Return `-[q log sigmoid(z) + (1-q) log sigmoid(-z)]` with `z = r_w - r_l - margin`, one loss a comparison.

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
    """Return `margin * -log sigmoid(r_w - r_l)`: the margin multiplies the loss, it does not shift the difference.

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
    """Return `-[q log sigmoid(z) + (1-q) log sigmoid(-z)]` as `softplus(-z) + (1-q) z`, which stays finite."""
    return softplus(-logits_P) + (1 - labels_P) * logits_P


def smoothed_labels(comparisons: Comparisons, label_smoothing: float) -> Tensor:
    """Return the soft labels (P,) after a share `label_smoothing` of them is taken to be flipped."""
    return comparisons.probability_P * (1 - 2 * label_smoothing) + label_smoothing


def hinge(rewards_B: Tensor, comparisons: Comparisons, default_margin: float = 1.0) -> Tensor:
    """Return `q max(0, m - (r_w - r_l)) + (1-q) max(0, m + (r_w - r_l))`, one loss a comparison.

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


def centring(rewards_B: Tensor, comparisons: Comparisons) -> Tensor:
    """Return `(r_w + r_l)^2`, one value a comparison; it pulls the mean reward of each pair to zero.

    Eisenstein et al. (2023, arXiv 2312.09244, eq. 2). Multiply it by the coefficient, which TRL calls
    `center_rewards_coefficient` (0.01 in its documentation), and reduce it like the loss.

    Shapes: rewards_B (B,) -> (P,).
    """
    rewards_B = at_least_float32(rewards_B)
    return (rewards_B[comparisons.better_P] + rewards_B[comparisons.worse_P]).square()


def l2_on_rewards(rewards_B: Tensor, comparisons: Comparisons, beta: float = 0.001) -> Tensor:
    """Return `beta/2 (r_w^2 + r_l^2)`, one value a comparison; it keeps rewards small.

    The term of the k-wise loss in "Reward Modeling for Large language models" (beta 0.001), reduced like the loss. A
    completion that stands in several comparisons counts in each.

    Shapes: rewards_B (B,) -> (P,).
    Raises ConfigError when `beta` is negative.
    """
    if not beta >= 0:
        raise ConfigError(f"beta must be >= 0, not {beta}")
    rewards_B = at_least_float32(rewards_B)
    return beta / 2 * (rewards_B[comparisons.better_P].square() + rewards_B[comparisons.worse_P].square())


def language_loss(text_losses_B: Tensor, comparisons: Comparisons) -> tuple[Tensor, Tensor]:
    """Return the language-model loss of each chosen side, and the weights of the comparisons; a tie has weight 0.

    After Askell et al. (2021, arXiv 2112.00861). It is over the whole chosen sequence, prompt included, as its mean
    over tokens, so that a step is divided by its comparisons alone.

    Shapes: text_losses_B (B,), in nats a token -> (P,), (P,).
    """
    chosen_P = chosen_sides(comparisons)
    tied_P = comparisons.is_tie_P | (comparisons.probability_P == 0.5)
    return text_losses_B[chosen_P], torch.where(tied_P, 0.0, comparisons.weight_P)


def chosen_sides(comparisons: Comparisons) -> Tensor:
    """Return the side (P,) that each comparison prefers; a soft label below 1/2 turns its pair."""
    return torch.where(comparisons.probability_P < 0.5, comparisons.worse_P, comparisons.better_P)
