"""Fit temperature and tie threshold on half of the prompts, and measure what they are worth on the other half."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat

import numpy as np

from rewardsmith.capabilities import Outcomes
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import judgements, preferences, prompt_key
from rewardsmith.stats.calibration import Calibration, measure_calibration
from rewardsmith.stats.intervals import Resampling
from rewardsmith.stats.tie_calibration import TieCalibration, measure_ties
from rewardsmith.stats.ties import Judged

Half = list[tuple[str, ScoredGroup]]
Row = tuple[float, tuple[float, float, float], str]


def calibrate(scored: Sequence[ScoredGroup], how: Resampling | None = None) -> Calibration:
    """Fit a temperature on half of the prompts and measure calibration on the other half; with ties a threshold too.

    The model of ties is the one that the scorer was trained with, where it was with one; else the likelier.
    """
    how = how or Resampling()
    keys = [prompt_key(item.group) or f"\x00empty {index}" for index, item in enumerate(scored)]
    halves: tuple[Half, Half] = ([], [])
    for key, item in zip(keys, scored, strict=True):
        halves[not _in_first_half(key)].append((key, item))
    fit, held = ([value for _, item in half for value in _outcomes(item)] for half in halves)
    clusters = [key for key, item in halves[1] for _ in _outcomes(item)]
    return replace(measure_calibration(fit, held, clusters, how), ties=_ties(halves, how))


def _ties(halves: tuple[Half, Half], how: Resampling) -> TieCalibration | None:
    """Fit and measure ties; None where no judgement is one and the scorer was not trained with any."""
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


def _outcomes(item: ScoredGroup) -> list[tuple[float, float]]:
    """Return the margin of every judgement that prefers a side, and the share of raters who do."""
    rewards = item.rewards
    return [(rewards[one.better] - rewards[one.worse], one.probability) for one in preferences(item.group)]


def _in_first_half(key: str) -> bool:
    # By a hash, so that the halves are the same in whatever order the rows stand.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[0] < 128
