"""The report of a run against a reward: what it bought, where gold turned, curves and examples."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.blocks.html import render_page
from rewardsmith.blocks.kinds import (
    Block,
    Cell,
    Curve,
    Curves,
    Example,
    Examples,
    Page,
    Paragraph,
    Section,
    Table,
    Tone,
    Value,
    Verdict,
)
from rewardsmith.blocks.words import show, show_estimate
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.files.reading import read_json_lines
from rewardsmith.files.writing import write_bytes
from rewardsmith.records import Estimate, as_text
from rewardsmith.rl.measuring import SAMPLES, Point
from rewardsmith.rl.running import RunResult

REPORT = "report.html"
NAMES = {
    "reward": "reward",
    "gold": "gold reward",
    "kl": "KL from the start, nats an answer",
    "length": "length, tokens",
    "entropy": "entropy, nats a token",
    "cut": "share of answers cut",
}
# What is written along the axis.
UNITS = {"kl": "nats", "length": "tokens", "entropy": "nats", "cut": "share", "reward": "mean"}
NUM_EXAMPLES = 4
LEGEND = (("a", "reward (optimised)"), ("b", "gold reward"))
MARK = ("reference", "best measured gold")


def write_run_report(result: RunResult) -> Path:
    """Write `report.html` into the run's folder."""
    path = result.folder / REPORT
    write_bytes(path, render_page(_page(result)))
    return path


def run_blocks(result: RunResult, *, num_examples: int = 2) -> list[Block]:
    """Return the verdict, the table of before and after, and example answers."""
    guard = [Paragraph(_guard_in_words(result))] if result.record.get("guard") else []
    return [verdict_of(result), *guard, _table(result), *_examples(result, num_examples)]


def verdict_of(result: RunResult) -> Verdict:
    """Return what the run bought in one or two sentences, by the intervals of held-out prompts."""
    reward = result.after.change("reward", result.before)
    text = f"{result.algorithm.upper()}: reward {_moved(reward)} on {reward.n:,} held-out prompts"
    if "gold" not in result.measures:
        tone: Tone = "good" if reward.low > 0 else "warn"
        return Verdict(f"{text}. Without a gold reward nothing says whether the answers became better.", tone)
    gold = result.after.change("gold", result.before)
    text += f"; gold {_moved(gold)}"
    turn = result.turn
    if turn is not None:
        text += (
            f". Gold turned: it was best at step {turn.step} (KL {show(turn.kl)} nats) with "
            f"{_without_n(turn.gold)}, and lost {_without_n(-turn.lost)} from there to the end"
        )
    return Verdict(text + ".", "bad" if turn is not None or gold.high < 0 else "good" if gold.low > 0 else "warn")


def _guard_in_words(result: RunResult) -> str:
    """Say what the guard saw, in one paragraph."""
    guard = result.record.get("guard")
    if not guard:
        return "No guard watched this run (--guard off)."
    if not guard["alarms"]:
        return f"The guard saw no sign of reward hacking (watched: {', '.join(guard['thresholds'])})."
    return "Guard: " + ". ".join(alarm["says"] for alarm in guard["alarms"]) + "."


def _moved(change: Estimate) -> str:
    """Say whether a difference is told from 0, with the difference."""
    if math.isnan(change.low):
        return f"changed by {_without_n(change, signed=True)}"
    what = "rose" if change.low > 0 else "fell" if change.high < 0 else "is not shown to have changed"
    return f"{what}: {_without_n(change, signed=True)}"


def _without_n(estimate: Estimate, signed: bool = False) -> str:
    """Return value and interval; the sentence around them says over how many prompts."""
    return show_estimate(estimate, signed).removesuffix(f" (n={estimate.n:,})")


def _table(result: RunResult) -> Table:
    rows: list[list[Value | Cell]] = []
    for name in result.measures:
        change = result.after.change(name, result.before)
        rows.append(
            [
                NAMES[name],
                result.before.estimate(name),
                result.after.estimate(name),
                Cell(change, signed=True, tone=_tone(name, change)),
            ]
        )
    caption = f"{result.before.estimate('length').n:,} held-out prompts; differences paired by prompt"
    return Table(caption, ("", "before", "after", "difference"), rows)


def _tone(name: str, change: Estimate) -> Tone:
    if name not in ("reward", "gold"):
        return ""
    return "good" if change.low > 0 else "bad" if change.high < 0 else ""


def _page(result: RunResult) -> Page:
    steps = {"raft": "rounds", "ppo": "updates"}.get(result.algorithm, "optimizer steps")
    sections = [
        Section(
            "Before and after",
            "One number a prompt; the same prompts and the same seeds of sampling at every point.",
            "Rewards are in units of their own model. A gold reward is only as good as its source.",
            [_table(result)],
            is_essential=True,
        ),
        Section(
            "Reward and gold on the way",
            "Gains since the start in standard deviations of the start's answers, so that both rewards share an axis; "
            "bands are 95% intervals over prompts, paired with the start.",
            "Each point is measured on the same prompts, so points rise and fall together by chance. The best of "
            "several points looks better than it is.",
            [Paragraph(_turn_in_words(result)), *_gain_plots(result, steps)],
            is_essential=True,
        ),
        Section(
            "Other signs",
            "Measured on the held-out prompts at the same points.",
            "Length and entropy change in good runs, too.",
            [
                Paragraph(_guard_in_words(result)),
                *(_measure_plot(result.points, name, steps) for name in ("kl", "length", "entropy", "cut")),
            ],
        ),
        Section("Training log", "What the algorithm logged of its own batches.", "", _log_plots(result, steps)),
        Section(
            "Answers before and after",
            "To the first held-out prompts.",
            "A few examples prove nothing.",
            _examples(result, NUM_EXAMPLES),
        ),
    ]
    record = result.record
    facts = [
        f"policy {record.get('policy')}",
        f"reward {record.get('reward')}",
        f"gold {record.get('gold') or 'none'}",
        f"{record.get('num_prompts', 0):,} prompts to train on",
        f"seed {record.get('settings', {}).get('seed')}",
    ]
    return Page(f"{result.algorithm.upper()} against a reward", sections, verdict=verdict_of(result), facts=facts)


def _turn_in_words(result: RunResult) -> str:
    if "gold" not in result.measures:
        return "No gold reward was given (--gold), so this page cannot show whether the reward is being gamed."
    turn = result.turn
    if turn is None:
        return "Gold did not turn: the last point is not shown to lie below the best one."
    return (
        f"Gold turned after step {turn.step}, at KL {show(turn.kl)} nats: {show_estimate(turn.gold)} there, and "
        f"{show_estimate(turn.lost, signed=True)} from there to the end (interval for {len(result.points) - 1} "
        "comparisons by Bonferroni). What lies behind the line is over-optimised: take a checkpoint from before it, "
        "or raise the price of KL."
    )


def _gain_plots(result: RunResult, steps: str) -> list[Block]:
    names = [name for name in ("reward", "gold") if name in result.measures]
    legend = [item for item, name in zip(LEGEND, ("reward", "gold"), strict=True) if name in names]
    turn, blocks = result.turn, list[Block]()
    kls = [point.estimate("kl").value for point in result.points]
    for caption, places, mark in (
        (f"Gains against {steps}", [float(point.step) for point in result.points], None if turn is None else turn.step),
        ("Gains against KL from the start", kls, None if turn is None else turn.kl),
    ):
        series = [
            Curve(name, tone, sorted(zip(places, _gains(result.points, name), strict=True), key=lambda one: one[0]))
            for name, (tone, _) in zip(names, LEGEND, strict=False)
        ]
        x_title = steps if "KL" not in caption else "KL in nats an answer"
        where = None if mark is None else Estimate(float(mark), 1)
        blocks.append(
            Curves(caption, x_title, "gain, standard deviations", series, where, [*legend, *([MARK] if where else [])])
        )
    return blocks


def _gains(points: Sequence[Point], name: str) -> list[Estimate]:
    """Return the paired gains since the start in standard deviations of the start's values."""
    known = points[0].known(name)
    spread = statistics.stdev(known) if len(known) > 1 else 1.0
    spread = spread or 1.0
    found = [point.change(name, points[0]) for point in points]
    return [Estimate(e.value / spread, e.n, e.low / spread, e.high / spread) for e in found]


def _measure_plot(points: Sequence[Point], name: str, steps: str) -> Curves:
    series = Curve(name, "a", [(float(point.step), point.estimate(name)) for point in points])
    return Curves(NAMES[name], steps, UNITS[name], [series])


def _log_plots(result: RunResult, steps: str) -> list[Block]:
    blocks: list[Block] = []
    for name in ("reward", "entropy", "length", "cut"):
        rows = [(number, row) for number, row in enumerate(result.history, 1) if name in row]
        points = [(float(row.get("step", number)), Estimate(float(row[name]), 1)) for number, row in rows]
        if len(points) > 1:
            blocks.append(Curves(f"training batches: {NAMES[name]}", steps, UNITS[name], [Curve(name, "a", points)]))
    return blocks or [Paragraph("Nothing was logged; lower logging_steps.")]


def _examples(result: RunResult, count: int) -> list[Block]:
    """Return answers to the first held-out prompts at the start and at the end."""
    rows = read_json_lines(result.folder / SAMPLES)
    before = [row for row in rows if row["step"] == result.before.step]
    after = [row for row in rows if row["step"] == result.after.step]
    items: list[Example] = []
    seen: set[str] = set()
    for first, last in zip(before, after, strict=True):
        prompt = plain_text(as_text(first["prompt"], "prompt"))
        if prompt not in seen and len(items) < count:
            seen.add(prompt)
            answers = [(name, _said(row), row["completion"]) for name, row in (("before", first), ("after", last))]
            items.append(Example(f"prompt {len(seen)}", prompt, answers, is_judged=False))
    return [Examples("answers before and after", items)]


def _said(row: Mapping[str, Any]) -> str:
    parts = [f"{name} {show(row[name])}" for name in ("reward", "gold") if row.get(name) is not None]
    return ", ".join(parts)
