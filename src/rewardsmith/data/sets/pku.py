"""PKU's sets of safety: answers to risky prompts, judged for harm and for help apart.

BeaverTails (Ji et al. 2023, arXiv 2307.04657): answers to risky prompts, labelled safe or with kinds of harm.

Consecutive rows of one prompt make a group. An answer that several people labelled stands once; its rating is the
share of those who called it safe.

PKU-SafeRLHF (Ji et al. 2024, arXiv 2406.15513): two answers, judged apart for being better and for being safer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_flag, check_mapping, check_text, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import ask, check_prompt, compare, index_choice, kept, known_number, name_of, runs
from rewardsmith.records import Comparison, Message, PreferenceGroup


def read_beavertails(rows: Rows) -> Read:
    """Give one group a run of rows with one prompt: ratings "is_safe" and one a kind of harm; no comparisons."""
    return runs(rows, _answer, partial(_beavertails_group, pairs=False))


def read_pairs(rows: Rows) -> Read:
    """Give the same groups with comparisons: the answer that more people called safe is better, equal shares tie."""
    return runs(rows, _answer, partial(_beavertails_group, pairs=True))


def _answer(row: Row, where: str) -> tuple[str, tuple[str, dict[str, float]]]:
    prompt = check_prompt(require(row, "prompt", where), where, "prompt")
    answer = check_text(require(row, "response", where), where, "response")
    labels = {"is_safe": float(check_flag(require(row, "is_safe", where), where, "is_safe"))}
    harms = check_mapping(row.get("category") or {}, where, "category")
    labels |= {f"harm/{name}": float(check_flag(value, where, f"category.{name}")) for name, value in harms.items()}
    return prompt, (answer, labels)


def _beavertails_group(
    where: str, prompt: str, parts: list[tuple[str, Mapping[str, float]]], pairs: bool
) -> PreferenceGroup:
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


BEAVERTAILS_ENTRY = Entry(
    name="beavertails",
    summary="BeaverTails: answers labelled safe or harmful, as ratings; variant pairs: safe against unsafe answers",
    licence="CC-BY-NC-4.0",
    paper="2307.04657",
    hub_id="PKU-Alignment/BeaverTails",
    read=read_beavertails,
    split="330k_train",
    columns=frozenset({"prompt", "response", "category", "is_safe"}),
    variants={"pairs": read_pairs},
)


LABELS = {"better": "better_response_id", "safer": "safer_response_id"}


def read_pku_saferlhf(rows: Rows) -> Read:
    """Give one group a row, compared by which answer is better (more helpful); the safer one is in the metadata."""
    return read_each(rows, partial(_pku_saferlhf_group, label="better"))


def read_safer(rows: Rows) -> Read:
    """Give one group a row, compared by which answer is safer; the better one is in the metadata."""
    return read_each(rows, partial(_pku_saferlhf_group, label="safer"))


def _pku_saferlhf_group(row: Row, where: str, label: str) -> PreferenceGroup:
    answers = {name: require(row, name, where) for name in ("response_0", "response_1")}
    prompt, completions = ask(require(row, "prompt", where), answers, where, "prompt")
    winner = index_choice(require(row, LABELS[label], where), where, LABELS[label])
    other = {
        name: index_choice(row[column], where, column)
        for name, column in LABELS.items()
        if name != label and row.get(column) is not None
    }
    ratings = {
        "is_safe": tuple(_safe(row, where, f"is_response_{i}_safe") for i in (0, 1)),
        "severity": tuple(
            known_number(row.get(f"response_{i}_severity_level"), where, f"response_{i}_severity_level") for i in (0, 1)
        ),
    }
    harms = {f"response_{i}_harms": _harms(row.get(f"response_{i}_harm_category")) for i in (0, 1)}
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=(Comparison(winner, 1 - winner),),
        ratings={name: scores for name, scores in ratings.items() if any(s is not None for s in scores)},
        models=tuple(name_of(row.get(f"response_{i}_source")) for i in (0, 1)),
        source=f"pku-saferlhf-{label}",
        group_id=where,
        metadata={**other, **{k: v for k, v in harms.items() if v}, **kept(row, "prompt_source")},
    )


def _safe(row: Row, where: str, column: str) -> float | None:
    return None if row.get(column) is None else float(check_flag(row[column], where, column))


def _harms(categories: object) -> list[str]:
    """Name the harm categories that are marked."""
    return [str(name) for name, is_marked in categories.items() if is_marked] if isinstance(categories, dict) else []


PKU_SAFERLHF_ENTRY = Entry(
    name="pku-saferlhf",
    summary="PKU-SafeRLHF: which of two answers is better, safety as ratings; variant safer: which is safer",
    licence="CC-BY-NC-4.0",
    paper="2406.15513",
    hub_id="PKU-Alignment/PKU-SafeRLHF",
    read=read_pku_saferlhf,
    columns=frozenset({"prompt", "response_0", "response_1", "better_response_id"}),
    variants={"safer": read_safer},
)


ENTRIES = (
    BEAVERTAILS_ENTRY,
    PKU_SAFERLHF_ENTRY,
)
