"""HelpSteer and HelpSteer2 (Wang et al. 2023 and 2024, arXiv 2311.09528, 2406.08673, 2410.01257).

Rated answers: five attributes from 0 to 4; consecutive rows share a prompt and are compared by helpfulness.
HelpSteer2-Preference: a strength from -3 (response 1 much better) to 3 (response 2 much better).
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_number, check_text, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import (
    Turns,
    answer,
    check_prompt,
    check_turns,
    compare,
    kept,
    known_number,
    mean,
    records,
    runs,
    signed_comparison,
)
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison, Message, PreferenceGroup

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
NOT_RATABLE = -100


def prompt_turns(text: object, where: str, column: str = "prompt") -> Turns:
    """Read a prompt; later turns of a conversation follow the marks "<extra_id_1>Assistant" and "<extra_id_1>User"."""
    first, *rest = TURN.split(check_prompt(text, where, column))
    turns = [Message("user", first)]
    turns += [Message(name.lower(), said) for name, said in zip(rest[::2], rest[1::2], strict=True)]
    return check_turns(tuple(turns), where, column, last="user")


def read(rows: Rows) -> Read:
    """Give one group a run of consecutive rows with one prompt: ratings, and comparisons by helpfulness."""
    return runs(rows, _rated_answer, _rated_group)


def _rated_answer(row: Row, where: str) -> tuple[Turns, tuple[str, dict[str, float | None], dict[str, Any]]]:
    """Read one answer; where an attribute is the list of all annotators' ratings, their mean counts."""
    prompt = prompt_turns(require(row, "prompt", where), where)
    text = check_text(require(row, "response", where), where, "response")
    ratings, raters = {}, {}
    for name in ATTRIBUTES:
        value = row.get(name)
        if isinstance(value, list):
            raters[name] = [check_number(one, where, name) for one in value]
            ratings[name] = mean(raters[name])
        else:
            ratings[name] = known_number(value, where, name)
    if ratings["helpfulness"] is None:
        raise row_error(where, "null value", "column 'helpfulness' has no rating; fill it in or remove the row")
    return prompt, (text, ratings, raters)


def _rated_group(where: str, prompt: Turns, parts: list[Any]) -> PreferenceGroup:
    ratings = {name: tuple(rated[name] for _, rated, _ in parts) for name in ATTRIBUTES}
    raters = [every for _, _, every in parts]
    return PreferenceGroup(
        prompt=prompt,
        completions=tuple((Message("assistant", text),) for text, _, _ in parts),
        comparisons=compare(ratings["helpfulness"]),
        ratings={name: scores for name, scores in ratings.items() if any(s is not None for s in scores)},
        source="helpsteer",
        group_id=where,
        metadata={"raters": raters} if any(raters) else {},
    )


def read_preference(rows: Rows) -> Read:
    """Give one group a pair with the overall preference strength as margin; 0 is a tie."""
    return read_each(rows, partial(_preference, by_rater=False))


def read_raters(rows: Rows) -> Read:
    """Give one group a pair with one comparison an annotator, called "rater 1" and so on: names are not published."""
    return read_each(rows, partial(_preference, by_rater=True))


def _preference(row: Row, where: str, by_rater: bool) -> PreferenceGroup:
    prompt = prompt_turns(require(row, "prompt", where), where)
    names = ("response_1", "response_2")
    answers = tuple(answer(require(row, name, where), where, name) for name in names)
    if by_rater:
        comparisons = _rater_comparisons(row, where)
    else:
        strength = require(row, "preference_strength", where)
        comparisons = (signed_comparison(strength, where, "preference_strength"),)
    return PreferenceGroup(
        prompt=prompt,
        completions=answers,
        comparisons=comparisons,
        source="helpsteer2-preference",
        group_id=where,
        metadata=kept(row, "split", "preference_strength", "preference_statement"),
    )


def _rater_comparisons(row: Row, where: str) -> tuple[Comparison, ...]:
    """Read every annotator's strength; -100 says that neither answer could be rated and makes no comparison."""
    column = "all_preferences_unprocessed"
    judgements = records(require(row, column, where), where, column)
    edges = []
    for index, judgement in enumerate(judgements):
        strength = require(judgement, "strength", f"{where} {column}[{index}]")
        if strength != NOT_RATABLE:
            place = f"{column}[{index}].strength"
            edges.append(signed_comparison(strength, where, place, f"rater {index + 1}"))
    if not edges:
        raise row_error(where, "no judgement", f"column {column!r} holds no rating of the pair; remove the row")
    return tuple(edges)


ENTRIES = (
    Entry(
        name="helpsteer",
        summary="HelpSteer: up to four answers a prompt, five attribute ratings, compared by helpfulness",
        licence="CC-BY-4.0",
        paper="2311.09528",
        hub_id="nvidia/HelpSteer",
        read=read,
    ),
    Entry(
        name="helpsteer2",
        summary="HelpSteer2: two answers a prompt, five attribute ratings, compared by helpfulness",
        licence="CC-BY-4.0",
        paper="2406.08673",
        hub_id="nvidia/HelpSteer2",
        read=read,
        columns=frozenset({"prompt", "response", *ATTRIBUTES}),
    ),
    Entry(
        name="helpsteer2-preference",
        summary="HelpSteer2 pairs, strength -3 to 3; variant raters: a comparison an annotator",
        licence="CC-BY-4.0",
        paper="2410.01257",
        hub_id="nvidia/HelpSteer2",
        read=read_preference,
        subset="preference",
        columns=frozenset({"prompt", "response_1", "response_2", "preference_strength"}),
        variants={"raters": read_raters},
    ),
)
