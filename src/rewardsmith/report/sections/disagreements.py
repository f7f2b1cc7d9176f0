"""Texts to read: the largest errors of one scorer, the largest disagreements of two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardsmith.report.blocks import Example, Examples, Limits, Section
from rewardsmith.report.numbers import read_number, show
from rewardsmith.report.texts import clean, excerpt


def worst_section(result: Mapping[str, Any], limits: Limits) -> Section | None:
    """Show the judgements that are wrong by the largest margin, side by side."""
    rows = [row for row in result.get("worst") or [] if isinstance(row, Mapping)]
    if not rows:
        return None
    items = [_worst(number, row, limits) for number, row in enumerate(rows[: limits.examples], 1)]
    return Section(
        "Worst disagreements",
        "The judged pairs with the most negative margins, one per prompt: the reward prefers the answer that people"
        " rejected. Read some before you believe any number above.",
        "Chosen for being extreme, they are not typical; some are errors of the label, not of the reward.",
        [Examples("Largest errors", items, len(rows) - len(items))],
    )


def _worst(number: int, row: Mapping[str, Any], limits: Limits) -> Example:
    where = f", {clean(row['where'])}" if row.get("where") else ""
    head = f"{number}. margin {show(read_number(row.get('margin')), signed=True)}{where}"
    answers = [
        (
            name,
            f"reward {show(read_number(row.get(f'reward_{name}')))}",
            excerpt(row.get(name) or "", limits.characters),
        )
        for name in ("chosen", "rejected")
    ]
    prompt = row.get("prompt")
    return Example(head, excerpt(prompt, limits.characters) if prompt else None, answers)


def paired_examples(rows: list[Mapping[str, Any]], caption: str, limits: Limits) -> Examples:
    """Show judgements under two scorers, A and B."""
    items = []
    for number, row in enumerate(rows[: limits.examples], 1):
        a, b = (show(read_number(row.get(key)), signed=True) for key in ("margin_a", "margin_b"))
        head = f"{number}. margin of A {a}, of B {b} (group {clean(row.get('group', ''))})"
        answers = [(name, "", excerpt(row.get(key) or "", limits.characters)) for name, key in SIDES]
        prompt = row.get("prompt")
        items.append(Example(head, excerpt(prompt, limits.characters) if prompt else None, answers))
    return Examples(caption, items, max(0, len(rows) - len(items)))


SIDES = (("chosen", "better"), ("rejected", "worse"))
