"""How good the judgements are, while they come in: agreement, consistency, bias, speed, with intervals.

Every pair of answers of an item is a unit with the values -1 (the second is better), 0 (tie) and 1. Repeats are a
second word of one person: they enter self-consistency only. Imported judgements enter agreement as votes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from rewardsmith.collecting.ability import Vote, fit_bradley_terry
from rewardsmith.collecting.answers import answer_comparisons, judgement_comparisons, signature
from rewardsmith.collecting.exporting import Judged, JudgedItem
from rewardsmith.collecting.project import COMPARING, Project, Question
from rewardsmith.records import Estimate
from rewardsmith.stats.agreement import Level, count_ratings, krippendorff_alpha
from rewardsmith.stats.intervals import clustered_share, wilson

RESAMPLES = 400
# Below this many active seconds nobody has read two answers.
QUICK_SECONDS = 3.0
Unit = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class RaterQuality:
    """One annotator: agreement with the others and with gold, consistency, bias, speed, ability."""

    alias: str
    judgements: int
    others: Estimate
    gold: Estimate
    consistency: Estimate
    first: Estimate
    seconds: float
    quick: Estimate
    ability: Estimate


@dataclass(frozen=True, slots=True)
class DividedItem:
    """An item on which people disagree; `agreement` is the share of pairs of people who say the same."""

    item_id: int
    key: str
    votes: int
    agreement: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Everything the owner's page shows of one question.

    Args:
        alpha: Krippendorff's, ordinal where answers are compared, interval for ratings, nominal for the rest.
        agreement: chance that two people who judged the same say the same.
        first: share of decided pairs in which the answer further up or left won; `first_p` is its exact test of 1/2.
        models: strength by model (Bradley-Terry, all items together), where items say who wrote the answers.
    """

    question: str
    level: Level
    items: int
    judgements: int
    alpha: Estimate
    agreement: Estimate
    consistency: Estimate
    gold: Estimate
    first: Estimate
    first_p: float
    raters: list[RaterQuality] = field(default_factory=list)
    divided: list[DividedItem] = field(default_factory=list)
    models: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for JSON."""
        names = ("alpha", "agreement", "consistency", "gold", "first")
        raters = ("others", "gold", "consistency", "first", "quick", "ability")
        return {
            "question": self.question,
            "level": self.level,
            "items": self.items,
            "judgements": self.judgements,
            **{name: getattr(self, name).to_dict() for name in names},
            "first_p": None if math.isnan(self.first_p) else self.first_p,
            "annotators": [
                {"annotator": r.alias, "judgements": r.judgements, "median_seconds": _number(r.seconds)}
                | {name: getattr(r, name).to_dict() for name in raters}
                for r in self.raters
            ],
            "divided": [{"item": d.key, "votes": d.votes, "agreement": d.agreement} for d in self.divided],
            "models": self.models,
        }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def measure_quality(project: Project, items: Sequence[JudgedItem], question: str | None = None) -> Quality:
    """Measure the judgements of one question, the main one when None."""
    from scipy.stats import binomtest

    name = question or project.main_question.name
    asked = next(q for q in project.all_questions if q.name == name)
    level = _level(asked)
    real = [item for item in items if item.kind != "gold"]
    values = {
        (item.item_id, n): unit_values(asked, item, judged) for item in real for n, judged in enumerate(item.votes())
    }
    by_unit: dict[Unit, dict[str, float]] = {}
    for item in real:
        for n, judged in enumerate(item.votes()):
            for unit, value in values[item.item_id, n].items():
                by_unit.setdefault((item.item_id, unit), {})[judged.alias] = value
    positions = [won for item in items for judged in item.judgements for won in first_shown_wins(asked, item, judged)]
    consistent = repeat_agreement(asked, items)
    right = gold_agreement(asked, items)
    return Quality(
        name,
        level,
        sum(bool(item.votes()) for item in real),
        sum(len(item.votes()) for item in real),
        alpha_over_items(by_unit, level),
        _pair_agreement(by_unit),
        _share([ok for ok, _ in consistent]),
        _share([ok for ok, _ in right]),
        _share(positions),
        float(binomtest(sum(positions), len(positions)).pvalue) if positions else math.nan,
        _raters(asked, items, by_unit),
        divided_items(real, by_unit),
        model_strengths(asked, real),
    )


def _level(question: Question) -> Level:
    if question.task in COMPARING:
        return "ordinal"
    return "interval" if question.task == "rating" else "nominal"


def unit_values(question: Question, item: JudgedItem, judged: Judged) -> dict[Any, float]:
    """Return what one judgement says of every unit of an item."""
    answer = (judged.answer.get("answers") or {}).get(question.name) or {}
    if question.task in COMPARING:
        found = {}
        for edge in judgement_comparisons(judged.answer, len(item.completions), question.name):
            low, high = sorted((edge.better, edge.worse))
            found[low, high] = 0.0 if edge.is_tie else (1.0 if edge.better == low else -1.0)
        return found
    tables = {
        **(answer.get("ratings") or {}),
        **(answer.get("criteria") or {}),
        "first": answer.get("first_wrong") or [],
    }
    return {(name, n): float(v) for name, row in tables.items() for n, v in enumerate(row) if v is not None}


def alpha_over_items(by_unit: Mapping[Unit, Mapping[str, float]], level: Level, seed: int = 0) -> Estimate:
    """Return Krippendorff's alpha with a percentile interval that draws whole items: their units hang together."""
    units = [(unit, list(votes.values())) for unit, votes in by_unit.items() if len(votes) >= 2]
    if not units:
        return Estimate(math.nan, 0)
    most = max(len(votes) for _, votes in units)
    table = np.full((most, len(units)), np.nan)
    for column, (_, votes) in enumerate(units):
        table[: len(votes), column] = votes
    counts, values = count_ratings(table)
    items = np.unique([unit[0] for unit, _ in units], return_inverse=True)[1]
    if len(units) == items.max() + 1:
        return krippendorff_alpha(counts, values, level, RESAMPLES, seed)
    value = krippendorff_alpha(counts, values, level, 0)
    rows = [np.flatnonzero(items == n) for n in range(items.max() + 1)]
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES if len(rows) > 1 else 0):
        chosen = np.concatenate([rows[n] for n in generator.integers(0, len(rows), len(rows))])
        drawn.append(krippendorff_alpha(counts[chosen], values, level, 0).value)
    finite = [one for one in drawn if not math.isnan(one)]
    if math.isnan(value.value) or not finite:
        return value
    low, high = np.quantile(finite, [0.025, 0.975])
    return Estimate(value.value, value.n, float(low), float(high))


def _pair_agreement(by_unit: Mapping[Unit, Mapping[str, float]]) -> Estimate:
    """Return the chance that two people say the same of one unit, every unit alike, clustered by item."""
    shares, clusters = [], []
    for unit, votes in by_unit.items():
        if len(votes) >= 2:
            shares.append(_agreeing(list(votes.values())))
            clusters.append(unit[0])
    return clustered_share(shares, clusters)


def _agreeing(values: Sequence[float]) -> float:
    pairs = list(combinations(values, 2))
    return sum(a == b for a, b in pairs) / len(pairs)


def _share(values: Sequence[bool]) -> Estimate:
    return wilson(sum(values), len(values))


def first_shown_wins(question: Question, item: JudgedItem, judged: Judged) -> list[bool]:
    """Return for every decided pair whether the answer that was shown first won."""
    if not judged.shown or question.task not in COMPARING:
        return []
    place = {number: index for index, number in enumerate(judged.shown)}
    answer = (judged.answer.get("answers") or {}).get(question.name) or {}
    edges = answer_comparisons(answer, len(item.completions))
    return [place[better] < place[worse] for better, worse, tie, _ in edges if not tie]


def repeat_agreement(question: Question, items: Sequence[JudgedItem]) -> list[tuple[bool, str]]:
    """Return for every repeated item whether its annotator said the same twice, with the annotator."""
    found = []
    for item in items:
        first = {judged.alias: judged for judged in item.votes()}
        for judged in item.judgements:
            if judged.again and judged.alias in first:
                pair = [(one.answer.get("answers") or {}).get(question.name) for one in (first[judged.alias], judged)]
                found.append((signature(pair[0]) == signature(pair[1]), judged.alias))
    return found


def gold_agreement(question: Question, items: Sequence[JudgedItem]) -> list[tuple[bool, str]]:
    """Return for every judgement of a gold item whether it is the expected one, with the annotator."""
    return [
        (signature((judged.answer.get("answers") or {}).get(question.name)) == signature(expected), judged.alias)
        for item in items
        if item.kind == "gold" and (expected := (item.expected or {}).get(question.name))
        for judged in item.votes()
    ]


def _raters(
    question: Question, items: Sequence[JudgedItem], by_unit: Mapping[Unit, Mapping[str, float]]
) -> list[RaterQuality]:
    """Measure every annotator who judged here; those who were imported have no order and no times."""
    own: dict[str, list[tuple[JudgedItem, Judged]]] = {}
    for item in items:
        for judged in item.judgements:
            own.setdefault(judged.alias, []).append((item, judged))
    others: dict[str, tuple[list[float], list[int]]] = {alias: ([], []) for alias in own}
    for unit, votes in by_unit.items():
        for alias, value in votes.items():
            rest = [other for name, other in votes.items() if name != alias]
            if rest:
                others[alias][0].append(sum(value == other for other in rest) / len(rest))
                others[alias][1].append(unit[0])
    repeats, golds = repeat_agreement(question, items), gold_agreement(question, items)
    abilities = fit_bradley_terry(ability_votes(question, items)).abilities
    found = []
    for alias, pairs in sorted(own.items()):
        times = [one.active_ms / 1000 for _, one in pairs if one.active_ms is not None]
        won = [first for item, one in pairs for first in first_shown_wins(question, item, one)]
        found.append(
            RaterQuality(
                alias,
                sum(not one.again for _, one in pairs),
                clustered_share(*others[alias]),
                _share([ok for ok, who in golds if who == alias]),
                _share([ok for ok, who in repeats if who == alias]),
                _share(won),
                median(times) if times else math.nan,
                _share([seconds < QUICK_SECONDS for seconds in times]),
                abilities.get(alias, Estimate(math.nan, 0)),
            )
        )
    return found


def ability_votes(question: Question, items: Sequence[JudgedItem], by_model: bool = False) -> list[Vote]:
    """Return every vote on every pair; `by_model` names the sides by who wrote them, all items together."""
    votes = []
    for item in items:
        for judged in item.votes():
            for (low, high), value in unit_values(question, item, judged).items() if question.task in COMPARING else ():
                sides = (
                    (item.models[low], item.models[high]) if by_model else ((item.item_id, low), (item.item_id, high))
                )
                if by_model and (None in sides or sides[0] == sides[1]):
                    continue
                votes.append(Vote(judged.alias, item.item_id, sides[0], sides[1], (value + 1) / 2))
    return votes


def model_strengths(question: Question, items: Sequence[JudgedItem]) -> dict[str, float]:
    """Return each model's Bradley-Terry strength over all items, the strongest first."""
    fitted = fit_bradley_terry(ability_votes(question, items, by_model=True), ability=False, prior=1e-3).strengths
    return {str(name): round(value, 4) for name, value in sorted(fitted.items(), key=lambda pair: -pair[1])}


def divided_items(items: Sequence[JudgedItem], by_unit: Mapping[Unit, Mapping[str, float]]) -> list[DividedItem]:
    """Return the items that two or more people judged and not all alike, the most divided first."""
    shares: dict[int, list[float]] = {}
    for unit, votes in by_unit.items():
        if len(votes) >= 2:
            shares.setdefault(unit[0], []).append(_agreeing(list(votes.values())))
    known = {item.item_id: item for item in items}
    found = [
        DividedItem(number, known[number].key, len(known[number].votes()), sum(row) / len(row))
        for number, row in shares.items()
    ]
    return sorted((one for one in found if one.agreement < 1), key=lambda one: (one.agreement, -one.votes))
