"""HelpSteer3 (Wang et al. 2025, arXiv 2505.11475 and 2503.04378): preferences with strength, and edited answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from rewardsmith.data.formats.cells import require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import Turns, answer, check_turns, conversation, kept, records, signed_comparison
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison, PreferenceGroup


def read(rows: Rows) -> Read:
    """Give one group a pair with the overall preference, -3 (response 1 much better) to 3, as margin; 0 is a tie."""
    return read_each(rows, partial(_preference, by_rater=False))


def read_raters(rows: Rows) -> Read:
    """Give one group a pair with one comparison an annotator, called "rater 1" and so on: names are not published."""
    return read_each(rows, partial(_preference, by_rater=True))


def _preference(row: Row, where: str, by_rater: bool) -> PreferenceGroup:
    prompt, answers = _sides(row, where, ("response1", "response2"))
    overall = require(row, "overall_preference", where)
    comparisons = (signed_comparison(overall, where, "overall_preference"),)
    if by_rater:
        column = "individual_preference"
        judgements = records(require(row, column, where), where, column)
        if not judgements:
            raise row_error(where, "no judgement", f"column {column!r} is empty; remove the row")
        comparisons = tuple(  # type: ignore[assignment]
            signed_comparison(
                require(judgement, "score", f"{where} {column}[{index}]"),
                where,
                f"{column}[{index}].score",
                f"rater {index + 1}",
            )
            for index, judgement in enumerate(judgements)
        )
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
    """Give the annotators' one or two sentences of reasoning."""
    found = judgements if isinstance(judgements, list) else []
    return [str(one["reasoning"]) for one in found if isinstance(one, Mapping) and one.get("reasoning")]


def read_edit(rows: Rows) -> Read:
    """Give one group an edit: the edited response is better than the original."""
    return read_each(rows, partial(_edit, better="edited_response", worse="original_response"))


def read_edit_quality(rows: Rows) -> Read:
    """Give one group two edits of an answer; the one that follows the feedback is the better."""
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


ENTRIES = (
    Entry(
        name="helpsteer3",
        summary="HelpSteer3 pairs, strength -3 to 3; variant raters: a comparison an annotator",
        licence="CC-BY-4.0",
        paper="2505.11475",
        hub_id="nvidia/HelpSteer3",
        read=read,
        subset="preference",
        columns=frozenset({"context", "response1", "response2", "overall_preference"}),
        variants={"raters": read_raters},
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
