"""PRM800K (Lightman et al. 2023, arXiv 2305.20050): solutions of MATH problems, every step rated -1, 0 or 1.

By solution: the text of the steps that were chosen is the completion, in the form of `steps`. By step (variant
"steps"): each candidate for the next step, after what was written before, is a completion.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_mapping, require
from rewardsmith.data.formats.trl import step_group
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import ask, attempt, check_prompt, compare, kept, known_number, records, said
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import PreferenceGroup

Candidate = tuple[str, float | None]
RATINGS = (-1.0, 0.0, 1.0)
DETAILS = ("labeler", "timestamp", "generation", "is_quality_control_question", "is_initial_screening_question")


def read(rows: Rows) -> Read:
    """Give one group a solution: the steps that were chosen. The last step of a solution may be the wrong one."""
    return read_each(rows, _solution)


def read_steps(rows: Rows) -> Read:
    """Give one group a step: its candidates, compared by rating; equal ratings are ties."""
    for where, row in rows:
        try:
            groups = [attempt(partial(_step_group, row, *found), found[0]) for found in _steps(row, where)]
        except RowError as error:
            groups = [error]
        # One row is one solution: it is read whole or left out once.
        problem = next((group for group in groups if isinstance(group, RowError)), None)
        yield from [problem] if problem else groups


def _solution(row: Row, where: str) -> PreferenceGroup:
    problem = _problem(row, where)
    steps = [_chosen(step, where, index) for index, step in enumerate(_labelled(row, where))]
    ratings = [None if rating is None else int(rating) for _, rating in steps]
    if all(rating is None for rating in ratings):
        raise row_error(where, "no judgement", "no step of the solution has a rating; remove the row")
    label = check_mapping(row["label"], where, "label")
    details = {**kept(row, *DETAILS), **kept(label, "finish_reason")}
    return replace(step_group(problem, [text for text, _ in steps], ratings, where, details), source="prm800k")


def _problem(row: Row, where: str) -> str:
    question = check_mapping(require(row, "question", where), where, "question")
    return check_prompt(question.get("problem"), where, "question.problem")


def _labelled(row: Row, where: str) -> list[dict[str, Any]]:
    label = check_mapping(require(row, "label", where), where, "label")
    steps = records(require(label, "steps", where), where, "label.steps")
    if not steps:
        reason = label.get("finish_reason")
        raise row_error(where, "no steps", f"'label.steps' is empty (finish_reason {reason!r}); remove the row")
    return steps


def _candidates(step: Row, where: str, index: int) -> tuple[list[Candidate], Candidate | None]:
    """Read the candidates of a step with their ratings, and the step that the labeler wrote, which counts as good."""
    column = f"label.steps[{index}]"
    found = []
    for number, item in enumerate(records(step.get("completions") or [], where, f"{column}.completions")):
        place = f"{column}.completions[{number}]"
        rating = known_number(item.get("rating"), where, f"{place}.rating")
        if rating is not None and rating not in RATINGS:
            raise row_error(where, "unknown label", f"{place}.rating is {rating:g}; accepted: -1, 0, 1")
        found.append((said(item.get("text"), where, f"{place}.text"), rating))
    written = step.get("human_completion")
    if isinstance(written, Mapping):
        written = written.get("text")
    human = None if written is None else (said(written, where, f"{column}.human_completion"), RATINGS[-1])
    return found, human


def _chosen(step: Row, where: str, index: int) -> Candidate:
    """Give the step that the solution took: the chosen one, the labeler's own, or where it ended, the first offered."""
    found, human = _candidates(step, where, index)
    number = step.get("chosen_completion")
    if number is None and human is not None:
        return human
    place = 0 if number is None else number
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(found):
        message = f"label.steps[{index}].chosen_completion is {describe(number)} of {len(found)} candidates"
        raise row_error(where, "unknown label", f"{message}; give the index of one, or null with a human_completion")
    return found[place]


def _steps(row: Row, where: str) -> Iterator[tuple[str, str, list[Candidate]]]:
    """Give (where, what was written before, candidates) of each step."""
    so_far = ""
    for index, step in enumerate(_labelled(row, where)):
        found, human = _candidates(step, where, index)
        candidates = [*found, human] if human else found
        if not candidates:
            raise row_error(where, "no steps", f"label.steps[{index}] has no candidate; remove the row")
        yield f"{where} step {index + 1}", so_far, candidates
        so_far += _chosen(step, where, index)[0] + "\n"


def _step_group(row: Row, where: str, so_far: str, candidates: list[Candidate]) -> PreferenceGroup:
    ratings = tuple(rating for _, rating in candidates)
    prompt, completions = ask(
        _problem(row, where), {f"step {i}": so_far + t for i, (t, _) in enumerate(candidates)}, where, "problem"
    )
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=compare(ratings),
        ratings={"step": ratings},
        source="prm800k",
        group_id=where,
        metadata=kept(row, "labeler"),
    )


ENTRY = Entry(
    name="prm800k",
    summary="PRM800K: solutions of MATH problems, each step rated; variant steps: candidates for the next step",
    licence="MIT",
    paper="2305.20050",
    hub_id=None,
    read=read,
    columns=frozenset({"labeler", "question", "label"}),
    homepage="https://github.com/openai/prm800k",
    variants={"steps": read_steps},
)
