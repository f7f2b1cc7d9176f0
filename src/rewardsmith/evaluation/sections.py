"""The sections of evaluations, comparisons and benchmarks.

Sections read the layout of the JSON, so a result that was saved can be reported later; what is missing is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.blocks.kinds import (
    Block,
    Cell,
    Curve,
    Curves,
    Example,
    Examples,
    FindingLine,
    Findings,
    Histogram,
    Reliability,
    Section,
    StripRow,
    Strips,
    Table,
    Tone,
    Value,
)
from rewardsmith.blocks.words import read_estimate, read_estimates, read_number, show, words
from rewardsmith.records import Estimate
from rewardsmith.stats.intervals import wilson
from rewardsmith.stats.tie_calibration import AS_IT_IS, FITTED, WORDS

Plain = Mapping[str, Any]
Row = Sequence[Value | Cell]
MAIN = "accuracy"
UNIT = (0.0, 1.0)
CHANCE = (0.5, "zero")
NAMES = {
    MAIN: "accuracy",
    "accuracy_strict": "accuracy, equal rewards wrong",
    "noise_ceiling": "ceiling of raters' noise",
}
SCORES = {"ece": "ECE (expected calibration error)", "nll": "NLL (log loss)", "brier": "Brier score"}


def accuracy_section(result: Plain) -> Section | None:
    """Show accuracy, null baselines and ceiling on one axis, and the other metrics as a table."""
    metrics = read_estimates(result.get("metrics"))
    if not metrics:
        return None
    rows = [StripRow(NAMES[name], metrics[name]) for name in (MAIN, "accuracy_strict") if name in metrics]
    baselines = read_estimates(result.get("baselines"))
    rows += [StripRow(f"baseline: {words(name)}", value, tone="b") for name, value in baselines.items()]
    ceiling = read_estimate(result.get("noise_ceiling"))
    if ceiling is not None and not math.isnan(ceiling.value):
        rows.append(StripRow(NAMES["noise_ceiling"], ceiling, tone="c"))
    others: list[Row] = [
        [words(name), value] for name, value in metrics.items() if name not in (MAIN, "accuracy_strict")
    ]
    blocks: list[Block] = [Strips("Share of judged pairs that are put in the right order", rows, [CHANCE], UNIT)]
    gains = read_estimates(result.get("gains_over_baselines"))
    if gains:
        leads: list[Row] = [[words(name), Cell(value, signed=True)] for name, value in gains.items()]
        blocks.append(Table("Lead over each baseline on the same judgements", ("baseline", "difference"), leads))
    if others:
        blocks.append(Table("Other metrics", ("metric", "value"), others))
    return Section(
        "Accuracy",
        "The share of judged pairs whose better answer has the higher reward. Chance is 0.5; a figure that does not"
        " clear the best baseline shows no understanding of the answers.",
        "The labels may be wrong or the prompts unlike yours, and the interval knows neither. Coarse rewards (bf16,"
        " whole numbers) make ties, which the strict figure counts as errors.",
        blocks,
        is_essential=True,
    )


def strata_section(result: Plain) -> Section | None:
    """Show accuracy in each part of the data."""
    strata = result.get("strata")
    if not isinstance(strata, Mapping) or not strata:
        return None
    overall = read_estimates(result.get("metrics")).get(MAIN)
    lines = [CHANCE, *([(overall.value, "reference")] if overall else [])]
    blocks = []
    for axis, parts in strata.items():
        found = {str(name): read_estimates(metrics).get(MAIN) for name, metrics in parts.items()}
        rows = [StripRow(name, value) for name, value in found.items() if value is not None]
        caption = f"Accuracy (a tie counts half) by {words(axis)}; the dotted line is the whole data set"
        blocks.append(Strips(caption, rows, lines, UNIT))
    return Section(
        "Where it is right",
        "The same accuracy in each part of the data. The worst part tells more about trouble to come than the mean.",
        "Small parts have wide intervals, and with many parts some look bad by chance.",
        blocks,
    )


def best_baseline(baselines: Mapping[str, Estimate]) -> tuple[str, Estimate] | None:
    """Return the defined baseline with the highest accuracy, the scorer without the prompt among them."""
    known = {name: value for name, value in baselines.items() if not math.isnan(value.value)}
    return max(known.items(), key=lambda item: (item[1].value, item[0])) if known else None


def hold_against(accuracy: Estimate, baseline: Estimate) -> Tone:
    """Compare two intervals: "good" above, "bad" below, "warn" where they overlap or one is not known."""
    if math.isnan(accuracy.low) or math.isnan(baseline.value):
        return "warn"
    # A baseline without an interval is held as a point.
    low, high = (baseline.value if math.isnan(end) else end for end in (baseline.low, baseline.high))
    return "good" if accuracy.low > high else "bad" if accuracy.high < low else "warn"


def calibration_section(result: Plain) -> Section | None:
    """Show the reliability diagram and the calibration numbers before and after the temperature."""
    calibration = result.get("calibration")
    if not isinstance(calibration, Mapping):
        return None
    raw, scaled = calibration.get("raw") or {}, calibration.get("scaled") or {}
    temperature = read_number(calibration.get("temperature"))
    held = read_estimate(calibration.get("nll"))
    rows: list[Row] = [
        [SCORES.get(name, words(name)), read_number(raw[name]), read_number(scaled.get(name))] for name in raw
    ]
    caption = f"Measured on n={held.n if held else 0:,} pairs of prompts that the temperature was not fitted on"
    found = [_bin(item) for item in calibration.get("bins") or [] if isinstance(item, Mapping)]
    bins = [item for item in found if item]
    blocks: list[Block] = []
    if bins:
        legend = [("a", "bin, 95% interval (Wilson)"), ("ideal", "perfectly calibrated")]
        blocks.append(Reliability("Reliability at temperature 1", bins, legend))
    blocks.append(Table(caption, ("number", "as it is (T=1)", f"at T={show(temperature)}"), rows))
    estimates = {SCORES[name]: read_estimate(calibration.get(name)) for name in ("nll", "brier")}
    intervals: list[Row] = [[name, estimate] for name, estimate in estimates.items() if estimate is not None]
    fitted = Estimate(temperature, int(read_number(calibration.get("n_fit", 0)) or 0))
    blocks.append(Table("With intervals, T=1", ("number", "value"), [*intervals, ["fitted temperature T", fitted]]))
    return Section(
        "Calibration",
        "Whether a pair with confidence 0.8 is right in 8 of 10 cases. Points below the diagonal are over-confident;"
        " dividing rewards by T mends this and changes no ranking.",
        "ECE is small when all confidences lie near the accuracy: read the bins. A temperature at 0.001 or 10000 has no"
        " optimum.",
        blocks,
    )


def ties_section(result: Plain) -> Section | None:
    """Show whether P(tie) is what it says: mean and reliability before and after the fit, and what the fit gains."""
    ties = (result.get("calibration") or {}).get("ties") if isinstance(result.get("calibration"), Mapping) else None
    if not isinstance(ties, Mapping) or not ties.get("predicted"):
        return None
    losses, gains = read_estimates(ties.get("losses")), read_estimates(ties.get("gains"))
    means = read_estimates(ties.get("predicted"))
    rows = [StripRow("share of ties", read_estimate(ties.get("share")), tone="d")]
    rows += [StripRow(f"mean P(tie), {WORDS.get(name, words(name))}", value) for name, value in means.items()]
    table: list[Row] = [
        [WORDS.get(name, words(name)), value, Cell(gains[name], signed=True) if name in gains else ""]
        for name, value in losses.items()
    ]
    blocks: list[Block] = [Strips("Ties among held-out judgements, and what is predicted of them", rows, (), UNIT)]
    curves = [
        Curve(WORDS.get(name, words(name)), tone, points)
        for name, tone in ((AS_IT_IS, "b"), (FITTED, "a"))
        if (points := _tie_points((ties.get("bins") or {}).get(name)))
    ]
    if curves:
        legend = [(curve.tone, f"{curve.name}, mean of a bin, 95% interval as a band") for curve in curves]
        blocks.append(Curves("Reliability of P(tie)", "mean P(tie)", "share of ties", curves, legend=legend))
    blocks.append(Table("Log loss of the three outcomes", ("probabilities", "log loss", "the fit gains"), table))
    if isinstance(fit := ties.get("fit"), Mapping):
        numbers: list[Row] = [[name, read_estimate(fit.get(name))] for name in ("temperature", "threshold")]
        blocks.append(Table(f"Fitted on other prompts: {fit.get('model')}", ("number", "value"), numbers))
    return Section(
        "Ties",
        "Whether answers that the model calls equally good with probability 0.2 are called so in 2 of 10 judgements."
        " Temperature and threshold are fitted together on other prompts.",
        "A share of ties belongs to how raters were asked: fit anew where they are asked otherwise.",
        blocks,
    )


def _tie_points(bins: object) -> list[tuple[float, Estimate]]:
    rows = [row for row in bins if isinstance(row, Mapping)] if isinstance(bins, list) else []
    return [(read_number(row.get("predicted")), e) for row in rows if (e := read_estimate(row.get("share")))]


def _bin(item: Plain) -> tuple[float, Estimate] | None:
    """Return confidence and accuracy of a bin; None where it is empty."""
    n, confidence, accuracy = (read_number(item.get(name)) for name in ("n", "confidence", "accuracy"))
    if math.isnan(n + confidence + accuracy) or n < 1:
        return None
    bound = wilson(round(accuracy * n), int(n))
    return confidence, Estimate(accuracy, int(n), bound.low, bound.high)


def margins_section(result: Plain) -> Section | None:
    """Show the histogram of margins."""
    margins = result.get("margins")
    if not isinstance(margins, Mapping) or not margins.get("n"):
        return None
    n, wrong, ties = (int(margins.get(key) or 0) for key in ("n", "wrong", "ties"))
    outside = int(margins.get("below") or 0) + int(margins.get("above") or 0)
    note = f"; {outside:,} pairs beyond the edges are not drawn" if outside else ""
    caption = (
        f"n={n:,}: {wrong / n:.1%} wrong (outlined), {ties / n:.1%} ties, {1 - (wrong + ties) / n:.1%} right{note}"
    )
    title = "margin = reward of chosen - reward of rejected"
    return Section(
        "Margins",
        "How far apart the rewards of the two sides are, in the model's own unit. Much mass close to zero means that"
        " many choices hang on little.",
        "The unit differs between models, so two histograms cannot be compared by their width.",
        [Histogram(caption, title, margins["edges"], margins["counts"], splits_at_zero=True)],
    )


def length_curve_section(result: Plain) -> Section | None:
    """Show reward by length, both within a prompt."""
    rows = [row for row in result.get("length_curve") or [] if isinstance(row, Mapping)]
    points = [(read_number(row.get("length")), e) for row in rows if (e := read_estimate(row.get("reward")))]
    if not points:
        return None
    n = sum(estimate.n for _, estimate in points)
    caption = f"n={n:,} completions in {len(points)} bins"
    titles = ("log2(length / mean length of the prompt)", "reward, in sd")
    legend = [("a", "mean of a bin, 95% interval as a band")]
    return Section(
        "Reward by length",
        "Whether the reward rises with length among answers to the same prompt.",
        "Longer answers may truly be better: `rewardsmith audit` holds the reward against the judgements.",
        [Curves(caption, *titles, [Curve("reward", "a", points)], legend=legend)],
    )


def worst_section(result: Plain) -> Section | None:
    """Show the judgements that are wrong by the largest margin, side by side."""
    rows = [row for row in result.get("worst") or [] if isinstance(row, Mapping)]
    if not rows:
        return None
    items = [_worst(number, row) for number, row in enumerate(rows, 1)]
    return Section(
        "Worst disagreements",
        "The judged pairs with the most negative margins, one per prompt: the reward prefers the answer that people"
        " rejected. Read some before you believe any number above.",
        "Chosen for being extreme, they are not typical; some are errors of the label, not of the reward.",
        [Examples("Largest errors", items)],
    )


def _worst(number: int, row: Plain) -> Example:
    where = f", {row['where']}" if row.get("where") else ""
    answers = [
        (name, f"reward {show(read_number(row.get(f'reward_{name}')))}", str(row.get(name) or ""))
        for name in ("chosen", "rejected")
    ]
    head = f"{number}. margin {show(read_number(row.get('margin')), signed=True)}{where}"
    return Example(head, str(row.get("prompt") or ""), answers)


def comparison_section(result: Plain) -> Section | None:
    """Show the paired tests of A against B, how many judgements flipped and the largest disagreements."""
    overall = result.get("overall")
    if not isinstance(overall, Mapping):
        return None
    tests = {"all": overall, **(result.get("subsets") or {})}
    rows, cells = [], []
    for name, test in tests.items():
        difference, holm = read_estimate(test.get("difference")), read_number(test.get("p_holm"))
        rows.append(StripRow(str(name), difference, f"p {show(holm)} (Holm)"))
        sides = [read_number(test.get(key)) for key in ("accuracy_a", "accuracy_b")]
        counts = [int(read_number(test.get(key)) or 0) for key in ("only_a", "only_b")]
        numbers = [*sides, *counts, read_number(test.get("p_value")), holm]
        cells.append([str(name), difference.n if difference else "", *numbers])
    flipped = int(result.get("num_flipped") or len(result.get("flipped") or []))
    caption = "Accuracy of A minus accuracy of B on the same rows, paired 95% interval; above 0 A is better"
    header = ("subset", "n", "A", "B", "only A right", "only B right", "p", "Holm p")
    blocks: list[Block] = [
        Strips(caption, rows, [(0.0, "zero")], signed=True),
        Table(f"{flipped:,} judgements flipped: exactly one scorer is right", header, cells),
    ]
    largest = [row for row in result.get("largest_disagreements") or [] if isinstance(row, Mapping)]
    if largest:
        title = "Largest disagreements, in standard deviations of each scorer"
        blocks.append(Examples(title, [_paired(number, row) for number, row in enumerate(largest, 1)]))
    return Section(
        "Paired comparison",
        "Both scorers judged the same rows, so their common difficulty cancels. An interval that contains 0 does not"
        " separate them.",
        "p is McNemar's exact test where each prompt has one judgement; else it agrees with the interval.",
        blocks,
        is_essential=True,
    )


def _paired(number: int, row: Plain) -> Example:
    """Show a judgement under two scorers, A and B."""
    a, b = (show(read_number(row.get(key)), signed=True) for key in ("margin_a", "margin_b"))
    sides = [("chosen", "", str(row.get("better") or "")), ("rejected", "", str(row.get("worse") or ""))]
    head = f"{number}. margin of A {a}, of B {b} (group {row.get('group', '')})"
    return Example(head, str(row.get("prompt") or ""), sides)


def benchmark_section(result: Plain) -> Section | None:
    """Show a benchmark's headline beside that of the baselines, its parts, and what was left out."""
    score = read_estimate(result.get("score"))
    if score is None:
        return None
    rows = [StripRow("score", score, tone="d")]
    baselines = read_estimates(result.get("score_of_baselines"))
    rows += [StripRow(f"score of baseline: {words(name)}", value, tone="b") for name, value in baselines.items()]
    rows += [StripRow(name, part) for name, part in read_estimates(result.get("parts")).items()]
    known = [v for row in rows if row.estimate for v in (row.estimate.low, row.estimate.value) if math.isfinite(v)]
    axis = (0.0, 1.0) if all(0 <= v <= 1 for v in known) else None
    return Section(
        f"Benchmark {result.get('benchmark', '')}",
        "The headline by the rule of the benchmark's authors, what rules without understanding reach by the same rule"
        " on the same rows, and its parts. Averages of parts carry no interval.",
        "Public benchmarks are in many training sets, and some reward length: a score means something only above the"
        " baselines.",
        [*_left_out(result.get("left_out")), Strips("Score, baselines and parts", rows, (), axis)],
        is_essential=True,
    )


def _left_out(counts: object) -> list[Block]:
    """Say how many rows a benchmark's score is without, and why."""
    if not isinstance(counts, Mapping) or not counts:
        return []
    text = "{:,} rows left out ({}): the score is not comparable with published ones"
    lines = [text.format(int(read_number(count) or 0), reason) for reason, count in counts.items()]
    return [Findings([FindingLine("yellow", line) for line in lines])]
