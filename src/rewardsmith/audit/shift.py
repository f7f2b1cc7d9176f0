"""Out of distribution: accuracy by where training and test data come from, and by how new the test data are.

Novelty here is the share of a group's distinct runs of three words (of its prompt and all its answers) that occur
nowhere in the training data: 0 for a copy, near 1 for another language. It reads words, not meaning, and needs no
hidden states, so it is defined for anything that scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rewardsmith.audit.plan import Context, Part, Plain
from rewardsmith.blocks.kinds import Block, Cell, Section, Table, Value
from rewardsmith.blocks.words import blocks_of, heat_table, read_estimate, read_number, show
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.data.merging import Hashes, ngram_hashes, words_of
from rewardsmith.data.texts import question_text
from rewardsmith.errors import DataError
from rewardsmith.evaluation.judged import ScoredGroup, accuracy_observations, score_groups
from rewardsmith.records import Estimate, PreferenceGroup, Scorer
from rewardsmith.stats.intervals import Resampling, paired_difference
from rewardsmith.stats.significance import unpaired_difference

NGRAM = 3
BINS = 5
CHUNK_HASHES = 4_000_000
MATRICES = {
    "matrix": "Accuracy of each model (row) on each data set",
    "loss_against_the_data_sets_own_model": "Accuracy lost against the model of the data set's own name",
}


@dataclass(frozen=True, slots=True)
class ShiftMatrix:
    """Every model on every data set.

    Args:
        accuracy: model to data set to tie-aware accuracy.
        loss: model to data set to what is lost against the model of the data set's own name, on the same judgements;
            only data sets that have such a model.
        scored: (model, data set) to the groups with their rewards (not in `to_dict`).
    """

    accuracy: Mapping[str, Mapping[str, Estimate]]
    loss: Mapping[str, Mapping[str, Estimate]]
    scored: Mapping[tuple[str, str], Sequence[ScoredGroup]] = field(repr=False)

    @property
    def at_home(self) -> Estimate:
        """Mean accuracy of the models on the data set of their own name; n counts models."""
        return _plain_mean(row[name] for name, row in self.accuracy.items() if name in row)

    @property
    def lost_abroad(self) -> Estimate:
        """Mean loss of the models on the data sets of others; n counts pairs of model and data set."""
        return _plain_mean(e for name, row in self.loss.items() for other, e in row.items() if other != name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain = {"matrix": _nested(self.accuracy)}
        if self.loss:
            plain |= {
                "loss_against_the_data_sets_own_model": _nested(self.loss),
                "mean_accuracy_at_home": self.at_home.to_dict(),
                "mean_loss_abroad": self.lost_abroad.to_dict(),
            }
        return plain


@dataclass(frozen=True, slots=True)
class NoveltyBin:
    """Accuracy on the groups whose novelty lies from `low` to `high`."""

    low: float
    high: float
    groups: int
    accuracy: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"from": self.low, "to": self.high, "groups": self.groups, "accuracy": self.accuracy.to_dict()}


@dataclass(frozen=True, slots=True)
class NoveltyCurve:
    """Accuracy by novelty.

    Args:
        ngram: words in a run.
        bins: about as many groups in each, the least novel first.
        difference: accuracy of the last bin minus that of the first.
        too_short: groups left out because they have no run of so many words.
    """

    ngram: int
    bins: Sequence[NoveltyBin]
    difference: Estimate
    too_short: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "novelty": [item.to_dict() for item in self.bins],
            "newest_minus_oldest": self.difference.to_dict(),
            "words_in_a_run": self.ngram,
            "groups_too_short": self.too_short,
        }


def run(context: Context) -> NoveltyCurve | None:
    """Measure accuracy by novelty against the plan's training data; None without them."""
    training = context.plan.training
    if not training:
        return None
    novelty = measure_novelty(training, [item.group for item in context.scored])
    return accuracy_by_novelty(context.scored, novelty, context.plan.how)


def measure_shift(
    models: Mapping[str, Scorer], data: Mapping[str, Sequence[PreferenceGroup]], how: Resampling | None = None
) -> ShiftMatrix:
    """Score every data set with every model; nothing is trained.

    Args:
        models: by the name of the data that they were trained on.
        data: held-out groups by the name of their source. Where a model has the same name it is the one at home.
        how: bootstrap over prompts.

    Raises:
        DataError: no model or no data set.

    Example:
        >>> from rewardsmith.evaluation import FunctionScorer
        >>> from rewardsmith.records import Comparison
        >>> groups = [PreferenceGroup(f"{i}?", ("yes, it is", "no"), (Comparison(0, 1),)) for i in range(5)]
        >>> longest = FunctionScorer(lambda prompt, answers: [len(a) for a in answers])
        >>> measure_shift({"mine": longest}, {"mine": groups}).accuracy["mine"]["mine"].value
        1.0
    """
    how = how or Resampling()
    if not models or not data:
        raise DataError(f"{len(models)} models and {len(data)} data sets; a matrix needs at least one of each")
    scored = {(name, set_): score_groups(model, data[set_]) for name, model in models.items() for set_ in data}
    observed = {key: accuracy_observations(items) for key, items in scored.items()}
    owned = [set_ for set_ in data if set_ in models]
    return ShiftMatrix(
        accuracy={name: {set_: observed[name, set_].estimate(how) for set_ in data} for name in models},
        loss={
            name: {set_: paired_difference(observed[set_, set_], observed[name, set_], how) for set_ in owned}
            for name in models
            if len(models) > 1 and owned
        },
        scored=scored,
    )


def accuracy_by_novelty(
    scored: Sequence[ScoredGroup], novelty: Sequence[float], how: Resampling | None = None, num_bins: int = BINS
) -> NoveltyCurve:
    """Return accuracy in bins of novelty.

    Args:
        scored: groups with their rewards.
        novelty: one number a group, such as `measure_novelty` gives; NaN leaves the group out.
    """
    how = how or Resampling()
    values = np.array(novelty, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    if len(values) != len(scored):
        raise DataError(f"{len(values)} numbers of novelty for {len(scored)} groups; give one for each")
    borders = np.unique(np.quantile(values[known], np.linspace(0, 1, num_bins + 1))) if len(known) else np.zeros(0)
    # Groups of equal novelty stand in one bin, so there may be fewer bins than were asked for.
    places = np.clip(np.searchsorted(borders, values[known], side="right") - 1, 0, max(0, len(borders) - 2))
    bins, observed = [], []
    for place in np.unique(places):
        members = known[places == place]
        found = accuracy_observations([scored[index] for index in members])
        observed.append(found)
        low, high = float(values[members].min()), float(values[members].max())
        bins.append(NoveltyBin(low, high, len(members), found.estimate(how)))
    few = len(bins) < 2
    difference = Estimate(math.nan, 0) if few else unpaired_difference(observed[-1], observed[0], how)
    return NoveltyCurve(NGRAM, bins, difference, len(values) - len(known))


def measure_novelty(
    train: Iterable[PreferenceGroup], groups: Sequence[PreferenceGroup], ngram: int = NGRAM
) -> list[float]:
    """Return for each group the share of its distinct runs of `ngram` words that the training data lack; NaN for none.

    Holds 8 bytes for each distinct run of the training data.

    Example:
        >>> old = PreferenceGroup("one two three four", ("a", "b"))
        >>> measure_novelty([old], [PreferenceGroup("one two three five", ("a", "b"))])
        [0.5]
    """
    known = _all_runs(train, ngram)
    novelty = []
    for group in groups:
        own = _runs(group, ngram)
        places = np.minimum(np.searchsorted(known, own), max(0, len(known) - 1))
        seen = np.count_nonzero(known[places] == own) if len(known) and len(own) else 0
        novelty.append(float(1 - seen / len(own)) if len(own) else math.nan)
    return novelty


def _all_runs(groups: Iterable[PreferenceGroup], ngram: int) -> Hashes:
    """Return the distinct runs of all groups, in order."""
    whole, parts, size = np.zeros(0, dtype=np.uint64), [], 0
    for group in groups:
        parts.append(_runs(group, ngram))
        size += len(parts[-1])
        if size > CHUNK_HASHES:
            whole, parts, size = np.unique(np.concatenate([whole, *parts])), [], 0
    return np.unique(np.concatenate([whole, *parts]))


def _runs(group: PreferenceGroup, ngram: int) -> Hashes:
    texts = [question_text(group), *map(plain_text, group.completions)]
    return np.unique(np.concatenate([ngram_hashes(words_of(text), ngram) for text in texts]))


def _plain_mean(estimates: Iterable[Estimate]) -> Estimate:
    values = [e.value for e in estimates if not math.isnan(e.value)]
    return Estimate(math.fsum(values) / len(values) if values else math.nan, len(values))


def _nested(table: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, Any]]:
    return {name: {column: e.to_dict() for column, e in row.items()} for name, row in table.items()}


def shift_section(result: Plain) -> Section | None:
    """Show the matrices and accuracy by novelty."""
    value = result.get("shift")
    if not isinstance(value, Mapping):
        return None
    matrices = {key: value[key] for key in MATRICES if isinstance(value.get(key), Mapping)}
    blocks: list[Block] = [heat_table(matrix, MATRICES[key]) for key, matrix in matrices.items()]
    rows = [row for row in value.get("novelty") or [] if isinstance(row, Mapping)]
    if rows:
        caption = f"Accuracy by the share of runs of {value.get('words_in_a_run')} words that the training data lack"
        blocks.append(Table(caption, ("novelty", "groups", "accuracy"), list(map(_novelty_row, rows))))
    shown = {*matrices, *(("novelty", "words_in_a_run") if rows else ())}
    blocks += blocks_of({key: item for key, item in value.items() if key not in shown}, "Out of distribution")
    if not blocks:
        return None
    return Section(
        "Out of distribution",
        "Accuracy by where training and test data come from, or by how new a prompt is. A model that learned what"
        " people want holds up away from its own data.",
        "Data sets differ in difficulty and in label noise: compare down a column, not along a row.",
        blocks,
    )


def _novelty_row(row: Plain) -> list[Value | Cell]:
    span = f"{show(read_number(row.get('from')))} to {show(read_number(row.get('to')))}"
    return [span, row.get("groups"), read_estimate(row.get("accuracy"))]


PART = Part("shift", run, shift_section)
