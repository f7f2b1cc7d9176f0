"""HelpSteer, HelpSteer2 and HelpSteer3 of NVIDIA: answers rated by attributes, preferences with strength, edits.

HelpSteer and HelpSteer2 (Wang et al. 2023 and 2024, arXiv 2311.09528, 2406.08673, 2410.01257).

Rated answers: five attributes from 0 to 4; consecutive rows share a prompt and are compared by helpfulness.
HelpSteer2-Preference: a strength from -3 (response 1 much better) to 3 (response 2 much better).

HelpSteer3 (Wang et al. 2025, arXiv 2505.11475 and 2503.04378): preferences with strength, and edited answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    conversation,
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
UNPROCESSED = "all_preferences_unprocessed"


def prompt_turns(text: object, where: str, column: str = "prompt") -> Turns:
    """Read a prompt; later turns of a conversation follow the marks "<extra_id_1>Assistant" and "<extra_id_1>User"."""
    first, *rest = TURN.split(check_prompt(text, where, column))
    turns = [Message("user", first)]
    turns += [Message(name.lower(), said) for name, said in zip(rest[::2], rest[1::2], strict=True)]
    return check_turns(tuple(turns), where, column, last="user")


def read_helpsteer(rows: Rows) -> Read:
    """Return one group a run of consecutive rows with one prompt: ratings, and comparisons by helpfulness."""
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
    """Return one group a pair with the overall preference strength as margin; 0 is a tie."""
    return read_each(rows, partial(_helpsteer_preference, by_rater=False))


def helpsteer_read_raters(rows: Rows) -> Read:
    """Return one group a pair with one comparison an annotator, called "rater 1" and so on: names are not published."""
    return read_each(rows, partial(_helpsteer_preference, by_rater=True))


def _helpsteer_preference(row: Row, where: str, by_rater: bool) -> PreferenceGroup:
    prompt = prompt_turns(require(row, "prompt", where), where)
    names = ("response_1", "response_2")
    answers = tuple(answer(require(row, name, where), where, name) for name in names)
    if by_rater:
        comparisons = _rater_comparisons(row, where, UNPROCESSED, "strength")
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


def _rater_comparisons(row: Row, where: str, column: str, name: str) -> tuple[Comparison, ...]:
    """Read every annotator's strength; HelpSteer2's -100 says that neither could be rated and makes no comparison."""
    edges = []
    for index, judgement in enumerate(records(require(row, column, where), where, column)):
        strength = require(judgement, name, f"{where} {column}[{index}]")
        if column != UNPROCESSED or strength != NOT_RATABLE:
            edges.append(signed_comparison(strength, where, f"{column}[{index}].{name}", f"rater {index + 1}"))
    if not edges:
        raise row_error(where, "no judgement", f"column {column!r} holds no rating of the pair; remove the row")
    return tuple(edges)


HELPSTEER_ENTRIES = (
    Entry(
        name="helpsteer",
        summary="HelpSteer: up to four answers a prompt, five attribute ratings, compared by helpfulness",
        licence="CC-BY-4.0",
        paper="2311.09528",
        hub_id="nvidia/HelpSteer",
        read=read_helpsteer,
    ),
    Entry(
        name="helpsteer2",
        summary="HelpSteer2: two answers a prompt, five attribute ratings, compared by helpfulness",
        licence="CC-BY-4.0",
        paper="2406.08673",
        hub_id="nvidia/HelpSteer2",
        read=read_helpsteer,
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
        variants={"raters": helpsteer_read_raters},
    ),
)


def read_helpsteer3(rows: Rows) -> Read:
    """Return one group a pair with the overall preference, -3 (response 1 much better) to 3, as margin; 0 is a tie."""
    return read_each(rows, partial(_helpsteer3_preference, by_rater=False))


def helpsteer3_read_raters(rows: Rows) -> Read:
    """Return one group a pair with one comparison an annotator, called "rater 1" and so on: names are not published."""
    return read_each(rows, partial(_helpsteer3_preference, by_rater=True))


def _helpsteer3_preference(row: Row, where: str, by_rater: bool) -> PreferenceGroup:
    prompt, answers = _sides(row, where, ("response1", "response2"))
    overall = signed_comparison(require(row, "overall_preference", where), where, "overall_preference")
    comparisons = _rater_comparisons(row, where, "individual_preference", "score") if by_rater else (overall,)
    details = kept(row, "domain", "language", "overall_preference")
    reasons = _reasonings(row.get("individual_preference"))
    return PreferenceGroup(
        prompt=prompt,
        completions=answers,
        comparisons=comparisons,
        source="helpsteer3",
        group_id=where,
        metadata={**details, "reasonings": reasons} if reasons else details,
    )


def _reasonings(judgements: object) -> list[str]:
    """Return the annotators' one or two sentences of reasoning."""
    found = judgements if isinstance(judgements, list) else []
    return [str(one["reasoning"]) for one in found if isinstance(one, Mapping) and one.get("reasoning")]


def read_edit(rows: Rows) -> Read:
    """Return one group an edit: the edited response is better than the original."""
    return read_each(rows, partial(_edit, better="edited_response", worse="original_response"))


def read_edit_quality(rows: Rows) -> Read:
    """Return one group two edits of an answer; the one that follows the feedback is the better."""
    return read_each(rows, partial(_edit, better="good_edited_response", worse="bad_edited_response"))


def _edit(row: Row, where: str, better: str, worse: str) -> PreferenceGroup:
    prompt, answers = _sides(row, where, (better, worse))
    names = ("domain", "language", "feedback", "change_summary")
    extra = () if worse == "original_response" else ("original_response",)
    return PreferenceGroup(
        prompt=prompt,
        completions=answers,
        comparisons=(Comparison(0, 1),),
        source="helpsteer3-edit",
        group_id=where,
        metadata=kept(row, *names, *extra),
    )


def _sides(row: Row, where: str, columns: tuple[str, str]) -> tuple[Turns, tuple[Turns, ...]]:
    """Read the conversation so far, which ends with the user, and two answers to it."""
    context = conversation(require(row, "context", where), where, "context")
    prompt = check_turns(context, where, "context", last="user")
    return prompt, tuple(answer(require(row, name, where), where, name) for name in columns)


HELPSTEER3_ENTRIES = (
    Entry(
        name="helpsteer3",
        summary="HelpSteer3 pairs, strength -3 to 3; variant raters: a comparison an annotator",
        licence="CC-BY-4.0",
        paper="2505.11475",
        hub_id="nvidia/HelpSteer3",
        read=read_helpsteer3,
        subset="preference",
        columns=frozenset({"context", "response1", "response2", "overall_preference"}),
        variants={"raters": helpsteer3_read_raters},
    ),
    Entry(
        name="helpsteer3-edit",
        summary="HelpSteer3 edits: edited against original response",
        licence="CC-BY-4.0",
        paper="2503.04378",
        hub_id="nvidia/HelpSteer3",
        read=read_edit,
        subset="edit",
        columns=frozenset({"context", "original_response", "edited_response"}),
    ),
    Entry(
        name="helpsteer3-edit-quality",
        summary="HelpSteer3 edits that follow the feedback against edits that do not",
        licence="CC-BY-4.0",
        paper="2503.04378",
        hub_id="nvidia/HelpSteer3",
        read=read_edit_quality,
        subset="edit_quality",
        columns=frozenset({"context", "good_edited_response", "bad_edited_response"}),
    ),
)


ENTRIES = (
    *HELPSTEER_ENTRIES,
    *HELPSTEER3_ENTRIES,
)
