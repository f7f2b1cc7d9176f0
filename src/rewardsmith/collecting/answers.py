"""What an annotator may answer, in one canonical form, whatever the page looked like.

An answer names completions by their number in the item, never by their place on the screen:

    pair, ranking   {"order": [[2], [0, 1]], "strength": 2, "both_bad": false}     best group first, ties share a group
    best            {"best": 2}, or {"best": null} when none is good
    rating          {"ratings": {"helpfulness": [4, 2]}}                           one number for every completion
    criteria        {"criteria": {"correct": [true, false]}}
    steps           {"first_wrong": [3]}                                           from 0; -1 when every step is right

A judgement holds {"answers": {question: answer}, "rationale", "comment", "flags"}; one that came from a file holds
{"comparisons": [...]} instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from rewardsmith.collecting.project import Project, Question
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison

Answer = dict[str, Any]
MOST_CHARACTERS = 10_000
FLAGS = ("harmful", "personal data", "broken", "not my language", "names a model", "other")


def check_judgement(project: Project, judgement: Mapping[str, Any], size: int, steps: Sequence[int]) -> Answer:
    """Return a judgement in canonical form.

    Args:
        size: completions of the item.
        steps: how many steps each completion has; 0 where it has none.

    Raises:
        DataError: something is missing or out of range; the message is for the annotator.
    """
    given = judgement.get("answers") or {}
    answers = {}
    for question in project.all_questions:
        answer = given.get(question.name)
        if answer is not None:
            answers[question.name] = check_answer(question, answer, size, steps)
        elif question.required and _applies(question, size, steps):
            raise DataError(f"Please answer: {question.text}")
    texts = {name: str(judgement.get(name) or "").strip()[:MOST_CHARACTERS] for name in ("rationale", "comment")}
    if project.rationale == "required" and not texts["rationale"]:
        raise DataError("Please say why.")
    flags = [flag for flag in FLAGS if flag in (judgement.get("flags") or ())]
    kept: Answer = {name: text for name, text in texts.items() if text}
    return {"answers": answers, **kept, **({"flags": flags} if flags else {})}


def _applies(question: Question, size: int, steps: Sequence[int]) -> bool:
    """Whether a question can be asked of an item."""
    return any(steps) if question.task == "steps" else size >= 2 or question.task in ("rating", "criteria")


def check_answer(question: Question, answer: Mapping[str, Any], size: int, steps: Sequence[int]) -> Answer:
    """Return the answer to one question in canonical form. Raises DataError."""
    if question.task in ("pair", "ranking"):
        return _check_order(question, answer, size)
    if question.task == "best":
        best = answer.get("best")
        if best is None and not question.both_bad:
            raise DataError(f"Please choose one answer: {question.text}")
        if best is not None and not (isinstance(best, int) and 0 <= best < size):
            raise DataError("That answer is not on the page.")
        return {"best": best}
    if question.task == "rating":
        return {"ratings": {scale.name: _numbers(answer, "ratings", scale, size) for scale in question.scales}}
    if question.task == "criteria":
        return {"criteria": {name: _checks(answer, name, size) for name in question.criteria}}
    places = _row(answer.get("first_wrong"), size)
    for place, count in zip(places, steps, strict=True):
        if count and not (isinstance(place, int) and -1 <= place < count):
            raise DataError(f"Please name the first wrong step of every answer: {question.text}")
    return {"first_wrong": [place if count else None for place, count in zip(places, steps, strict=True)]}


def _check_order(question: Question, answer: Mapping[str, Any], size: int) -> Answer:
    order = [sorted(group) for group in answer.get("order") or []]
    if sorted(number for group in order for number in group) != list(range(size)) or not all(order):
        raise DataError(f"Please place every answer: {question.text}")
    if len(order) < size and not question.ties and not answer.get("both_bad"):
        raise DataError(f"Equal places are not asked for here: {question.text}")
    checked: Answer = {"order": order}
    if question.task == "pair":
        if answer.get("both_bad"):
            if not question.both_bad or len(order) != 1:
                raise DataError("Both cannot be bad here.")
            checked["both_bad"] = True
        strength = answer.get("strength")
        if question.strength and len(order) == 2:
            if not (isinstance(strength, int) and 1 <= strength <= question.strength):
                raise DataError("Please say how much better it is.")
            checked["strength"] = strength
    return checked


def _row(values: Any, size: int) -> list[Any]:
    row = list(values or [])
    if len(row) != size:
        raise DataError("Please judge every answer.")
    return row


def _numbers(answer: Mapping[str, Any], key: str, scale: Any, size: int) -> list[int]:
    row = _row((answer.get(key) or {}).get(scale.name), size)
    if not all(isinstance(value, int) and scale.low <= value <= scale.high for value in row):
        raise DataError(f"Please rate {scale.name} of every answer from {scale.low} to {scale.high}.")
    return row


def _checks(answer: Mapping[str, Any], name: str, size: int) -> list[bool]:
    row = _row((answer.get("criteria") or {}).get(name), size)
    if not all(isinstance(value, bool) for value in row):
        raise DataError(f"Please answer yes or no for {name} of every answer.")
    return row


def signature(answer: Mapping[str, Any] | None) -> tuple[Any, ...] | None:
    """Return what two annotators must share to have answered alike; strength does not count."""
    if not answer:
        return None
    if "order" in answer:
        groups = tuple(tuple(group) for group in answer["order"])
        return ("both bad",) if answer.get("both_bad") else groups
    return (repr(sorted(answer.items())),)


def answer_comparisons(answer: Mapping[str, Any], size: int) -> list[tuple[int, int, bool, float | None]]:
    """Return (better, worse, is a tie, margin) of every pair that an answer compares.

    A best-of-K compares the best with every other, and says nothing of the others among themselves. Ratings compare
    by their first scale: it is one person's order, whatever the numbers mean to others.
    """
    if answer.get("best") is not None:
        best = int(answer["best"])
        return [(best, other, False, None) for other in range(size) if other != best]
    order = answer.get("order") or _rated_order(answer)
    margin = float(answer["strength"]) if "strength" in answer else None
    found: list[tuple[int, int, bool, float | None]] = [
        (first, second, True, None) for group in order for first, second in combinations(group, 2)
    ]
    for upper, lower in combinations(order, 2):
        found += [(better, worse, False, margin) for better in upper for worse in lower]
    return found


def _rated_order(answer: Mapping[str, Any]) -> list[list[int]]:
    """Return the numbers of completions by their first scale, the highest first; equal ratings share a group."""
    row: list[float] = next(iter((answer.get("ratings") or {}).values()), [])
    return [[number for number, value in enumerate(row) if value == level] for level in sorted(set(row), reverse=True)]


def judgement_comparisons(judgement: Mapping[str, Any], size: int, question: str) -> list[Comparison]:
    """Return what a stored judgement compares under one question, without annotator and time."""
    if "comparisons" in judgement:
        return [Comparison(**edge) for edge in judgement["comparisons"]]
    edges = answer_comparisons(judgement.get("answers", {}).get(question) or {}, size)
    return [Comparison(b, w, "tie" if tie else "better", margin=margin) for b, w, tie, margin in edges]


def renumbered(judgement: Mapping[str, Any], numbers: Sequence[int], size: int) -> Answer:
    """Return an exported judgement of some answers of a prompt as one of all its answers.

    Args:
        numbers: for each answer of the judgement its number among all.
        size: how many there are; an answer that was not judged has None in a row of values.
    """

    def row(values: Sequence[Any]) -> list[Any]:
        wide: list[Any] = [None] * size
        for number, value in zip(numbers, values, strict=True):
            wide[number] = value
        return wide

    def renumber(answer: Mapping[str, Any]) -> Answer:
        found: Answer = dict(answer)
        if "order" in answer:
            found["order"] = [sorted(numbers[n] for n in group) for group in answer["order"]]
        if answer.get("best") is not None:
            found["best"] = numbers[answer["best"]]
        for name in ("ratings", "criteria"):
            if name in answer:
                found[name] = {key: row(values) for key, values in answer[name].items()}
        if "first_wrong" in answer:
            found["first_wrong"] = row(answer["first_wrong"])
        return found

    whole: Answer = dict(judgement)
    if "shown" in judgement:
        whole["shown"] = [numbers[n] for n in judgement["shown"]]
    if "answers" in judgement:
        whole["answers"] = {name: renumber(answer) for name, answer in judgement["answers"].items()}
    if "comparisons" in judgement:
        sides = ("better", "worse")
        whole["comparisons"] = [
            {**edge, **{side: numbers[edge[side]] for side in sides}} for edge in judgement["comparisons"]
        ]
    return whole


def parse_form(project: Project, form: Mapping[str, str], shown: Sequence[int], flags: Sequence[str]) -> Answer:
    """Read a page's form: places on the screen become numbers of completions.

    Args:
        form: field to value; question i has the fields "q0", "q0.PLACE", "q0.SCALE.PLACE", "q0.strength".
        shown: number of the completion at every place of the screen.
        flags: chosen flags.
    """
    answers = {}
    for index, question in enumerate(project.all_questions):
        answer = _parse_question(question, form, f"q{index}", list(shown))
        if answer is not None:
            answers[question.name] = answer
    return {
        "answers": answers,
        "rationale": form.get("rationale", ""),
        "comment": form.get("comment", ""),
        "flags": list(flags),
    }


def _parse_question(question: Question, form: Mapping[str, str], name: str, shown: list[int]) -> Answer | None:
    """Return one answer as far as the form holds it; None when it holds nothing of it."""
    if question.task == "pair":
        return _parse_pair(form.get(name, ""), _number(form.get(f"{name}.strength")), shown)
    if question.task == "best":
        if form.get(name) == "none":
            return {"best": None}
        place = _number(form.get(name))
        return {"best": shown[place]} if place is not None and 0 <= place < len(shown) else None
    if question.task == "ranking":
        ranks = {number: _number(form.get(f"{name}.{place}")) for place, number in enumerate(shown)}
        levels = sorted({rank for rank in ranks.values() if rank is not None})
        order = [[number for number, rank in ranks.items() if rank == level] for level in levels]
        return {"order": order} if order else None
    if question.task == "steps":
        values = _by_number(form, name, shown)
        return {"first_wrong": values} if any(value is not None for value in values) else None
    names = [scale.name for scale in question.scales] if question.task == "rating" else list(question.criteria)
    table = {part: _by_number(form, f"{name}.{index}", shown) for index, part in enumerate(names)}
    if not any(value is not None for row in table.values() for value in row):
        return None
    if question.task == "rating":
        return {"ratings": table}
    return {"criteria": {k: [None if v is None else v == 1 for v in row] for k, row in table.items()}}


def _parse_pair(choice: str, strength: int | None, shown: list[int]) -> Answer | None:
    if len(shown) != 2 or choice not in ("0", "1", "tie", "bad"):
        return None
    if choice in ("tie", "bad"):
        return {"order": [sorted(shown)], **({"both_bad": True} if choice == "bad" else {})}
    better = shown[int(choice)]
    order = {"order": [[better], [number for number in shown if number != better]]}
    return order if strength is None else {**order, "strength": strength}


def _by_number(form: Mapping[str, str], name: str, shown: list[int]) -> list[int | None]:
    """Return one value for every completion, in the order of their numbers."""
    values = {number: _number(form.get(f"{name}.{place}")) for place, number in enumerate(shown)}
    return [values[number] for number in sorted(values)]


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text and len(text) < 10 else None
    except ValueError:
        return None


def form_values(project: Project, judgement: Mapping[str, Any], shown: Sequence[int]) -> dict[str, str]:
    """Return the form fields of a judgement or draft: the reverse of `parse_form`."""
    values: dict[str, str] = {}
    place = {number: index for index, number in enumerate(shown)}
    for index, question in enumerate(project.all_questions):
        answer, name = (judgement.get("answers") or {}).get(question.name) or {}, f"q{index}"
        if question.task == "pair" and "order" in answer:
            order = answer["order"]
            tied = "bad" if answer.get("both_bad") else "tie"
            values[name] = str(place[order[0][0]]) if len(order) == 2 else tied
            values[f"{name}.strength"] = str(answer.get("strength", ""))
        elif question.task == "ranking":
            levels = enumerate(answer.get("order") or [], 1)
            values |= {f"{name}.{place[number]}": str(rank) for rank, group in levels for number in group}
        elif question.task == "best" and "best" in answer:
            values[name] = "none" if answer["best"] is None else str(place[answer["best"]])
        else:
            names = [scale.name for scale in question.scales] or list(question.criteria)
            tables = {**(answer.get("ratings") or {}), **(answer.get("criteria") or {})}
            rows = {f"{name}.{i}": tables.get(part) or [] for i, part in enumerate(names)}
            rows[name] = answer.get("first_wrong") or []
            for field, row in rows.items():
                values |= {f"{field}.{place[n]}": str(int(v)) for n, v in enumerate(row) if v is not None}
    return values
