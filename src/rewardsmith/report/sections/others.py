"""Reports of other kinds: two scorers compared, a benchmark by its authors' rule, and what has no section."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rewardsmith.report.blocks import Cell, Findings, Limits, Section, StripRow, Strips, Table
from rewardsmith.report.numbers import read_estimate, read_estimates, read_number, show
from rewardsmith.report.sections.disagreements import paired_examples
from rewardsmith.report.sections.generic import blocks_of
from rewardsmith.report.texts import clean, words

SHOWN_ELSEWHERE = (
    {"schema", "schema_version", "scorer", "data", "groups", "comparisons", "gold_ties", "seed", "dropped", "benchmark"}
    | {"metrics", "baselines", "noise_ceiling", "strata", "calibration", "margins", "length", "length_curve", "worst"}
    | {"findings", "probes", "invariances", "shift", "risk", "over_optimisation", "reward_variance", "contamination"}
    | {"score", "parts", "score_of_baselines", "left_out", "within_prompt_sd", "scored_texts", "notes"}
)


def comparison_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show the paired tests of A against B, how many judgements flipped and the largest disagreements."""
    overall = result.get("overall")
    if not isinstance(overall, Mapping):
        return None
    tests = {"all": overall, **(result.get("subsets") or {})}
    rows, cells = [], []
    for name, test in tests.items():
        a, b = read_number(test.get("accuracy_a")), read_number(test.get("accuracy_b"))
        holm = read_number(test.get("p_holm"))
        rows.append(StripRow(clean(name), read_estimate(test.get("difference")), f"p {show(holm)} (Holm)"))
        n = read_estimate(test.get("difference"))
        cells.append([Cell(clean(name)), Cell(f"{n.n:,}" if n else ""), Cell(show(a)), Cell(show(b))])
        counts = [Cell(f"{int(read_number(test.get(key)) or 0):,}") for key in ("only_a", "only_b")]
        p_value = Cell(show(read_number(test.get("p_value"))))
        cells[-1] += [*counts, p_value, Cell(show(holm))]
    flipped = int(result.get("num_flipped") or len(result.get("flipped") or []))
    left_out = max(0, len(rows) - limits.rows)
    caption = "Accuracy of A minus accuracy of B on the same rows, paired 95% interval; above 0 A is better"
    header = ("subset", "n", "A", "B", "only A right", "only B right", "McNemar p", "Holm p")
    blocks: list[Any] = [
        Strips(caption, rows[: limits.rows], [(0.0, "zero")], signed=True, left_out=left_out),
        Table(f"{flipped:,} judgements flipped: exactly one scorer is right", header, cells[: limits.rows], left_out),
    ]
    largest = [row for row in result.get("largest_disagreements") or [] if isinstance(row, Mapping)]
    if largest:
        blocks.append(paired_examples(largest, "Largest disagreements, in standard deviations of each scorer", limits))
    return Section(
        "Paired comparison",
        "Both scorers judged the same rows, so their common difficulty cancels. An interval that contains 0 does not"
        " separate them.",
        "McNemar's test takes judgements as independent: with several judgements a prompt trust the interval.",
        blocks,
    )


def benchmark_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show a benchmark's headline beside that of the baselines, its parts, and what was left out."""
    score = read_estimate(result.get("score"))
    if score is None:
        return None
    parts = read_estimates(result.get("parts"))
    rows = [StripRow("score", score, tone="d")]
    baselines = read_estimates(result.get("score_of_baselines"))
    rows += [StripRow(f"score of baseline: {words(name)}", value, tone="b") for name, value in baselines.items()]
    rows += [StripRow(clean(name), part) for name, part in parts.items()]
    known = [v for row in rows if row.estimate for v in (row.estimate.low, row.estimate.value) if math.isfinite(v)]
    limits_of_axis = (0.0, 1.0) if all(0 <= v <= 1 for v in known) else None
    kept = rows[: limits.rows]
    return Section(
        f"Benchmark {clean(result.get('benchmark', ''))}",
        "The headline by the rule of the benchmark's authors, what rules without understanding reach by the same rule"
        " on the same rows, and its parts. Averages of parts carry no interval.",
        "Public benchmarks are in many training sets, and some reward length: a score means something only above the"
        " baselines.",
        [
            *_left_out(result.get("left_out")),
            Strips("Score, baselines and parts", kept, (), limits_of_axis, left_out=len(rows) - len(kept)),
        ],
    )


def _left_out(counts: Any) -> list[Findings]:
    """Say how many rows a benchmark's score is without, and why."""
    if not isinstance(counts, Mapping) or not counts:
        return []
    lines = [
        f"{int(read_number(count) or 0):,} rows left out ({clean(reason)}): the score is not comparable with published"
        " ones"
        for reason, count in counts.items()
    ]
    return [Findings([("yellow", line) for line in lines])]


def other_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show whatever no other section shows."""
    rest = {str(key): value for key, value in result.items() if key not in SHOWN_ELSEWHERE}
    if result.get("schema") == "rewardsmith.comparison" or not rest:
        return None
    blocks = blocks_of(rest, "Other numbers", limits)
    return Section("Other numbers", "Further results, as they were handed over.", "", blocks) if blocks else None
