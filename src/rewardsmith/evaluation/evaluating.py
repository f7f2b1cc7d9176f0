"""`evaluate(scorer, data)`: every metric with its interval, beside baselines and ceiling, as one value.

`details` measures what the report shows beyond them: margins, reward by length, the worst disagreements.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardsmith.blocks.html import render_blocks
from rewardsmith.blocks.words import show, show_interval
from rewardsmith.data.formats.format import data_frame
from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import DataError, ScoringError
from rewardsmith.evaluation.calibrating import Half, calibrate_ties
from rewardsmith.evaluation.judged import (
    AXES,
    ScoredGroup,
    comparison_rows,
    completion_length,
    margins,
    measure,
    outcome_reader,
    prompt_clusters,
    rescore,
    score_groups,
    score_what_can_be,
    side_texts,
    split_by,
)
from rewardsmith.evaluation.rated import RatedResult, measure_ratings, ratings_section, require_measurable
from rewardsmith.evaluation.scorers import as_scorer, may_merge
from rewardsmith.evaluation.sections import (
    accuracy_section,
    calibration_section,
    length_curve_section,
    margins_section,
    strata_section,
    ties_section,
)
from rewardsmith.evaluation.steps import refuse_steps
from rewardsmith.evaluation.verdict import RULES, BlindScores, measure_baselines, noise_ceiling, without_prompts
from rewardsmith.records import Estimate, PreferenceGroup, judgements, preferences, prompt_key
from rewardsmith.stats.calibration import Calibration, margin_histogram, measure_calibration
from rewardsmith.stats.intervals import Resampling, bootstrap_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

SCHEMA = "rewardsmith.evaluation"
SCHEMA_VERSION = 2
BASELINE = "accuracy"
STRATUM_METRICS = ("accuracy", "accuracy_strict", "reward_tie_rate", "margin", "best_of_k")


def calibrate(scored: Sequence[ScoredGroup], how: Resampling | None = None) -> Calibration:
    """Fit a temperature on half of the prompts and measure calibration on the other half; with ties a threshold too."""
    how = how or Resampling()
    halves: tuple[Half, Half] = ([], [])
    for index, item in enumerate(scored):
        key = prompt_key(item.group) or f"\x00empty {index}"
        halves[not _in_first_half(key)].append((key, item))
    fit, held = ([value for _, item in half for value in _outcomes(item)] for half in halves)
    clusters = [key for key, item in halves[1] for _ in _outcomes(item)]
    found = measure_calibration(fit, held, clusters, how)
    has_ties = any(item.outcomes or any(one.shares[2] for one in judgements(item.group)) for item in scored)
    return replace(found, ties=calibrate_ties(halves, how)) if has_ties else found


def _outcomes(item: ScoredGroup) -> list[tuple[float, float]]:
    """Return the margin of every judgement that prefers a side, and the share of raters who do."""
    rewards = item.rewards
    return [(rewards[one.better] - rewards[one.worse], one.probability) for one in preferences(item.group)]


def _in_first_half(key: str) -> bool:
    # By a hash, so that the halves are the same in whatever order the rows stand.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[0] < 128


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured.

    Args:
        scorer: its name.
        groups: number of groups; `comparisons` of judgements that count, `gold_ties` of those that prefer no side.
        metrics: name to estimate, over everything.
        strata: axis to value to metric to estimate.
        baselines: rule to its tie-aware accuracy on the same rows.
        ceiling: accuracy of always following the majority of raters; NaN without several raters.
        calibration: of margins as probabilities.
        dropped: rows that could not be read and groups that could not be scored, by reason.
        scored: the groups with their rewards (not in `to_dict`).
        notes: what could not be measured, and why.
        gains: by how much the scorer's accuracy lies above that of each baseline, paired on the same judgements.
        ratings: what is measured of each rating that the scorer gives and the data hold.
    """

    scorer: str
    groups: int
    comparisons: int
    gold_ties: int
    metrics: Mapping[str, Estimate]
    strata: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    baselines: Mapping[str, Estimate]
    ceiling: Estimate
    calibration: Calibration
    dropped: Mapping[str, int]
    scored: Sequence[ScoredGroup]
    notes: Sequence[str] = ()
    gains: Mapping[str, Estimate] = field(default_factory=dict)
    ratings: Mapping[str, RatedResult] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `schema` and `schema_version` name the layout."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "scorer": self.scorer,
            "groups": self.groups,
            "comparisons": self.comparisons,
            "gold_ties": self.gold_ties,
            "metrics": _plain(self.metrics),
            "strata": {
                axis: {name: _plain(metrics) for name, metrics in parts.items()} for axis, parts in self.strata.items()
            },
            "baselines": _plain(self.baselines),
            "gains_over_baselines": _plain(self.gains),
            "noise_ceiling": self.ceiling.to_dict(),
            "calibration": self.calibration.to_dict(),
            **({"ratings": {name: one.to_dict() for name, one in self.ratings.items()}} if self.ratings else {}),
            "dropped": dict(self.dropped),
            "notes": list(self.notes),
        }

    def to_pandas(self) -> Any:
        """Return a table with a row a comparison, as `rewardsmith evaluate --rows` writes it."""
        return data_frame(comparison_rows(self.scored))

    def __repr__(self) -> str:
        return f"<evaluation of {self.scorer} on {self.groups:,} groups: accuracy {self.metrics[BASELINE]}>"

    def _repr_html_(self) -> str:
        plain = self.to_dict()
        built = (accuracy_section(plain), ratings_section(plain), strata_section(plain))
        shown = [section for section in built if section]
        return render_blocks([block for section in shown for block in section.blocks])

    def figures(self) -> dict[str, Figure]:
        """Return matplotlib figures: accuracy beside baselines, strata, reliability, margins, reward by length."""
        from rewardsmith.blocks.figures import figures_of

        plain = self.to_dict() | details(self.scored)
        builders = (
            accuracy_section,
            strata_section,
            calibration_section,
            ties_section,
            margins_section,
            length_curve_section,
        )
        return figures_of(build(plain) for build in builders)

    def table(self) -> Table:
        """Return the metrics, baselines and strata as a table for the terminal."""
        from rich.markup import escape
        from rich.table import Table

        title = f"{self.scorer}: {self.groups} groups, {self.comparisons} judgements, {self.gold_ties} ties"
        table = Table("metric", "value", "95% interval", "n", title=escape(title))
        _add(table, self.metrics)
        table.add_section()
        _add(table, self.baselines, "baseline: ")
        if self.ceiling.n:
            _add(table, {"noise ceiling": self.ceiling})
        for name, one in self.ratings.items():
            table.add_section()
            _add(table, one.metrics, f"{name}: ")
            _add(table, one.baselines, f"{name}, always the mean: ")
        for axis, parts in self.strata.items():
            table.add_section()
            _add(table, {name: metrics["accuracy"] for name, metrics in parts.items()}, f"{axis}: ")
        table.add_section()
        for name, value in self.calibration.headline().items():
            table.add_row(f"calibration: {name}", f"{value:.4f}", "", str(self.calibration.nll.n))
        if self.calibration.ties is not None:
            _add(table, self.calibration.ties.headline(), "ties: ")
        return table


def evaluate(
    scorer: object, data: object, *, how: Resampling | None = None, prompt_blind: bool = False, **load_options: Any
) -> Evaluation:
    """Evaluate anything that scores on any preference data.

    Args:
        scorer: a RewardModel, a client of a server, a file of scores, a function (prompt, completions) -> rewards, or
            where one is found ("package.module:name", "file.py:name").
        data: a path, a hub id, rows or groups: what `load_preferences` takes.
        how: number of bootstrap samples and seed.
        prompt_blind: also score every answer without its prompt, as a baseline. It costs a second pass.
        load_options: passed to `load_preferences` (`reader`, `split`, `limit`, `on_error`). With on_error="count",
            groups that the scorer cannot score are left out and counted, too.

    Raises:
        DataError: the data cannot be read or holds no judgement.
        ScoringError: a completion has no finite reward.

    Example:
        >>> rows = [{"prompt": "2+2?", "chosen": "4", "rejected": "five"}]
        >>> evaluate(lambda prompt, answers: [-len(a) for a in answers], rows).metrics["accuracy"].value
        1.0
    """
    how = how or Resampling()
    judge = as_scorer(scorer)
    reader = outcome_reader(judge)
    loaded = load_preferences(data, **{"merge_prompts": may_merge(judge), **load_options})
    groups: list[PreferenceGroup] = list(loaded)
    compares = any(group.comparisons for group in groups)
    if not compares:
        refuse_steps(groups, str(data)[:80])
    if not compares and not any(group.ratings for group in groups):
        raise DataError(f"{str(data)[:80]}: {len(groups)} groups without a judgement; evaluation needs preferences")
    if load_options.get("on_error") == "count":
        scored, left_out, _ = score_what_can_be(judge, groups, reader)
        groups = [item.group for item in scored]
    else:
        scored, left_out = score_groups(judge, groups, reader), {}
    if not scored:
        raise ScoringError(f"{judge.name} could score no group: {', '.join(left_out)}")
    if not any(item.group.comparisons for item in scored):
        require_measurable(judge.name, scored, str(data)[:80])
    blind = without_prompts(partial(score_groups, judge), groups) if prompt_blind else BlindScores({})
    dropped = Counter(loaded.report.dropped)
    dropped.update(left_out)
    result = summarise(judge.name, scored, how, blind=blind.scored, dropped=dropped)
    notes = [*loaded.report.notes, *([blind.note] if blind.note else []), *_what_is_undefined(result)]
    return replace(result, notes=tuple(dict.fromkeys(notes)))


def summarise(
    name: str,
    scored: Sequence[ScoredGroup],
    how: Resampling,
    *,
    blind: Mapping[str, Sequence[ScoredGroup]] | None = None,
    dropped: Mapping[str, int] | None = None,
) -> Evaluation:
    """Measure groups that are scored already. `blind` are further baselines by name, on the same groups."""
    others = {rule: rescore(scored, function) for rule, function in RULES.items()} | dict(blind or {})
    strata = {axis: split_by(scored, axis) for axis in AXES}
    judged = [judgement for item in scored for judgement in judgements(item.group)]
    baselines, gains = measure_baselines(scored, others, how)
    return Evaluation(
        scorer=name,
        groups=len(scored),
        comparisons=len(judged),
        gold_ties=sum(judgement.is_tie for judgement in judged),
        metrics=measure(scored, how),
        strata={
            axis: {part: measure(items, how, STRATUM_METRICS) for part, items in parts.items()}
            for axis, parts in strata.items()
            if len(parts) > 1
        },
        baselines=baselines,
        gains=gains,
        ceiling=noise_ceiling(scored),
        calibration=calibrate(scored, how),
        ratings=_rated(scored, how),
        dropped=dict(dropped or {}),
        scored=scored,
    )


def _rated(scored: Sequence[ScoredGroup], how: Resampling) -> dict[str, RatedResult]:
    """Return what is measured of ratings, of the groups that came with some."""
    found = [item for item in scored if item.attributes and item.group.ratings]
    return measure_ratings([item.group for item in found], [item.attributes for item in found], how) if found else {}


def _what_is_undefined(result: Evaluation) -> list[str]:
    notes = []
    if result.comparisons == result.gold_ties and not result.ratings:
        notes.append(f"none of {result.comparisons} judgements prefers a side: every metric is undefined")
    elif (ties := result.calibration.ties) is not None and ties.why is not None and ties.predicted:
        notes.append(f"no threshold of ties was fitted: on the half of the prompts that fits, {ties.why}")
    return notes


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def _add(table: Table, estimates: Mapping[str, Estimate], prefix: str = "") -> None:
    from rich.markup import escape

    for name, estimate in estimates.items():
        table.add_row(escape(prefix + name), show(estimate.value), show_interval(estimate), str(estimate.n))


NUM_LENGTH_BINS = 8
MAX_CHARACTERS = 20_000
# Below it a bin of lengths says nothing.
MIN_BIN_SIZE = 10


def details(scored: Sequence[ScoredGroup], how: Resampling | None = None, count: int = 10) -> dict[str, Any]:
    """Return `margins`, `length_curve` and `worst` of scored groups as plain values, to be put beside an evaluation.

    Example:
        >>> from rewardsmith.evaluation import evaluate
        >>> rows = [{"prompt": "2+2?", "chosen": "4", "rejected": "five"}]
        >>> result = evaluate(lambda prompt, answers: [float(len(a)) for a in answers], rows)
        >>> details(result.scored)["worst"][0]["margin"]
        -3.0
    """
    return {
        "margins": margin_histogram(np.array([margin for item in scored for margin in margins(item)])),
        "length_curve": length_curve(scored, how or Resampling()),
        "worst": worst_disagreements(scored, count),
    }


def length_curve(scored: Sequence[ScoredGroup], how: Resampling) -> list[dict[str, Any]]:
    """Return the mean reward of completions by how long they are, both within their prompt.

    Length is log2(length / geometric mean length of the prompt's completions); reward is its difference from the
    prompt's mean, in units of the pooled within-prompt standard deviation. Bins hold equal numbers of completions.
    """
    lengths, rewards, clusters = [], [], []
    for item, cluster in zip(scored, prompt_clusters(scored), strict=True):
        if len(item.rewards) < 2:
            continue
        logs = np.log2([max(1, completion_length(completion)) for completion in item.group.completions])
        lengths += list(logs - logs.mean())
        rewards += list(np.array(item.rewards) - np.mean(item.rewards))
        clusters += [cluster] * len(logs)
    if not lengths:
        return []
    x, y, who = np.array(lengths), np.array(rewards), np.array(clusters)
    spread = float(np.sqrt((y**2).mean())) or 1.0
    parts = np.array_split(np.argsort(x, kind="stable"), max(1, min(NUM_LENGTH_BINS, len(x) // MIN_BIN_SIZE)))
    return [
        {
            "length": float(x[part].mean()),
            "reward": bootstrap_mean(y[part] / spread, who[part], min(how.resamples, 2000), how.seed).to_dict(),
        }
        for part in parts
    ]


def worst_disagreements(scored: Sequence[ScoredGroup], count: int = 10) -> list[dict[str, Any]]:
    """Return the judgements that the scorer gets wrong by the largest margin, at most one per prompt, with texts."""
    wrong = []
    for item, cluster in zip(scored, prompt_clusters(scored), strict=True):
        for judgement in preferences(item.group):
            margin = item.rewards[judgement.better] - item.rewards[judgement.worse]
            if margin < 0:
                wrong.append((margin, cluster, item, judgement))
    wrong.sort(key=lambda row: row[0])
    found: list[dict[str, Any]] = []
    seen: set[int] = set()
    for margin, cluster, item, judgement in wrong:
        if len(found) == count:
            break
        if cluster in seen:
            continue
        seen.add(cluster)
        texts = side_texts(item.group, judgement.better, judgement.worse)
        prompt, chosen, rejected = (text[:MAX_CHARACTERS] for text in texts)
        found.append(
            {
                "where": item.group.group_id,
                "margin": margin,
                "reward_chosen": item.rewards[judgement.better],
                "reward_rejected": item.rewards[judgement.worse],
                "prompt": prompt,
                "chosen": chosen,
                "rejected": rejected,
            }
        )
    return found
