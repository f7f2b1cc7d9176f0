"""`completions` with one number each: `ranks` (1 is best), `scores` (higher is better), or `ratings` by attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from rewardsmith.data.formats.cells import check_list, check_mapping, check_number, find_unreadable, require
from rewardsmith.data.formats.format import Format
from rewardsmith.data.formats.pairs import (
    conversations,
    group_columns,
    group_fields,
    is_mixed,
    join_prompt,
)
from rewardsmith.errors import describe, row_error
from rewardsmith.records import Comparison, Completion, PreferenceGroup, TokenIds, as_plain

LEFT_OUT = "answers_left_out"
LIST_COLUMNS = {"prompt", "completions", "ranks", "scores", "ratings", "models"}


def ranked_comparisons(ranks: Sequence[float], **fields: Any) -> tuple[Comparison, ...]:
    """Return all K(K-1)/2 comparisons that ranks imply: lower is better, equal ranks are ties."""
    edges = []
    for i in range(len(ranks)):
        for j in range(i + 1, len(ranks)):
            better, worse = (i, j) if ranks[i] <= ranks[j] else (j, i)
            outcome = "tie" if ranks[i] == ranks[j] else fields.get("outcome", "better")
            edges.append(Comparison(better, worse, **{**fields, "outcome": outcome}))
    return tuple(edges)


def scored_comparisons(scores: Sequence[float]) -> tuple[Comparison, ...]:
    """Return all comparisons that scores imply: higher is better, equal is a tie.

    The difference is no margin: a margin is in units of the reward, and scores are in units of their own.
    """
    edges = []
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            better, worse = (i, j) if scores[i] >= scores[j] else (j, i)
            edges.append(Comparison(better, worse) if scores[i] != scores[j] else Comparison(i, j, "tie"))
    return tuple(edges)


def _read_ranking(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read `completions` with `ranks`: lower is better, equal ranks are ties, every pair is a comparison."""
    row = without_unreadable(row, where)
    prompt, completions = _read_completions(row, where)
    ranks = _read_numbers(row, "ranks", where, len(completions))
    fields = group_fields(row, where, LIST_COLUMNS - {"scores"})
    return PreferenceGroup(prompt, completions, ranked_comparisons(ranks), **_with_lists(fields, row, where))


def _read_scores(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read `completions` with `scores`: higher is better, equal scores are ties."""
    row = without_unreadable(row, where)
    prompt, completions = _read_completions(row, where)
    scores = _read_numbers(row, "scores", where, len(completions))
    fields = _with_lists(group_fields(row, where, LIST_COLUMNS - {"ranks"}), row, where)
    fields["ratings"] = {"score": tuple(scores), **fields.get("ratings", {})}
    return PreferenceGroup(prompt, completions, scored_comparisons(scores), **fields)


def _read_ratings(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read `completions` with `ratings` alone: attribute to one number or null each. They say no order."""
    row = without_unreadable(row, where)
    if not isinstance(row.get("ratings"), Mapping):
        raise row_error(
            where,
            "wrong type",
            "the columns hold completions with ratings, which give none of the order: `ratings` maps attributes to "
            f"lists, and is {describe(row.get('ratings'))}; add scores (higher is better) or ranks (1 is best), or say "
            "--columns ratings=scores where they are numbers",
        )
    prompt, completions = _read_completions(row, where, least=1)
    fields = group_fields(row, where, LIST_COLUMNS - {"ranks", "scores"})
    return PreferenceGroup(prompt, completions, **_with_lists(fields, row, where))


def without_unreadable(row: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Leave answers out that are null, of another type or broken text, with their ranks, scores, ratings and models.

    They cost themselves, not their prompt. `metadata` says which: place to reason.
    """
    answers = check_list(require(row, "completions", where), where, "completions")
    columns = [f"completions[{index}]" for index in range(len(answers))]
    found = find_unreadable(answers, where, columns)
    left = {columns[index]: error.reason for index, error in found.items()}
    kept = [index for index in range(len(answers)) if index not in found]
    # With fewer than two nothing is left to compare, and the reader names what is wrong with them.
    if not left or len(kept) < 2:
        return row

    def chosen(value: object) -> Any:
        return [value[i] for i in kept] if isinstance(value, list | tuple) and len(value) == len(answers) else value

    lists = {name: chosen(row[name]) for name in ("ranks", "scores", "models") if name in row}
    if isinstance(row.get("ratings"), Mapping):
        lists["ratings"] = {name: chosen(value) for name, value in row["ratings"].items()}
    known = row.get("metadata")
    metadata = {**(known if isinstance(known, Mapping) else {}), LEFT_OUT: left}
    return {**row, **lists, "completions": [answers[i] for i in kept], "metadata": metadata}


def _read_completions(row: Mapping[str, Any], where: str, least: int = 2) -> tuple[Any, tuple[Any, ...]]:
    """Read the prompt and at least two completions of a ranking or of scores, at least one of ratings."""
    completions = check_list(require(row, "completions", where), where, "completions")
    if len(completions) < least:
        raise row_error(
            where, "too few completions", f"column 'completions' holds {len(completions)}; give two or more to compare"
        )
    prompt = require(row, "prompt", where) if "prompt" in row else None
    return join_prompt(prompt, completions, where, "prompt", "completions")


def _read_numbers(row: Mapping[str, Any], column: str, where: str, size: int) -> list[float]:
    """Read one finite number per completion."""
    values = check_list(require(row, column, where), where, column)
    if len(values) != size:
        raise row_error(
            where,
            "wrong length",
            f"column {column!r} has {len(values)} entries for {size} completions; give one for each",
        )
    return [check_number(value, where, f"{column}[{index}]") for index, value in enumerate(values)]


def _with_lists(fields: dict[str, Any], row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Add the optional `ratings` (attribute to scores) and `models`, one entry per completion."""
    if row.get("ratings") is not None:
        ratings = check_mapping(row["ratings"], where, "ratings")
        fields["ratings"] = {name: _optional_numbers(v, where, f"ratings.{name}") for name, v in ratings.items()}
    if row.get("models") is not None:
        fields["models"] = tuple(None if m is None else str(m) for m in check_list(row["models"], where, "models"))
    size = len(check_list(row["completions"], where, "completions"))
    lists = {"models": fields.get("models") or (None,) * size, **fields.get("ratings", {})}
    for name, values in lists.items():
        if len(values) != size:
            raise row_error(where, "wrong length", f"{name!r} has {len(values)} entries for {size} completions")
    return fields


def _optional_numbers(values: ArrayLike, where: str, column: str) -> tuple[float | None, ...]:
    items: Sequence[Any] = check_list(values, where, column)
    return tuple(None if v is None else check_number(v, where, f"{column}[{i}]") for i, v in enumerate(items))


def to_ranking_row(group: PreferenceGroup) -> dict[str, Any]:
    """Return `prompt, completions, ranks` (1 is best, equal ranks are ties).

    Raises:
        DataError: the comparisons are not exactly those of one complete ranking.
    """
    ranks = ranks_of(group)
    if ranks is None:
        raise row_error("group", "not a ranking", "the comparisons are not those of one complete ranking; write pairs")
    return {**_list_columns(group), "ranks": ranks}


def to_scores_row(group: PreferenceGroup, rating: str = "score") -> dict[str, Any]:
    """Return `prompt, completions, scores` from the rating of that name (higher is better).

    Raises:
        DataError: the rating is missing, or is not known for every completion.
    """
    scores = group.ratings.get(rating)
    if scores is None or any(score is None for score in scores):
        raise row_error("group", "no scores", f"rating {rating!r} is not known for every completion; write pairs")
    row = {**_list_columns(group), "scores": list(scores)}
    # It stands in `scores` now.
    row.get("ratings", {}).pop(rating, None)
    if not row.get("ratings", True):
        del row["ratings"]
    return row


def ranks_of(group: PreferenceGroup) -> list[int] | None:
    """Return the ranks (1 is best) when the comparisons are those of one complete ranking, else None.

    Margins, weights, soft labels and annotators cannot be held by ranks, so a comparison that has any is no ranking.
    """
    size = len(group)
    beaten = [0] * size
    seen: dict[tuple[int, int], Comparison] = {}
    for comparison in group.comparisons:
        pair = (min(comparison.better, comparison.worse), max(comparison.better, comparison.worse))
        if pair in seen or pair[0] == pair[1] or comparison != _plain(comparison):
            return None
        seen[pair] = comparison
        if comparison.outcome == "better":
            beaten[comparison.worse] += 1
    if size < 2 or len(seen) != size * (size - 1) // 2:
        return None
    # Who is beaten by k others has rank k + 1, if every comparison agrees with that.
    for comparison in seen.values():
        better, worse = beaten[comparison.better], beaten[comparison.worse]
        if (better != worse) if comparison.outcome == "tie" else (better >= worse):
            return None
    return [count + 1 for count in beaten]


def _list_columns(group: PreferenceGroup) -> dict[str, Any]:
    """Return the columns that rankings and scores share."""
    if any(isinstance(c, TokenIds) for c in group.completions):
        raise row_error("group", "token ids", "token ids can be written as pairs only")
    prompt: Any = group.prompt
    completions: Sequence[Completion] = group.completions
    if is_mixed(group):
        prompt, completions = conversations(group)
    row: dict[str, Any] = {
        "prompt": as_plain(prompt or ""),
        "completions": [as_plain(completion) for completion in completions],
        **group_columns(group),
    }
    if group.ratings:
        row["ratings"] = {name: list(scores) for name, scores in group.ratings.items()}
    if group.models:
        row["models"] = list(group.models)
    return row


def _plain(comparison: Comparison) -> Comparison:
    """The comparison as ranks would hold it."""
    return Comparison(comparison.better, comparison.worse, comparison.outcome)


FORMATS = (
    Format("ranking", _read_ranking, ({"completions", "ranks"},), takes_prompt=True),
    Format("scores", _read_scores, ({"completions", "scores"},), takes_prompt=True),
    Format(
        "ratings",
        _read_ratings,
        ({"completions", "ratings"},),
        unless=frozenset({"ranks", "scores", "comparisons"}),
        takes_prompt=True,
    ),
)
