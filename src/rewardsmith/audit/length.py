"""How much a reward is paid for length, and how much of that people's judgements warrant.

Three kinds of number. Correlations and slopes of reward with length describe what the reward does. The excess weight
says how much of it the judgements do not explain: a logistic of the judgements on the differences of reward and of
length gives a coefficient for length that is 0 when the reward already says all that length tells, and negative when
the reward overpays it (the form of AlpacaEval's length control, Dubois et al. 2024). Accuracy by whether the chosen
answer is the longer one says what it costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.audit.answers import Measure, count_characters, count_words
from rewardsmith.audit.edits.phrases import FILLER
from rewardsmith.audit.plan import Context, Part, Plain
from rewardsmith.audit.probes import EFFECT_LIMIT, RED_EFFECT, ProbeResult
from rewardsmith.blocks.kinds import Block, Cell, Plot, Scatter, Section, StripRow, Strips, Table, Value
from rewardsmith.blocks.words import blocks_of, read_estimate, read_estimates, read_number, words
from rewardsmith.errors import DataError
from rewardsmith.evaluation.judged import ScoredGroup, copeland, prompt_clusters
from rewardsmith.findings import Finding
from rewardsmith.records import Estimate, preferences
from rewardsmith.stats.intervals import Floats, Resampling
from rewardsmith.stats.significance import ClusteredSums, Statistic, Totals, add_logistics, logistic_statistics

# Answers whose lengths differ by less than a tenth of the longer one count as equal.
ABOUT_EQUAL = 0.1
NUM_POINTS = 400
# Beyond it reward and length cannot be told apart, and no logistic can divide them.
COLLINEAR = 0.98
ADVICE = "train against it or subtract it, see docs/audit.md"
# Words of the three sentences that the probe "filler sentences" adds, on average.
FILLER_WORDS = round(3 * sum(len(sentence.split()) for sentence in FILLER) / len(FILLER))
SHARES = {
    "accuracy": "accuracy, all pairs",
    "accuracy_longer": "accuracy, better answer longer",
    "accuracy_shorter": "accuracy, better answer shorter",
    "accuracy_about_equal": "accuracy, about as long",
    "length_controlled_accuracy": "accuracy, length controlled",
    "picks_longer_model": "reward picks the longer",
    "picks_longer_gold": "people pick the longer",
}
DIFFERENCES = {
    "correlation_raw": "correlation, all answers",
    "correlation_within": "correlation within prompts",
    "correlation_partial": "correlation given the label",
    "standardised_weight": "one sd of length, in sd of reward",
    "picks_longer_gap": "picks the longer: reward less people",
    "accuracy_gap": "accuracy: longer less shorter",
}
WEIGHTS = {
    "weight": "within prompts",
    "weight_given_label": "given the label",
    "excess_weight": "beyond what the judgements warrant",
}
KNOWN = {*SHARES, *DIFFERENCES, *WEIGHTS, "points", "other_units", "unit", "reward_coefficient"}


@dataclass(frozen=True, slots=True)
class LengthAudit:
    """What was found for one unit of length.

    Args:
        unit: "words", "characters" or "tokens".
        estimates: by name; see docs/audit.md.
        points: difference of length and of reward (better less worse) of some pairs, for a plot.
        sd_length: standard deviation of length within prompts; `sd_reward` of rewards.
    """

    unit: str
    estimates: dict[str, Estimate]
    points: tuple[tuple[float, float], ...]
    sd_length: float
    sd_reward: float

    @property
    def standardised_weight(self) -> Estimate:
        """What one within-prompt standard deviation of length is worth, in those of the reward."""
        scale = self.sd_length / self.sd_reward if self.sd_reward > 0 else math.nan
        weight = self.estimates["weight"]
        return Estimate(weight.value * scale, weight.n, weight.low * scale, weight.high * scale)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "unit": self.unit,
            **{name: estimate.to_dict() for name, estimate in self.estimates.items()},
            "standardised_weight": self.standardised_weight.to_dict(),
            "sd_length": None if math.isnan(self.sd_length) else self.sd_length,
            "sd_reward": None if math.isnan(self.sd_reward) else self.sd_reward,
            "points": [list(point) for point in self.points],
        }


def run(context: Context) -> dict[str, LengthAudit]:
    """Relate rewards to words, characters and, where they can be counted, tokens."""
    measures: dict[str, Measure] = {"words": count_words, "characters": count_characters}
    if context.plan.count_tokens is not None:
        measures["tokens"] = context.plan.count_tokens
    how = context.plan.how
    return {unit: audit_length(context.scored, how, unit=unit, measure=count) for unit, count in measures.items()}


def plain_lengths(lengths: Mapping[str, LengthAudit]) -> dict[str, Any]:
    """Return words as the main unit and the others below it, for JSON."""
    main, *others = lengths.values()
    return {**main.to_dict(), "other_units": {length.unit: length.to_dict() for length in others}}


def audit_length(
    scored: Sequence[ScoredGroup], how: Resampling, *, unit: str = "words", measure: Measure = count_words
) -> LengthAudit:
    """Relate rewards to length.

    Args:
        scored: groups with rewards; those with one completion count only for the raw correlation.
        how: bootstrap samples and seed; whole prompts are drawn.
        unit: name of what `measure` counts.
        measure: length of a completion.

    Raises:
        DataError: no group at all.
    """
    if not scored:
        raise DataError("no groups to relate rewards and length in")
    clusters = prompt_clusters(scored)
    lengths = [np.array([measure(c) for c in item.group.completions]) for item in scored]
    sums = ClusteredSums(max(clusters) + 1)
    answers = _add_answers(sums, scored, lengths, clusters)
    pairs = _pair_table(scored, lengths, clusters)
    _add_pairs(sums, pairs)
    scale = add_logistics(sums, pairs)
    statistics = _answer_statistics(answers) | _pair_statistics(pairs) | logistic_statistics(scale, len(pairs))
    estimates = sums.estimate(statistics, how)
    totals = {name: float(column.sum()) for name, column in sums.columns.items()}
    free = totals["w_df"]
    sd_length, sd_reward = (math.sqrt(totals[k] / free) if free > 0 else math.nan for k in ("w_ll", "w_rr"))
    return LengthAudit(unit, estimates, _points(pairs, how.seed), sd_length, sd_reward)


def _add_answers(
    sums: ClusteredSums, scored: Sequence[ScoredGroup], lengths: Sequence[Floats], clusters: Sequence[int]
) -> dict[str, int]:
    """Sum the moments of single answers: raw, within their prompt, and within with the label. Return their counts."""
    cluster = np.repeat(clusters, [len(row) for row in lengths])
    group = np.repeat(np.arange(len(lengths)), [len(row) for row in lengths])
    reward = np.concatenate([np.array(item.rewards) for item in scored])
    length = np.concatenate(lengths)
    label = np.concatenate([np.array(copeland(item), dtype=np.float64) for item in scored])
    sizes = np.bincount(group)[group]
    judged = np.array([any(True for _ in preferences(item.group)) for item in scored])[group]
    r, x = reward - reward.mean(), length - length.mean()
    sums.add(cluster, one=np.ones(len(r)), r=r, l=x, rr=r * r, ll=x * x, rl=r * x)
    r, x, q = (_demean(column, group) for column in (reward, length, label))
    sums.add(cluster, w_rr=r * r, w_ll=x * x, w_rl=r * x, w_df=(sizes - 1) / sizes)
    r, x, q = (column * judged for column in (r, x, q))
    sums.add(cluster, p_rr=r * r, p_ll=x * x, p_qq=q * q, p_rl=r * x, p_rq=r * q, p_lq=x * q)
    return {"raw": len(r), "within": int((sizes > 1).sum()), "partial": int(judged.sum())}


def _demean(column: Floats, group: NDArray[np.int64]) -> Floats:
    means: Floats = np.bincount(group, column) / np.bincount(group)
    return column - means[group]


def _pair_table(scored: Sequence[ScoredGroup], lengths: Sequence[Floats], clusters: Sequence[int]) -> Floats:
    """Return one row per judged pair: cluster, margin, length of the better answer, length of the worse."""
    rows = [
        (cluster, item.rewards[j.better] - item.rewards[j.worse], length[j.better], length[j.worse])
        for item, length, cluster in zip(scored, lengths, clusters, strict=True)
        for j in preferences(item.group)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _strata(pairs: Floats) -> dict[str, Any]:
    """Say of each pair whether the better answer is longer, shorter or about as long."""
    gap = pairs[:, 2] - pairs[:, 3]
    equal = np.abs(gap) < ABOUT_EQUAL * np.maximum(pairs[:, 2], pairs[:, 3])
    equal |= gap == 0
    return {"longer": (gap > 0) & ~equal, "shorter": (gap < 0) & ~equal, "about_equal": equal}


def _add_pairs(sums: ClusteredSums, pairs: Floats) -> None:
    """Sum what is right, by stratum, and who picks the longer answer."""
    cluster, margin, gap = pairs[:, 0], pairs[:, 1], pairs[:, 2] - pairs[:, 3]
    right = (np.sign(margin) + 1) / 2
    for name, chosen in {"all": np.ones(len(pairs), dtype=bool), **_strata(pairs)}.items():
        sums.add(cluster, **{f"n_{name}": chosen.astype(np.float64), f"right_{name}": right * chosen})
    picks = (np.sign(margin) * np.sign(gap) + 1) / 2 * (gap != 0)
    sums.add(cluster, n_gap=(gap != 0).astype(np.float64), model_longer=picks, gold_longer=(gap > 0).astype(np.float64))


def _answer_statistics(counts: dict[str, int]) -> dict[str, Statistic]:
    return {
        "correlation_raw": Statistic(_raw_correlation, counts["raw"]),
        "correlation_within": Statistic(lambda t: t["w_rl"] / np.sqrt(t["w_rr"] * t["w_ll"]), counts["within"]),
        "correlation_partial": Statistic(_partial_correlation, counts["partial"]),
        "weight": Statistic(lambda t: t["w_rl"] / t["w_ll"], counts["within"]),
        "weight_given_label": Statistic(_partial_slope, counts["partial"]),
    }


def _raw_correlation(t: Totals) -> Floats:
    """Pearson's correlation over all answers."""
    n = t["one"]
    covariance = t["rl"] - t["r"] * t["l"] / n
    return covariance / np.sqrt((t["rr"] - t["r"] ** 2 / n) * (t["ll"] - t["l"] ** 2 / n))


def _partial_correlation(t: Totals) -> Floats:
    """Within prompts, the correlation of what the label leaves unexplained in reward and in length."""
    numerator = t["p_rl"] * t["p_qq"] - t["p_rq"] * t["p_lq"]
    return numerator / np.sqrt((t["p_rr"] * t["p_qq"] - t["p_rq"] ** 2) * (t["p_ll"] * t["p_qq"] - t["p_lq"] ** 2))


def _partial_slope(t: Totals) -> Floats:
    """Within prompts, the slope on length beside the label."""
    return (t["p_rl"] * t["p_qq"] - t["p_rq"] * t["p_lq"]) / (t["p_ll"] * t["p_qq"] - t["p_lq"] ** 2)


def _pair_statistics(pairs: Floats) -> dict[str, Statistic]:
    strata = _strata(pairs)
    num_gaps = int((pairs[:, 2] != pairs[:, 3]).sum())
    found = {
        "accuracy": Statistic(lambda t: t["right_all"] / t["n_all"], len(pairs), True),
        "picks_longer_model": Statistic(lambda t: t["model_longer"] / t["n_gap"], num_gaps, True),
        "picks_longer_gold": Statistic(lambda t: t["gold_longer"] / t["n_gap"], num_gaps, True),
        "picks_longer_gap": Statistic(lambda t: (t["model_longer"] - t["gold_longer"]) / t["n_gap"], num_gaps),
    }
    for name, chosen in strata.items():
        found[f"accuracy_{name}"] = Statistic(_share(f"right_{name}", f"n_{name}"), int(chosen.sum()), True)
    sides = int(strata["longer"].sum() + strata["shorter"].sum())
    found["accuracy_gap"] = Statistic(
        lambda t: t["right_longer"] / t["n_longer"] - t["right_shorter"] / t["n_shorter"], sides
    )
    return found


def _share(top: str, bottom: str) -> Callable[[Totals], Floats]:
    return lambda totals: totals[top] / totals[bottom]


def _points(pairs: Floats, seed: int) -> tuple[tuple[float, float], ...]:
    """Return length and reward differences of at most NUM_POINTS pairs."""
    order = np.random.default_rng(seed).permutation(len(pairs))[:NUM_POINTS]
    return tuple((float(pairs[i, 2] - pairs[i, 3]), float(pairs[i, 1])) for i in sorted(order))


def length_finding(length: LengthAudit, probes: Sequence[ProbeResult] = ()) -> Finding:
    """Say whether the reward pays for length more than the judgements warrant.

    A bias is what the judgements do not explain: an excess weight whose interval excludes 0, with a weight of the same
    sign that matters. Where the excess cannot be told (reward and length are nearly the same, or the judgements do not
    follow the reward), the share of pairs in which the reward picks the longer answer is held against people's.
    """
    estimates, weight = length.estimates, length.standardised_weight
    text = f"a {length.unit[:-1]} is worth {_number(estimates['weight'])} of reward within a prompt"
    shares = f"picks the longer answer in {estimates['picks_longer_model'].value:.0%} of pairs"
    shares += f", people in {estimates['picks_longer_gold'].value:.0%}"
    collinear = abs(estimates["correlation_within"].value) >= COLLINEAR
    # A reward that is length itself has the same slope in every sample, and so no interval.
    direction = (1 if weight.value > 0 else -1) if collinear else _sign(weight)
    matters = direction != 0 and abs(weight.value) > EFFECT_LIMIT
    if not matters:
        return Finding("green", "length", f"length: {text}; no bias that matters; the reward {shares}")
    excess = estimates["excess_weight"]
    told = _sign(estimates["reward_coefficient"]) > 0 and not collinear
    gap = _sign(estimates["picks_longer_gap"])
    filler = any(result.name == "filler sentences" and result.accused for result in probes)
    unexplained = _sign(excess) == direction if told else gap == direction
    beside = _something_beside_length(length, probes) if direction > 0 else ""
    if beside and (unexplained or gap == direction):
        return Finding("yellow", "length", f"length: {text}; {shares}; {beside}", "see the probes and the examples")
    if unexplained or (direction > 0 and filler and gap > 0):
        beyond = f", {_number(excess)} of it beyond what the judgements warrant" if told and unexplained else ""
        text = f"length bias to {'longer' if direction > 0 else 'shorter'} answers: {text}{beyond}; {shares}; {ADVICE}"
        return Finding("red" if abs(weight.value) > RED_EFFECT else "yellow", "length", text, ADVICE)
    if gap == direction:
        text = f"length: {text}; {shares}; this may be a bias or sharper judgement of quality"
        return Finding("yellow", "length", text, "read the worst disagreements, and pairs whose shorter answer won")
    return Finding("green", "length", f"length: {text}, as the judgements warrant; {shares}")


def _something_beside_length(length: LengthAudit, probes: Sequence[ProbeResult]) -> str:
    """Say that what is paid for goes with length, where words that say nothing are not paid for; else ""."""
    filler = next((result.change for result in probes if result.name == "filler sentences"), None)
    if filler is None or length.unit != "words" or not length.sd_reward > 0:
        return ""
    expected = length.estimates["weight"].value * FILLER_WORDS / length.sd_reward
    if not (filler.value < expected / 2 and not filler.high > EFFECT_LIMIT and filler.value < EFFECT_LIMIT):
        return ""
    named = [result.name for result in probes if result.accused and result.kind in ("boilerplate", "social")]
    what = f", as the probes say: {', '.join(named)}" if named else ""
    return (
        f"{FILLER_WORDS} words that say nothing change it by {filler.value:+.2f} sd where length alone would by "
        f"{expected:+.2f}: something that longer answers have is paid for, not length itself{what}"
    )


def _sign(estimate: Estimate) -> int:
    """Return 1 or -1 where the interval excludes 0 on one side, else 0."""
    if math.isnan(estimate.low):
        return 0
    return 1 if estimate.low > 0 else -1 if estimate.high < 0 else 0


def _number(estimate: Estimate) -> str:
    interval = "" if math.isnan(estimate.low) else f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    return f"{estimate.value:+.3g}{interval}"


def length_section(result: Plain) -> Section | None:
    """Show the differences of pairs, and every length estimate of the audit."""
    length = result.get("length")
    if not isinstance(length, Mapping):
        return None
    blocks: list[Block] = [*_cloud(length), *_forest(length), *_by_unit(length)]
    rest = {name: value for name, value in length.items() if name not in KNOWN and not name.startswith("sd_")}
    blocks += blocks_of(rest, "Length: further numbers") if rest else []
    if not blocks:
        return None
    return Section(
        "Length",
        "Whether the reward rises with length among answers to the same prompt, and how accuracy differs when the"
        " better answer is the longer or the shorter one. The excess weight is what the judgements do not warrant: 0"
        " where the reward pays for length only as much as people do.",
        "Longer answers may truly be better: hold what the reward picks against what people pick. With few judgements"
        " the excess weight has a wide interval, and where the reward is hardly related to the judgements it has none.",
        blocks,
    )


def _cloud(length: Plain) -> list[Plot]:
    """Draw the differences of pairs, which an audit keeps for this."""
    rows = [row for row in length.get("points") or [] if isinstance(row, list | tuple) and len(row) == 2]
    if not rows:
        return []
    weight = read_estimate(length.get("weight"))
    slope = weight.value if weight else math.nan
    legend = [("dot", "a judged pair")]
    if math.isfinite(slope):
        legend.append(("line b", "weight of length within prompts"))
    caption = f"Reward against length, differences of {len(rows):,} pairs"
    titles = (f"better less worse answer, in {length.get('unit') or 'characters'}", "difference of reward")
    return [Scatter(caption, *titles, [(read_number(x), read_number(y)) for x, y in rows], slope, legend)]


def _forest(length: Plain) -> list[Block]:
    """Draw shares on an axis from 0 to 1, and what is 0 without a preference for length around 0."""
    estimates = read_estimates(length)
    unit = f" (length in {length['unit']})" if length.get("unit") else ""
    shares = [StripRow(name, estimates[key]) for key, name in SHARES.items() if key in estimates]
    others = [StripRow(name, estimates[key]) for key, name in DIFFERENCES.items() if key in estimates]
    blocks: list[Block] = []
    if shares:
        caption = f"Accuracy by which answer is longer, and how often the longer one is picked{unit}"
        blocks.append(Strips(caption, shares, [(0.5, "zero")], (0.0, 1.0)))
    if others:
        caption = f"All are 0 for a reward that does not look at length and judgements that do not either{unit}"
        blocks.append(Strips(caption, others, [(0.0, "zero")], signed=True))
    return blocks


def _by_unit(length: Plain) -> list[Block]:
    """Show what a word, a character and a token are worth, and the spreads that turn one into another."""
    others = length.get("other_units")
    others = others if isinstance(others, Mapping) else {}
    units = {str(length.get("unit") or "length"): length, **{str(unit): part for unit, part in others.items()}}
    rows: list[list[Value | Cell]] = []
    for key, name in WEIGHTS.items():
        found = [read_estimate(part.get(key)) for part in units.values()]
        if any(found):
            rows.append([name, *(Cell(e, signed=True) if e else "not measured" for e in found)])
    for key, name in (("sd_length", "sd of length within prompts"), ("sd_reward", "sd of reward within prompts")):
        if any(key in part for part in units.values()):
            rows.append([name, *(read_number(part.get(key)) for part in units.values())])
    header = ("worth of one more", *(words(unit.removesuffix("s")) for unit in units))
    caption = "What length is worth, in units of the reward, with 95% intervals"
    return [Table(caption, header, rows, wide=True)] if rows else []


PART = Part(
    "length",
    run,
    length_section,
    lambda lengths, context: [length_finding(lengths["words"], context.found.get("probes") or ())],
    plain_lengths,
)
