"""Sections of other results: two scorers compared, a benchmark by its authors' rule, and values of any shape.

What a newer audit measures appears in the report without a change here; nothing is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rewardsmith.blocks.generic import blocks_of
from rewardsmith.blocks.kinds import (
    Block,
    Example,
    Examples,
    FindingLine,
    Findings,
    Section,
    StripRow,
    Strips,
    Table,
)
from rewardsmith.blocks.words import read_estimate, read_estimates, read_number, show, words

Plain = Mapping[str, Any]


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


def _left_out(counts: Any) -> list[Block]:
    """Say how many rows a benchmark's score is without, and why."""
    if not isinstance(counts, Mapping) or not counts:
        return []
    text = "{:,} rows left out ({}): the score is not comparable with published ones"
    lines = [text.format(int(read_number(count) or 0), reason) for reason, count in counts.items()]
    return [Findings([FindingLine("yellow", line) for line in lines])]


def other_section(result: Plain) -> Section | None:
    """Show values that no other section reads."""
    blocks = blocks_of(result, "Other numbers")
    return Section("Other numbers", "Further results, as they were handed over.", "", blocks) if blocks else None
