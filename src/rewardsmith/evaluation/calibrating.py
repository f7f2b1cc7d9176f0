"""Fit temperature and threshold of ties on half of the prompts, and measure what they are worth on the other half."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import numpy as np

from rewardsmith.capabilities import Outcomes
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import judgements
from rewardsmith.stats.intervals import Resampling
from rewardsmith.stats.tie_calibration import TieCalibration, measure_ties
from rewardsmith.stats.ties import Judged

Half = list[tuple[str, ScoredGroup]]
Row = tuple[float, tuple[float, float, float], str]


def calibrate_ties(halves: tuple[Half, Half], how: Resampling) -> TieCalibration | None:
    """Fit and measure ties; None where no judgement is one and the scorer knows none.

    The model of ties is the one that the scorer was trained with, where it was with one; else the likelier.

    Args:
        halves: each scored group with the key of its prompt: those that fit, and those that measure.
    """
    rows = [[row for key, item in half for row in _judged(key, item)] for half in halves]
    fit, held = (Judged.of([row for row, _ in part]) for part in rows)
    given = [outcomes for _, outcomes in rows[1]]
    knows = bool(given) and all(one is not None for one in given)
    if not (knows or fit.shares[:, 2].any() or held.shares[:, 2].any()):
        return None
    as_it_is = np.array([one[:3] for one in given if one is not None], dtype=np.float64) if knows else None
    known = {name for half in halves for _, item in half for name in item.trained_ties}
    return measure_ties(fit, held, min(known) if len(known) == 1 else None, as_it_is, how)


def _judged(key: str, item: ScoredGroup) -> Iterator[tuple[Row, Outcomes | None]]:
    """Yield lead, shares and prompt of every judgement between two texts, and how the scorer says that it ends.

    A text that is compared with itself ties whatever anybody thinks of it.
    """
    given = item.outcomes or repeat(None)
    for one, outcomes in zip(judgements(item.group), given, strict=False):
        if one.better != one.worse:
            yield (item.rewards[one.better] - item.rewards[one.worse], one.shares, key), outcomes
