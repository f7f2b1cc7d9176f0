"""The ratings that a run learns: which, by what weights they make the reward, on what scale, and what rows say of them.

Docs: docs/train-ratings.md.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from datasets import Dataset
from torch import nn

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats.format import STEP_LABELS
from rewardsmith.errors import ConfigError, DataError, describe, listed, nearest_or_known
from rewardsmith.models.attribute_head import Attribute, attributes_of, set_attributes
from rewardsmith.objectives import REGRESSION
from rewardsmith.records import PreferenceGroup
from rewardsmith.training.streams import RowStream

if TYPE_CHECKING:
    from rewardsmith.training.config import RewardConfig

logger = logging.getLogger(__name__)
# By which NeMo-Aligner marks an attribute that nobody rated.
NOT_RATED = -100.0
MASKED = "ratings of -100 taken as not rated"
# Rows of a table in which the names of ratings are looked for.
LOOKED_AT = 1000
TRAIN_STEPS = "train with loss_type='steps' (PRMTrainer); see docs/train-steps.md"
JUDGE_STEPS = f"the rows judge steps and compare no answers: {TRAIN_STEPS}"
HOW = "as `ratings` of a row, a list of numbers by name; see docs/train-ratings.md"


def rating_rows(
    group: PreferenceGroup, attributes: Sequence[str], where: str
) -> tuple[list[list[float]], Counter[str]]:
    """Return a row of ratings for every completion of a group, NaN where nobody rated, and how many -100 there were.

    Raises:
        DataError: a rating that is no number; names the row, the attribute and the completion.
    """
    masked = 0
    table = [[math.nan] * len(attributes) for _ in group.completions]
    for column, name in enumerate(attributes):
        for place, score in enumerate(group.ratings.get(name, ())):
            if score is None:
                continue
            if isinstance(score, bool) or not isinstance(score, int | float | np.number) or math.isinf(score):
                raise DataError(
                    f"{where}: rating {name!r} of completion {place} is {describe(score)}; give a finite number, or "
                    "null where nobody rated"
                )
            masked += score == NOT_RATED
            table[place][column] = math.nan if score == NOT_RATED else float(score)
    return table, Counter({MASKED: masked} if masked else {})


def is_rated(ratings: Iterable[Sequence[float]]) -> bool:
    """Whether a table of ratings holds a number."""
    return any(not math.isnan(score) for row in ratings for score in row)


def take_attributes(args: RewardConfig, rows: object) -> None:
    """Settle which ratings a run learns, and write them into its settings.

    Raises:
        ConfigError: a name or weight of a rating that no row has.
        DataError: there are no ratings.
    """
    found, is_all = rating_names(rows)
    weights = _weights(args.attribute_weights)
    names = list(args.attributes or weights or found)
    if not names:
        compared = "the rows compare answers: take --loss_type bradley_terry, or " if args.attributes is None else ""
        raise DataError(f"no answer of the training data is rated; {compared}give ratings {HOW}")
    if unknown := [name for name in names if name not in found and is_all]:
        raise ConfigError(
            f"attributes: no answer is rated {unknown[0]!r}; {nearest_or_known(unknown[0], found)}"
            if found
            else f"no answer of the training data is rated {unknown[0]!r}; give ratings {HOW}"
        )
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ConfigError(f"attributes names {repeated[0]!r} twice; name each once")
    if unknown := [name for name in weights if name not in names]:
        raise ConfigError(
            f"attribute_weights: {unknown[0]!r} is none of the attributes; {nearest_or_known(unknown[0], names)}"
        )
    if weights and (lacking := [name for name in names if name not in weights]):
        raise ConfigError(f"attribute_weights lacks {lacking[0]!r}; give every attribute a weight, 0 to leave it out")
    args.attributes = names
    args.attribute_weights = [f"{name}={weights.get(name, 1 / len(names)):.12g}" for name in names]


def named_attributes(args: RewardConfig) -> list[Attribute]:
    """Return the attributes of settings that `take_attributes` has settled, on the scale of their rows."""
    if not args.learns_ratings:
        return []
    weights = _weights(args.attribute_weights)
    return [Attribute(name, weights[name]) for name in args.attributes or ()]


def take_scales(args: RewardConfig, model: nn.Module, dataset: object) -> None:
    """Say what the ratings of encoded rows are, and set the scale of the head where they are to be standardised.

    Raises:
        DataError: an attribute that no answer is rated for, or that never varies.
        ConfigError: rows of a stream, whose mean nobody knows, are to be standardised.
    """
    attributes = attributes_of(model)
    if not attributes:
        return
    if not isinstance(dataset, Dataset):
        if args.rating_scale != "raw":
            raise ConfigError("rating_scale='standardized' needs all rows at hand; a stream is trained with 'raw'")
        return
    table = np.array([row for group in dataset["ratings"] for row in group], dtype=np.float64)
    kept = []
    for column, one in enumerate(attributes):
        scores = table[~np.isnan(table[:, column]), column]
        if not len(scores):
            raise DataError(f"no answer that is trained on is rated {one.name!r}; leave it out of attributes")
        mean, std = float(scores.mean()), float(scores.std())
        if std == 0:
            raise DataError(
                f"the rating {one.name!r} is {scores[0]:g} in all {len(scores):,} answers that have it: there is "
                "nothing to learn of it; leave it out of attributes"
            )
        logger.info(
            "rating %s: %d of %d answers, mean %.3f, standard deviation %.3f, from %g to %g; weight %g in the reward; "
            "always giving the mean has a squared error of %.3f",
            *(one.name, len(scores), len(table), mean, std, scores.min(), scores.max(), one.weight, std**2),
        )
        kept.append(one if args.rating_scale == "raw" else replace(one, mean=mean, std=std))
    logger.info("ratings are learned on their %s scale", "own" if args.rating_scale == "raw" else "standardised")
    set_attributes(model, kept)


def rating_names(rows: object) -> tuple[list[str], bool]:
    """Return the names of the ratings of rows, in the order of their first, and whether all rows were looked at."""
    groups, is_all = groups_looked_at(rows)
    names: dict[str, None] = {}
    for group in groups:
        names |= {name: None for name, scores in group.ratings.items() if any(s is not None for s in scores)}
    return list(names), is_all


def groups_looked_at(rows: object) -> tuple[Iterator[PreferenceGroup], bool]:
    """Return the first groups of rows, and whether they are all of them; encoded rows have none."""
    if isinstance(rows, Dataset) and "ids" in rows.column_names:
        return iter(()), False
    first: Iterable[object] = ()
    is_all = False
    if isinstance(rows, RowStream):
        first = rows.sample(LOOKED_AT)
    elif isinstance(rows, Sequence | Dataset):
        first, is_all = rows, len(rows) <= LOOKED_AT or not isinstance(rows, Dataset)
    return _read(first if is_all else islice(first, LOOKED_AT)), is_all


def _read(rows: Iterable[object]) -> Iterator[PreferenceGroup]:
    for number, row in enumerate(rows):
        # A row that cannot be read is refused, or counted, where it is encoded.
        with suppress(DataError):
            if isinstance(row, Mapping):
                row = parse_row(row, f"train row {number}")
            if isinstance(row, PreferenceGroup):
                yield row


def what_reads(rows: object) -> str | None:
    """Say what rows that compare nothing are for, where they judge steps or rate answers."""
    if any(STEP_LABELS in group.metadata for group in groups_looked_at(rows)[0]):
        return JUDGE_STEPS
    names, _ = rating_names(rows)
    if not names:
        return None
    return (
        f"the rows rate answers ({listed(names)}) and compare none: learn the ratings with --loss_type {REGRESSION}, "
        f"or take them as gold for `rewardsmith audit --gold rating:{names[0]}`"
    )


def _weights(given: Sequence[str] | Mapping[str, float] | None) -> dict[str, float]:
    """Read "NAME=WEIGHT" texts, or a mapping. Raises ConfigError for what is no such text."""
    items = given.items() if isinstance(given, Mapping) else [str(text).rpartition("=")[::2] for text in given or ()]
    found: dict[str, float] = {}
    for name, weight in items:
        try:
            value = float(weight)
        except (TypeError, ValueError):
            value = math.nan
        if not name or not math.isfinite(value):
            raise ConfigError(
                f"attribute_weights: {weight!r} is no weight of {name or 'an attribute'}; give NAME=NUMBER each, such "
                "as helpfulness=0.65"
            )
        if name in found:
            raise ConfigError(f"attribute_weights names {name!r} twice; name each once")
        found[name] = value
    if found and not any(found.values()):
        raise ConfigError("attribute_weights are all 0, so every reward would be 0; give one of them another weight")
    return found


def check_rating_settings(args: RewardConfig) -> None:
    """Refuse settings of ratings that would have no effect, and others beside them. Raises ConfigError."""
    regresses = args.loss_type == REGRESSION
    if args.rating_loss_coefficient and regresses:
        raise ConfigError(f"rating_loss_coefficient stands beside an objective of comparisons: {REGRESSION} is its own")
    if not args.learns_ratings:
        changed = {
            "attributes": args.attributes,
            "attribute_weights": args.attribute_weights,
            "rating_scale": args.rating_scale != "raw",
            "rating_loss": args.rating_loss != "squared",
        }
        if given := [name for name, value in changed.items() if value]:
            raise ConfigError(
                f"{given[0]} has no effect on {args.loss_type}, which reads no ratings; take loss_type={REGRESSION!r}, "
                "or learn them beside it with rating_loss_coefficient=1"
            )
        return
    _weights(args.attribute_weights)
    if args.ensemble > 1 and args.ensemble_kind == "heads":
        raise ConfigError(
            "a head of ratings is none of an ensemble: take ensemble_kind='models', or leave ensemble out"
        )
    unread = {
        "center_rewards_coefficient": args.center_rewards_coefficient,
        "l2_rewards_coefficient": args.l2_rewards_coefficient,
        "lm_loss_coefficient": args.lm_loss_coefficient,
        "ties": args.ties != "half",
        "sweep_loss_type": args.sweep_loss_type,
    }
    if regresses and (given := [name for name, value in unread.items() if value]):
        raise ConfigError(f"{given[0]} has no effect on {REGRESSION}, which reads no comparison; leave it out")
