"""BeaverTails (Ji et al. 2023, arXiv 2307.04657): answers to risky prompts, labelled safe or with kinds of harm.

Consecutive rows of one prompt make a group. An answer that several people labelled stands once; its rating is the
share of those who called it safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_flag, check_mapping, check_text, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows
from rewardsmith.data.sets.published import check_prompt, compare, runs
from rewardsmith.records import Message, PreferenceGroup


def read(rows: Rows) -> Read:
    """Give one group a run of rows with one prompt: ratings "is_safe" and one a kind of harm; no comparisons."""
    return runs(rows, _answer, partial(_group, pairs=False))


def read_pairs(rows: Rows) -> Read:
    """Give the same groups with comparisons: the answer that more people called safe is better, equal shares tie."""
    return runs(rows, _answer, partial(_group, pairs=True))


def _answer(row: Row, where: str) -> tuple[str, tuple[str, dict[str, float]]]:
    prompt = check_prompt(require(row, "prompt", where), where, "prompt")
    answer = check_text(require(row, "response", where), where, "response")
    labels = {"is_safe": float(check_flag(require(row, "is_safe", where), where, "is_safe"))}
    harms = check_mapping(row.get("category") or {}, where, "category")
    labels |= {f"harm/{name}": float(check_flag(value, where, f"category.{name}")) for name, value in harms.items()}
    return prompt, (answer, labels)


def _group(where: str, prompt: str, parts: list[tuple[str, Mapping[str, float]]], pairs: bool) -> PreferenceGroup:
    votes: dict[str, list[Mapping[str, float]]] = {}
    for answer, labels in parts:
        votes.setdefault(answer, []).append(labels)
    names = dict.fromkeys(name for labels in votes.values() for one in labels for name in one)
    ratings = {name: tuple(_share(labels, name) for labels in votes.values()) for name in names}
    counts: list[Any] = [len(labels) for labels in votes.values()]
    return PreferenceGroup(
        prompt=(Message("user", prompt),),
        completions=tuple((Message("assistant", answer),) for answer in votes),
        comparisons=compare(ratings["is_safe"]) if pairs else (),
        ratings=ratings,
        source="beavertails",
        group_id=where,
        metadata={"num_labels": counts},
    )


def _share(labels: list[Mapping[str, float]], name: str) -> float | None:
    known = [one[name] for one in labels if name in one]
    return sum(known) / len(known) if known else None


ENTRY = Entry(
    name="beavertails",
    summary="BeaverTails: answers labelled safe or harmful, as ratings; variant pairs: safe against unsafe answers",
    licence="CC-BY-NC-4.0",
    paper="2307.04657",
    hub_id="PKU-Alignment/BeaverTails",
    read=read,
    split="330k_train",
    columns=frozenset({"prompt", "response", "category", "is_safe"}),
    variants={"pairs": read_pairs},
)
