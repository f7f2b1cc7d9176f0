"""Ratings that a model gives, held against those of people: errors and correlations of each attribute.

The baseline is the best constant: always giving the mean of the ratings that are measured on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardsmith.blocks.kinds import Cell, Section, Table, Value
from rewardsmith.blocks.words import read_estimates
from rewardsmith.errors import DataError
from rewardsmith.findings import Finding
from rewardsmith.records import Estimate, PreferenceGroup, number_prompts
from rewardsmith.stats.correlation import CORRELATIONS, correlate
from rewardsmith.stats.intervals import Resampling, bootstrap_amount

if TYPE_CHECKING:
    from rewardsmith.evaluation.judged import ScoredGroup

ERRORS = ("mse", "mae")
Plain = Mapping[str, Any]
MORE = "rate more answers, train longer, or leave the attribute out"


@dataclass(frozen=True, slots=True)
class RatedResult:
    """What was measured of one attribute.

    Args:
        metrics: pearson, spearman and kendall over all answers; mse and mae in units of the rating.
        baselines: mse and mae of always giving the mean.
        gain: by how much the squared error is below that of the mean, paired; above 0 something was learned.
    """

    metrics: Mapping[str, Estimate]
    baselines: Mapping[str, Estimate]
    gain: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain: dict[str, Any] = {name: estimate.to_dict() for name, estimate in self.metrics.items()}
        return {
            **plain,
            "baselines": {name: estimate.to_dict() for name, estimate in self.baselines.items()},
            "gain": self.gain.to_dict(),
        }


def measure_ratings(
    groups: Sequence[PreferenceGroup],
    predicted: Sequence[Sequence[Mapping[str, float]]],
    how: Resampling | None = None,
) -> dict[str, RatedResult]:
    """Return what is measured of every attribute that is both given and rated.

    Args:
        predicted: per group, per completion, the ratings by name; an empty mapping where there are none.
    """
    how, clusters = how or Resampling(), number_prompts(groups)
    cells: dict[str, list[tuple[float, float, int]]] = {}
    for group, row, cluster in zip(groups, predicted, clusters, strict=True):
        for name, scores in group.ratings.items():
            for given, score in zip(row, scores, strict=True):
                if name in given and score is not None:
                    cells.setdefault(name, []).append((given[name], float(score), cluster))
    return {name: _measure(np.array(found, dtype=np.float64), how) for name, found in cells.items()}


def _measure(cells: np.ndarray, how: Resampling) -> RatedResult:
    given, rated, clusters = cells.T
    errors = {"mse": np.square, "mae": np.abs}
    own = {name: error(given - rated) for name, error in errors.items()}
    constant = {name: error(rated.mean() - rated) for name, error in errors.items()}

    def mean(values: np.ndarray) -> Estimate:
        return bootstrap_amount(values, clusters, how.resamples, how.seed)

    found = {name: correlate(given, rated, clusters, name, how) for name in CORRELATIONS}
    return RatedResult(
        {**found, **{name: mean(values) for name, values in own.items()}},
        {name: mean(values) for name, values in constant.items()},
        mean(constant["mse"] - own["mse"]),
    )


def ratings_table(plain: Plain) -> Table:
    """Return a row an attribute of what `RatedResult.to_dict` gave: correlations, and errors beside the mean's."""
    rows: list[list[Value | Cell]] = []
    for name, one in plain.items():
        found, constant = read_estimates(one), read_estimates(one.get("baselines"))
        errors = [cell for error in ERRORS for cell in (found[error], constant[error])]
        rows.append([name, *(found[metric] for metric in CORRELATIONS), *errors])
    titles = ("attribute", *CORRELATIONS, "mse", "mse of the mean", "mae", "mae of the mean")
    return Table("ratings that the model gives, against those of the data", titles, rows)


def ratings_section(result: Plain) -> Section | None:
    """Show what was measured of each rating."""
    ratings = result.get("ratings")
    if not isinstance(ratings, Mapping) or not ratings:
        return None
    return Section(
        "Ratings",
        "Each rating of the model beside those of people. An error that is not below that of always giving the mean"
        " shows that nothing was learned of the attribute.",
        "A correlation over all answers is of prompts, too: where some prompts get higher ratings, a model that tells"
        " prompts apart correlates without telling their answers apart.",
        [ratings_table(ratings)],
    )


def rating_verdict(results: Mapping[str, RatedResult]) -> Finding:
    """Return whether every attribute is predicted better than by a constant, as a finding."""
    behind = [name for name, one in results.items() if not one.gain.low > 0]
    worse = [name for name in behind if one_is_worse(results[name])]
    told = len(results) - len(behind)
    text = f"{told} of {len(results)} ratings are predicted better than by their mean"
    if not behind:
        return Finding("green", "ratings", text, "audit it with `rewardsmith audit MODEL DATA` before optimising it")
    listed = ", ".join(behind)
    return Finding("red" if worse else "yellow", "ratings", f"{text}; not shown of {listed}", MORE)


def one_is_worse(result: RatedResult) -> bool:
    """Whether the error is surely above that of a constant."""
    return not math.isnan(result.gain.high) and result.gain.high < 0


def require_measurable(name: str, scored: Sequence[ScoredGroup], data: str) -> None:
    """Refuse ratings alone where the scorer gives none of them. Raises DataError."""
    rated = dict.fromkeys(name for item in scored for name in item.group.ratings)
    given = dict.fromkeys(name for item in scored for part in item.attributes for name in part)
    if not rated.keys() & given.keys():
        gives = f"gives {', '.join(given)}" if given else "gives none"
        raise DataError(
            f"{data}: {len(scored)} groups without a judgement rate {', '.join(rated)}, and {name} {gives}; evaluate "
            "on preferences, or take ratings as gold with `rewardsmith audit --gold rating:NAME`"
        )
