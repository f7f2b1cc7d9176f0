"""How far raters agree, and how accurate a model can be against labels that one of them gave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks.judgement_table import Edges, join_keys
from rewardsmith.records import Estimate
from rewardsmith.stats.agreement import (
    LEVELS,
    Level,
    krippendorff_alpha,
    pair_agreement,
    raters_ceiling,
    without_copies,
)
from rewardsmith.stats.intervals import Floats, clustered_share


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the raters of one data set agree.

    Args:
        units: pairs with two or more judgements.
        judgements: their number on these pairs.
        raters: named annotators among them; 0 when none is named.
        alpha: Krippendorff's alpha at each level over first / tie / second.
        agreement: chance that two judgements of one pair, neither a tie, agree; n counts pairs.
        ceiling: of accuracy, from `agreement`, see `stats.agreement.raters_ceiling`.
        soft_ceiling: mean share of the majority over soft labels; how many votes they hold is not known.
    """

    units: int
    judgements: int
    raters: int
    alpha: dict[Level, Estimate]
    agreement: Estimate
    ceiling: Estimate
    soft_ceiling: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON."""
        return {
            "pairs_with_several_judgements": self.units,
            "judgements": self.judgements,
            "annotators": self.raters,
            "alpha": {level: value.to_dict() for level, value in self.alpha.items()},
            "agreement": self.agreement.to_dict(),
            "ceiling_from_agreement": self.ceiling.to_dict(),
            "ceiling_from_soft_labels": self.soft_ceiling.to_dict(),
        }


def measure_agreement(edges: Edges, resamples: int = 1000, seed: int = 0) -> Agreement:
    """Measure agreement over pairs that several judgements compare.

    One named annotator counts once a pair (the first judgement); judgements that name none count each. A soft label
    enters its own ceiling only, since how many votes it holds is not known.
    """
    hard = np.flatnonzero(np.isnan(edges.probability) & ~edges.identical)
    pair, rater = edges.pair[hard], edges.annotator[hard]
    again = join_keys(pair, rater.astype(np.uint64))
    first = np.zeros(len(hard), dtype=bool)
    first[np.unique(again, return_index=True)[1]] = True
    hard = hard[first | (rater == 0)]
    names, inverse = np.unique(edges.pair[hard], return_inverse=True)
    counts = np.stack(
        [np.bincount(inverse, edges.direction[hard] == value, minlength=len(names)) for value in (-1, 0, 1)], axis=1
    )
    several = counts.sum(axis=1) >= 2
    raters = np.unique(edges.annotator[hard[several[inverse]]])
    alpha = {level: krippendorff_alpha(counts, (-1, 0, 1), level, resamples, seed) for level in LEVELS}
    prompts = np.zeros(len(names), dtype=np.uint64)
    prompts[inverse] = edges.prompt[hard]
    named = np.bincount(inverse, edges.annotator[hard] > 0, minlength=len(names)) > 0
    agreement = pair_agreement(_votes(counts[several], named[several]), prompts[several])
    soft = np.flatnonzero(~np.isnan(edges.probability) & ~edges.tie)
    return Agreement(
        int(several.sum()),
        int(counts[several].sum()),
        int((raters > 0).sum()),
        alpha,
        agreement,
        raters_ceiling(agreement),
        clustered_share(edges.probability[soft], edges.prompt[soft]),
    )


def _votes(counts: NDArray[np.int64], named: NDArray[np.bool_]) -> Floats:
    """Return the votes for either side of each pair; see `without_copies`."""
    return without_copies(counts[:, [0, 2]].astype(np.float64), named)
