"""Sets of reasoning: solutions whose steps are rated, and solutions checked against the true answer.

PRM800K (Lightman et al. 2023, arXiv 2305.20050): solutions of MATH problems, every step rated -1, 0 or 1.

By solution: the text of the steps that were chosen is the completion, in the form of `steps`. By step (variant
"steps"): each candidate for the next step, after what was written before, is a completion.

Math-Shepherd (Wang et al. 2023, arXiv 2312.08935): solutions in steps, each marked good (+) or bad (-) by rollouts.

`input` is the problem and its steps, each ended by the mark "ки"; `label` is the same text with + or - for each mark.

BIG-Bench Mistake (Tyen et al. 2023, arXiv 2311.08516): reasoning in steps with its first mistake.

`mistake_index` counts from 0, null means that no step is wrong. The final answer may be wrong without a mistake and
right with one; the rating "answer_right" compares `answer` with `target`.

ReasonEval's MR-MATH (Xia et al. 2024, arXiv 2404.05692): steps of solutions, some wrong, some only redundant.

Two files. In the one of invalid errors `model_output_solution_first_error_step` counts from 1, "N/A" for none. In the
one of redundant errors `rating` holds one number a step: 1 positive, 0 neutral, which is a redundant but valid step.

ProcessBench (Zheng et al. 2024, arXiv 2412.06559): solutions with their first wrong step, from 0, -1 for none.

GSM8K example solutions (Cobbe et al. 2021, arXiv 2110.14168): model solutions, checked against the true answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_flag, check_list, check_mapping, check_text, require
from rewardsmith.data.formats.trainers import StepRating, check_steps, dialogue_of, ratings_until, step_group
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, file_stem, read_each
from rewardsmith.data.sets.published import ask, attempt, check_prompt, compare, kept, known_number, records, said
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Comparison, PreferenceGroup

Candidate = tuple[str, float | None]
RATINGS = (-1.0, 0.0, 1.0)
DETAILS = ("labeler", "timestamp", "generation", "is_quality_control_question", "is_initial_screening_question")


def read_prm800k(rows: Rows) -> Read:
    """Return one group a solution: the steps that were chosen. The last step of a solution may be the wrong one."""
    return read_each(rows, _solution)


def read_steps(rows: Rows) -> Read:
    """Yield one group a step: its candidates, compared by rating; equal ratings are ties."""
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
    """Return the step that the solution took: the chosen one, the labeler's own, or at its end the first offered."""
    found, human = _candidates(step, where, index)
    number = step.get("chosen_completion")
    if number is None and human is not None:
        return human
    place = 0 if number is None else number
    if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(found):
        message = f"label.steps[{index}].chosen_completion is {describe(number)} of {len(found)} candidates"
        raise row_error(where, "unknown label", f"{message}; give the index of one, or null with a human_completion")
    return found[place]


def _steps(row: Row, where: str) -> Iterator[tuple[str, list[str], list[Candidate]]]:
    """Yield (where, the steps that were written before, candidates) of each step."""
    so_far: list[str] = []
    for index, step in enumerate(_labelled(row, where)):
        found, human = _candidates(step, where, index)
        candidates = [*found, human] if human else found
        if not candidates:
            raise row_error(where, "no steps", f"label.steps[{index}] has no candidate; remove the row")
        yield f"{where} step {index + 1}", list(so_far), candidates
        so_far.append(_chosen(step, where, index)[0])


def _step_group(row: Row, where: str, before: list[str], candidates: list[Candidate]) -> PreferenceGroup:
    ratings = tuple(rating for _, rating in candidates)
    so_far = "".join(f"{step}\n" for step in before)
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
        metadata={**kept(row, "labeler"), "steps_before": before, "candidates": [text for text, _ in candidates]},
    )


PRM800K_ENTRY = Entry(
    name="prm800k",
    summary="PRM800K: solutions of MATH problems, each step rated; variant steps: candidates for the next step",
    licence="MIT",
    paper="2305.20050",
    hub_id=None,
    read=read_prm800k,
    columns=frozenset({"labeler", "question", "label"}),
    homepage="https://github.com/openai/prm800k",
    variants={"steps": read_steps},
)


MARK = "ки"
SIGNS = {"+": 1, "-": -1}
FIRST_STEP = re.compile(r"\s*(?=Step 1\s*:)")


def read_math_shepherd(rows: Rows) -> Read:
    """Return one group a solution. Rows whose input and label do not match are left out."""
    return read_each(rows, _group)


def _group(row: Row, where: str) -> PreferenceGroup:
    text = check_text(require(row, "input", where), where, "input")
    pieces, ratings = _signs(text, check_text(require(row, "label", where), where, "label"), where)
    parts = FIRST_STEP.split(pieces[0], maxsplit=1)
    if len(parts) != 2:
        raise row_error(where, "no first step", "column 'input' has no 'Step 1:' before the first mark; remove the row")
    problem = check_prompt(parts[0], where, "input")
    steps = [check_text(piece.strip(), where, "input") for piece in (parts[1], *pieces[1:])]
    return replace(step_group(problem, steps, ratings, where, kept(row, "task")), source="math-shepherd")


def _signs(text: str, label: str, where: str) -> tuple[list[str], list[int]]:
    """Cut the input at its marks and read the sign that stands in the label for each."""
    *pieces, rest = text.split(MARK)
    if not pieces or rest.strip():
        raise row_error(where, "no mark", f"column 'input' must end with the mark {MARK!r} after its last step")
    ratings = []
    place = 0
    for number, piece in enumerate(pieces, 1):
        place += len(piece)
        sign = label[place : place + 1]
        if label[place - len(piece) : place] != piece or sign not in SIGNS:
            message = f"column 'label' does not repeat step {number} of 'input' with + or - for {MARK!r}; drop the row"
            raise row_error(where, "input and label differ", message)
        ratings.append(SIGNS[sign])
        place += 1
    return pieces, ratings


MATH_SHEPHERD_ENTRY = Entry(
    name="math-shepherd",
    summary="Math-Shepherd: solutions of GSM8K and MATH, each step marked by rollouts",
    licence="none stated",
    paper="2312.08935",
    hub_id="peiyi9979/Math-Shepherd",
    read=read_math_shepherd,
    columns=frozenset({"input", "label", "task"}),
    labels="automatic",
)


def read_big_bench_mistake(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a reasoning; no comparisons, steps and ratings in the metadata."""
    return read_each(rows, _read_trace)


def _read_trace(row: Row, where: str) -> PreferenceGroup:
    steps = check_steps(require(row, "steps", where), where, "steps")
    if "mistake_index" not in row:
        raise row_error(where, "missing column", "column 'mistake_index' is missing; null means no mistake")
    ratings = ratings_until(_first_mistake(row["mistake_index"], where), len(steps), where)
    extra = {"answer": row.get("answer"), "target": row.get("target"), "task": file_stem(where)}
    question = check_prompt(require(row, "input", where), where, "input")
    group = step_group(question, steps, ratings, where, {name: v for name, v in extra.items() if v not in (None, "")})
    right = None if row.get("target") is None else float(row.get("answer") == row["target"])
    return replace(group, ratings={**group.ratings, "answer_right": (right,)})


def _first_mistake(value: object, where: str) -> int:
    # A column with nulls comes as floats from some exports.
    if value is None or value != value:
        return -1
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0 or value < 0:
        raise row_error(where, "unknown label", f"mistake_index is {describe(value)}; give a step from 0, or null")
    return int(value)


BIG_BENCH_MISTAKE_ENTRY = Entry(
    name="big-bench-mistake",
    summary="BIG-Bench Mistake: reasoning in steps with the first mistake, five tasks",
    licence="Apache-2.0",
    paper="2311.08516",
    hub_id=None,
    read=read_big_bench_mistake,
    columns=frozenset({"input", "steps", "target", "mistake_index"}),
    homepage="https://github.com/WHGTyen/BIG-Bench-Mistake",
)


STEPS = "model_output_step_format"
FIRST_ERROR = "model_output_solution_first_error_step"
KEPT = ("generator", "ground_truth_answer", "model_output_answer_correctness")


def read_reasoneval(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a solution; no comparisons, steps and ratings in the metadata."""
    return read_each(rows, _read_solution)


def _read_solution(row: Row, where: str) -> PreferenceGroup:
    steps = check_steps(require(row, STEPS, where), where, STEPS)
    extra: dict[str, Any] = {name: row[name] for name in KEPT if row.get(name) is not None}
    if file_stem(where):
        extra["subset"] = file_stem(where)
    if "rating" in row:
        ratings = _ratings(row["rating"], len(steps), where)
        extra["redundant_steps"] = [index for index, rating in enumerate(ratings) if rating == 0]
    else:
        ratings = ratings_until(_first_error(require(row, FIRST_ERROR, where), where), len(steps), where)
    return step_group(check_prompt(require(row, "question", where), where, "question"), steps, ratings, where, extra)


def _ratings(value: object, size: int, where: str) -> list[StepRating]:
    ratings = check_list(value, where, "rating")
    if len(ratings) != size:
        raise row_error(where, "wrong length", f"'rating' has {len(ratings)} numbers for {size} steps")
    if not all(rating in (-1, 0, 1) for rating in ratings):
        raise row_error(where, "unknown label", f"'rating' is {describe(ratings)}; accepted: -1, 0, 1")
    return [int(rating) for rating in ratings]


def _first_error(value: Any, where: str) -> int:
    if value == "N/A":
        return -1
    if not str(value).isdigit() or int(value) < 1:
        raise row_error(where, "unknown label", f"{FIRST_ERROR} is {describe(value)}; give a step from 1, or 'N/A'")
    return int(value) - 1


REASONEVAL_ENTRY = Entry(
    name="reasoneval",
    summary="MR-MATH of ReasonEval: steps of solutions with the first wrong step, or with redundant steps",
    licence="none stated",
    paper="2404.05692",
    hub_id=None,
    read=read_reasoneval,
    columns=frozenset({"question", "generator", STEPS}),
    homepage="https://github.com/GAIR-NLP/ReasonEval",
)


def read_process_bench(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a solution; no comparisons, steps and ratings in the metadata."""
    return read_each(rows, _read_found)


def _read_found(row: Row, where: str) -> PreferenceGroup:
    steps = check_steps(require(row, "steps", where), where, "steps")
    label = known_number(require(row, "label", where), where, "label")
    if label is None or label % 1 != 0:
        raise row_error(where, "unknown label", f"label is {describe(label)}; give the first wrong step from 0, or -1")
    problem = check_prompt(require(row, "problem", where), where, "problem")
    details = kept(row, "generator", "final_answer_correct")
    return replace(
        step_group(problem, steps, ratings_until(int(label), len(steps), where), where, details), source="process-bench"
    )


PROCESS_BENCH_ENTRY = Entry(
    name="process-bench",
    summary="ProcessBench: solutions with the first wrong step; a benchmark, so measure on it and train on others",
    licence="see its hub page",
    paper="2412.06559",
    hub_id=None,
    read=read_process_bench,
    columns=frozenset({"problem", "steps", "label", "final_answer_correct"}),
    homepage="https://github.com/QwenLM/ProcessBench",
)


QUESTION, TRUTH = "question", "ground_truth"


def read_gsm8k_solutions(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a question: the rating "correct" is 1 or 0, each correct solution beats each incorrect one."""
    return read_each(rows, _read_question)


def _read_question(row: Row, where: str) -> PreferenceGroup:
    models = [name for name, value in row.items() if isinstance(value, dict) and "is_correct" in value]
    if not models:
        raise row_error(where, "missing column", "no column holds an object with 'solution' and 'is_correct'")
    cells = [check_mapping(row[name], where, name) for name in models]
    solutions = [check_text(require(cell, "solution", where), where, "solution", empty=True) for cell in cells]
    correct = [check_flag(require(cell, "is_correct", where), where, "is_correct") for cell in cells]
    prompt, completions = dialogue_of(check_prompt(require(row, QUESTION, where), where, QUESTION), solutions)
    right, wrong = ([i for i, flag in enumerate(correct) if flag is wanted] for wanted in (True, False))
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=tuple(Comparison(i, j) for i in right for j in wrong),
        ratings={"correct": tuple(float(flag) for flag in correct)},
        models=tuple(models),
        group_id=where,
        metadata={TRUTH: row[TRUTH]} if row.get(TRUTH) is not None else {},
    )


GSM8K_SOLUTIONS_ENTRY = Entry(
    name="gsm8k-solutions",
    summary="GSM8K: four model solutions a question, correct ones beat incorrect ones",
    licence="MIT",
    paper="2110.14168",
    hub_id=None,
    read=read_gsm8k_solutions,
    columns=frozenset({QUESTION, TRUTH, "6b_finetuning", "175b_finetuning"}),
    homepage="https://github.com/openai/grade-school-math",
    labels="automatic",
)


ENTRIES = (
    PRM800K_ENTRY,
    MATH_SHEPHERD_ENTRY,
    BIG_BENCH_MISTAKE_ENTRY,
    REASONEVAL_ENTRY,
    PROCESS_BENCH_ENTRY,
    GSM8K_SOLUTIONS_ENTRY,
)
