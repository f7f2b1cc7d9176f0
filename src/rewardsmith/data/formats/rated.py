"""A long table of one rated answer a row: `prompt`, `completion`, `score` and perhaps `annotator`; joined by prompt.

A score says nothing until another answer of its prompt has one, so the rows of a prompt become one group. Scores give
the order of answers; their difference is no margin. Ratings of one answer by several annotators are compared as in
other formats: within one annotator, each comparison with its name, and the rating that is kept is their mean. Where no
annotator rated two answers, the means are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rewardsmith.data.formats.cells import check_number, require
from rewardsmith.data.formats.format import RATED, Format
from rewardsmith.data.formats.pairs import group_fields, join_prompt
from rewardsmith.data.formats.rankings import scored_comparisons
from rewardsmith.data.merging import merge_groups, text_hash
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison, PreferenceGroup, graph_key, text_key

ANSWERS = ("completion", "response", "answer")
SCORES = ("score", "rating")
SCORE = "score"
NO_PROMPT = "\x01"


def _read_rated(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one answer with its score; `join_rated` makes comparisons of the rows of a prompt."""
    answer = next((name for name in ANSWERS if name in row), ANSWERS[0])
    column = next((name for name in SCORES if name in row), SCORES[0])
    score = check_number(require(row, column, where), where, column)
    prompt = require(row, "prompt", where) if "prompt" in row else None
    asked, completions = join_prompt(prompt, [require(row, answer, where)], where, "prompt", [answer])
    model = row.get("model")
    fields = group_fields(row, where, {"prompt", answer, column, *(("model",) if isinstance(model, str) else ())})
    annotator = None if row.get("annotator") in (None, "") else str(row["annotator"])
    fields["metadata"] = {**fields.get("metadata", {}), RATED: annotator}
    models = (model,) if isinstance(model, str) else ()
    return PreferenceGroup(asked, completions, (), {SCORE: (score,)}, models=models, **fields)


def is_rated(group: PreferenceGroup) -> bool:
    """Whether a group is one row of such a table, which is to be joined with others."""
    return RATED in group.metadata


def rows_follow(groups: Iterable[PreferenceGroup]) -> bool:
    """Whether the rated rows of every prompt follow each other; memory holds 8 bytes a prompt, no text."""
    seen: set[int] = set()
    last = None
    for group in groups:
        if is_rated(group) and group.prompt and (key := text_hash("\x00".join(graph_key(group)))) != last:
            if key in seen:
                return False
            seen.add(key)
            last = key
    return True


def join_rated(
    groups: Iterable[PreferenceGroup], streams: bool, say: Callable[[str], None]
) -> Iterator[PreferenceGroup]:
    """Yield groups, rated rows of one prompt as one group; others pass as they are.

    Args:
        streams: whether rows of a prompt follow each other, so that one prompt is held at a time; otherwise all are.
        say: is told at the end how many prompts have one answer only.

    Raises:
        DataError: a prompt comes back although its rows were said to follow each other.
    """
    held: dict[tuple[str, str], list[PreferenceGroup]] = {}
    seen: set[int] = set()
    alone: list[str] = []
    for number, group in enumerate(groups):
        if not is_rated(group):
            yield group
            continue
        # An empty prompt means that the prompt is not known apart: such rows are of no group.
        key = graph_key(group) if group.prompt else (NO_PROMPT, str(number))
        if streams and key not in held:
            yield from _joined(held, alone)
            held = {}
            digest = text_hash("\x00".join(key))
            if group.prompt and digest in seen:
                raise DataError(f"{group.where}: its prompt stood further up already; sort the table by prompt")
            seen.add(digest)
        held.setdefault(key, []).append(group)
    yield from _joined(held, alone)
    if alone:
        say(f"{len(alone)} prompts have one rated answer, which compares with nothing: of no use; first: {alone[0]}")


def _joined(held: Mapping[tuple[str, str], Sequence[PreferenceGroup]], alone: list[str]) -> Iterator[PreferenceGroup]:
    for rows in held.values():
        group = _join(rows)
        if len(group) < 2:
            alone.append(group.where)
        yield group


def _join(rows: Sequence[PreferenceGroup]) -> PreferenceGroup:
    """Return the group of the rated rows of one prompt."""
    bare = [replace(row, ratings={}, metadata={k: v for k, v in row.metadata.items() if k != RATED}) for row in rows]
    (group,) = merge_groups(bare)
    places = {text_key(answer): place for place, answer in enumerate(group.completions)}
    by: dict[str | None, dict[int, list[float]]] = {}
    given: dict[int, list[float]] = {}
    for row in rows:
        place, score = places[text_key(row.completions[0])], row.ratings[SCORE][0]
        assert score is not None
        by.setdefault(row.metadata[RATED], {}).setdefault(place, []).append(score)
        given.setdefault(place, []).append(score)
    means = {place: sum(given[place]) / len(given[place]) for place in sorted(given)}
    comparisons = [edge for name, scores in by.items() for edge in _compare(scores, name)]
    if not comparisons:
        comparisons = _compare({place: [mean] for place, mean in means.items()}, None)
    return replace(group, comparisons=tuple(comparisons), ratings={SCORE: tuple(means.values())})


def _compare(scores: Mapping[int, Sequence[float]], annotator: str | None) -> list[Comparison]:
    """Return what the scores of one annotator say; several of one answer count as their mean."""
    rated = sorted(scores)
    edges = scored_comparisons([sum(scores[place]) / len(scores[place]) for place in rated])
    return [replace(edge, better=rated[edge.better], worse=rated[edge.worse], annotator=annotator) for edge in edges]


FORMAT = Format(
    "rated",
    _read_rated,
    tuple({answer, score} for answer in ANSWERS for score in SCORES),
    unless=frozenset({"completions", "chosen", "rejected", "label", "chosen_ids"}),
    takes_prompt=True,
)
