"""`evaluate(scorer, data)`: every metric with its interval, beside baselines and ceiling, as one value."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardsmith.blocks.html import render_blocks
from rewardsmith.blocks.words import show, show_interval
from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import DataError, ScoringError
from rewardsmith.evaluation.judged import ScoredGroup, as_scorer, may_merge, rescore, score_groups, score_what_can_be
from rewardsmith.evaluation.metrics import AXES, details, measure, split_by
from rewardsmith.evaluation.sections import (
    accuracy_section,
    calibration_section,
    length_curve_section,
    margins_section,
    strata_section,
)
from rewardsmith.evaluation.verdict import RULES, BlindScores, measure_baselines, noise_ceiling, without_prompts
from rewardsmith.records import Estimate, PreferenceGroup, judgements, preferences, prompt_key
from rewardsmith.stats.calibration import (
    LOG_TEMPERATURE,
    Bin,
    calibration_numbers,
    confidence_and_credit,
    fit_temperature,
    log_losses,
    pair_brier,
    reliability_bins,
)
from rewardsmith.stats.intervals import Resampling, bootstrap_amount

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table
SCHEMA = "rewardsmith.evaluation"
SCHEMA_VERSION = 2
BASELINE = "accuracy"
STRATUM_METRICS = ("accuracy", "accuracy_strict", "reward_tie_rate", "margin", "best_of_k")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration on the half of the prompts that the temperature was not fitted on.

    Args:
        temperature: minimises NLL on the other half; NaN when that half has no judgements, or all rewards tie.
        n_fit: judgements it was fitted on.
        raw: `ece, brier, reliability, resolution, uncertainty, within_bin` and `nll` at temperature 1.
        scaled: the same at the fitted temperature.
        nll: with interval, at temperature 1.
        brier: with interval, at temperature 1.
        bins: the reliability diagram at temperature 1.
    """

    temperature: float
    n_fit: int
    raw: dict[str, float]
    scaled: dict[str, float]
    nll: Estimate
    brier: Estimate
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON, None for NaN."""
        return {
            "temperature": _none(self.temperature),
            "n_fit": self.n_fit,
            "raw": {name: _none(value) for name, value in self.raw.items()},
            "scaled": {name: _none(value) for name, value in self.scaled.items()},
            "nll": self.nll.to_dict(),
            "brier": self.brier.to_dict(),
            "bins": [asdict(item) for item in self.bins],
        }

    def headline(self) -> dict[str, float]:
        """Give what a table shows: the temperature, the numbers before it, and ECE and NLL after it."""
        after = {f"{name} at that temperature": self.scaled[name] for name in ("ece", "nll")}
        return {"temperature": self.temperature, **self.raw, **after}

    def contract_fields(self) -> dict[str, float]:
        """Give what belongs into the checkpoint's scoring contract: `temperature`.

        Raises:
            DataError: no temperature fits: there are no judgements, all are right, or the scorer is no better than
                chance.
        """
        if not math.isfinite(self.temperature):
            raise DataError("no temperature could be fitted: no judgement prefers a side, or every reward ties")
        lower, upper = map(math.exp, LOG_TEMPERATURE)
        if not 1.01 * lower < self.temperature < upper / 1.01:
            why = "every judgement is right" if self.temperature < 1 else "the rewards are no better than chance"
            raise DataError(f"no temperature fits {self.n_fit} judgements: {why}; evaluate on more or other data")
        return {"temperature": self.temperature}


def calibrate(scored: Sequence[ScoredGroup], how: Resampling | None = None) -> Calibration:
    """Fit a temperature on half of the prompts and measure calibration on the other half."""
    how = how or Resampling()
    fit: list[tuple[float, float]] = []
    held: list[tuple[float, float]] = []
    clusters: list[str] = []
    for index, item in enumerate(scored):
        key = prompt_key(item.group) or f"\x00empty {index}"
        values = _outcomes(item)
        if _in_first_half(key):
            fit += values
        else:
            held += values
            clusters += [key] * len(values)
    margins_fit, shares_fit = np.array(fit).reshape(-1, 2).T
    margins_held, shares_held = np.array(held).reshape(-1, 2).T
    temperature = fit_temperature(margins_fit, shares_fit)
    nll, brier = log_losses(margins_held, shares_held), pair_brier(*confidence_and_credit(margins_held, shares_held))
    return Calibration(
        temperature,
        len(fit),
        calibration_numbers(margins_held, shares=shares_held),
        calibration_numbers(margins_held / temperature, shares=shares_held),
        bootstrap_amount(nll, clusters, how.resamples, how.seed),
        bootstrap_amount(brier, clusters, how.resamples, how.seed),
        reliability_bins(margins_held, shares=shares_held),
    )


def _outcomes(item: ScoredGroup) -> list[tuple[float, float]]:
    """Give the margin of every judgement that prefers a side, and the share of raters who do."""
    rewards = item.rewards
    return [(rewards[one.better] - rewards[one.worse], one.probability) for one in preferences(item.group)]


def _in_first_half(key: str) -> bool:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[0] < 128


def _none(value: float) -> float | None:
    return None if math.isnan(value) else value


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

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON; `schema` and `schema_version` name the layout."""
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
            "dropped": dict(self.dropped),
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return f"<evaluation of {self.scorer} on {self.groups:,} groups: accuracy {self.metrics[BASELINE]}>"

    def _repr_html_(self) -> str:
        plain = self.to_dict()
        shown = [section for section in (accuracy_section(plain), strata_section(plain)) if section]
        return render_blocks([block for section in shown for block in section.blocks])

    def figures(self) -> dict[str, Figure]:
        """Return matplotlib figures: accuracy beside baselines, strata, reliability, margins, reward by length."""
        from rewardsmith.blocks.figures import figures_of

        plain = self.to_dict() | details(self.scored)
        builders = (accuracy_section, strata_section, calibration_section, margins_section, length_curve_section)
        return figures_of(build(plain) for build in builders)

    def table(self) -> Table:
        """Give the metrics, baselines and strata as a table for the terminal."""
        from rich.markup import escape
        from rich.table import Table

        title = f"{self.scorer}: {self.groups} groups, {self.comparisons} judgements, {self.gold_ties} ties"
        table = Table("metric", "value", "95% interval", "n", title=escape(title))
        _add(table, self.metrics)
        table.add_section()
        _add(table, self.baselines, "baseline: ")
        if self.ceiling.n:
            _add(table, {"noise ceiling": self.ceiling})
        for axis, parts in self.strata.items():
            table.add_section()
            _add(table, {name: metrics["accuracy"] for name, metrics in parts.items()}, f"{axis}: ")
        table.add_section()
        for name, value in self.calibration.headline().items():
            table.add_row(f"calibration: {name}", f"{value:.4f}", "", str(self.calibration.nll.n))
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
    loaded = load_preferences(data, **{"merge_prompts": may_merge(judge), **load_options})
    groups: list[PreferenceGroup] = list(loaded)
    if not any(group.comparisons for group in groups):
        raise DataError(f"{str(data)[:80]}: {len(groups)} groups without a judgement; evaluation needs preferences")
    if load_options.get("on_error") == "count":
        scored, left_out, _ = score_what_can_be(judge, groups)
        groups = [item.group for item in scored]
    else:
        scored, left_out = score_groups(judge, groups), {}
    if not scored:
        raise ScoringError(f"{judge.name} could score no group: {', '.join(left_out)}")
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
        dropped=dict(dropped or {}),
        scored=scored,
    )


def _what_is_undefined(result: Evaluation) -> list[str]:
    if result.comparisons > result.gold_ties:
        return []
    return [f"none of {result.comparisons} judgements prefers a side: every metric is undefined"]


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def _add(table: Table, estimates: Mapping[str, Estimate], prefix: str = "") -> None:
    from rich.markup import escape

    for name, estimate in estimates.items():
        table.add_row(escape(prefix + name), show(estimate.value), show_interval(estimate), str(estimate.n))
