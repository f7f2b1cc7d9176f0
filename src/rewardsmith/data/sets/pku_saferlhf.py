"""PKU-SafeRLHF (Ji et al. 2024, arXiv 2406.15513): two answers, judged apart for being better and for being safer."""

from __future__ import annotations

from functools import partial

from rewardsmith.data.formats.cells import check_flag, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import ask, index_choice, kept, known_number, name_of
from rewardsmith.records import Comparison, PreferenceGroup

LABELS = {"better": "better_response_id", "safer": "safer_response_id"}


def read(rows: Rows) -> Read:
    """Give one group a row, compared by which answer is better (more helpful); the safer one is in the metadata."""
    return read_each(rows, partial(_group, label="better"))


def read_safer(rows: Rows) -> Read:
    """Give one group a row, compared by which answer is safer; the better one is in the metadata."""
    return read_each(rows, partial(_group, label="safer"))


def _group(row: Row, where: str, label: str) -> PreferenceGroup:
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


ENTRY = Entry(
    name="pku-saferlhf",
    summary="PKU-SafeRLHF: which of two answers is better, safety as ratings; variant safer: which is safer",
    licence="CC-BY-NC-4.0",
    paper="2406.15513",
    hub_id="PKU-Alignment/PKU-SafeRLHF",
    read=read,
    columns=frozenset({"prompt", "response_0", "response_1", "better_response_id"}),
    variants={"safer": read_safer},
)
