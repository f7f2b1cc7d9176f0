"""Judgements as preference groups: one vote an edge, or one soft label a pair.

A group's `metadata["judgements"]` holds every judgement in full, under a pseudonym; ratings, criteria, flags and
acceptability stand in `ratings`, as the mean over annotators for every completion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import sqlalchemy as sa

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.answers import judgement_comparisons, renumbered
from rewardsmith.collecting.project import COMPARING, Project
from rewardsmith.collecting.saving import current_judgements
from rewardsmith.collecting.store import Store
from rewardsmith.data.formats.trainers import ratings_until
from rewardsmith.data.merging import merge_groups
from rewardsmith.errors import ConfigError
from rewardsmith.records import Comparison, PreferenceGroup, as_text, graph_key, text_key

# Items that are read in one transaction: about 50 ms.
PIECE = 1_000
UNMARKED = ("source", "group_id", "tools", "chat_template_kwargs")


@dataclass(frozen=True, slots=True)
class Judged:
    """One judgement that counts, with who gave it."""

    alias: str
    role: str
    kind: str
    again: bool
    answer: Mapping[str, Any]
    shown: Sequence[int]
    elapsed_ms: int | None
    active_ms: int | None
    order_name: str
    order_value: float | None
    created: float
    person_id: int

    @property
    def time(self) -> str:
        """When it was given, ISO 8601, UTC."""
        return _iso(self.created)


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """An item with its completions and every judgement that counts."""

    item_id: int
    key: str
    kind: str
    prompt: Any
    completions: tuple[Any, ...]
    models: tuple[str | None, ...]
    info: Mapping[str, Any]
    expected: Mapping[str, Any] | None
    is_closed: bool
    overlap: int
    judgements: tuple[Judged, ...]

    def votes(self) -> list[Judged]:
        """Return the judgements that count as votes: a repeat is a second word of one person."""
        return [judged for judged in self.judgements if not judged.again]


def load_items(
    store: Store,
    kinds: Sequence[str] = ("real", "gold", "live"),
    *,
    judged_only: bool = False,
    numbers: Collection[int] | None = None,
) -> list[JudgedItem]:
    """Read items with the judgements that were there when reading began.

    They are read a piece at a time: an annotator who saves meanwhile waits for one piece, not for all of them.

    Args:
        judged_only: leave out what nobody has judged.
        numbers: of the items that are read; all when None.
    """
    judged, item = t.judgement.c, t.item.c
    query = sa.select(item.id).where(item.kind.in_(kinds)).order_by(item.id)
    if judged_only:
        query = query.where(item.id.in_(sa.select(judged.item_id)))
    wanted = None if numbers is None else {number for number in numbers if 0 < number < 2**31}
    if wanted is not None and len(wanted) <= PIECE:
        query = query.where(item.id.in_(wanted))
    with store.transaction() as connection:
        last = connection.execute(sa.select(sa.func.max(judged.id))).scalar() or 0
        found = [n for n in connection.execute(query).scalars() if wanted is None or n in wanted]
    return [one for piece in store.pieces(found, PIECE) for one in _load_piece(store, piece, last)]


def _load_piece(store: Store, numbers: Sequence[int], last: int) -> list[JudgedItem]:
    """Read some items with their judgements up to one."""
    among = (t.judgement.c.item_id.in_(numbers), t.judgement.c.id <= last)
    judged = current_judgements(*among).subquery()
    joined = judged.join(t.person, t.person.c.id == judged.c.person_id).join(t.slot, t.slot.c.id == judged.c.slot_id)
    query = sa.select(judged, t.person.c.alias, t.person.c.role, t.slot.c.again).select_from(joined)
    order, mine = (t.completion.c.item_id, t.completion.c.number), t.completion.c.item_id.in_(numbers)
    with store.transaction() as connection:
        items = connection.execute(sa.select(t.item).where(t.item.c.id.in_(numbers)).order_by(t.item.c.id)).all()
        texts = connection.execute(sa.select(t.completion).where(mine).order_by(*order)).all()
        rows = connection.execute(query.order_by(judged.c.id)).mappings().all()
    completions: dict[int, list[Any]] = {}
    for text in texts:
        completions.setdefault(text.item_id, []).append(text)
    by_item: dict[int, list[Judged]] = {}
    names = list(Judged.__slots__)
    for row in rows:
        by_item.setdefault(row["item_id"], []).append(Judged(**{name: row[name] for name in names}))
    return [
        JudgedItem(
            item.id,
            item.key,
            item.kind,
            item.prompt,
            tuple(text.text for text in completions.get(item.id, [])),
            tuple(text.model for text in completions.get(item.id, [])),
            item.info,
            item.expected,
            item.is_closed,
            item.overlap,
            tuple(by_item.get(item.id, [])),
        )
        for item in items
    ]


def load_skips(store: Store, item_id: int) -> list[dict[str, str]]:
    """Return who skipped an item, when and why; what was taken back or answered later is none."""
    judged, later = t.judgement.c, t.judgement.alias().c
    newer = sa.exists().where(
        later.item_id == judged.item_id, later.person_id == judged.person_id, later.revision > judged.revision
    )
    query = sa.select(judged.answer, judged.created, t.person.c.alias).join(t.person, t.person.c.id == judged.person_id)
    query = query.where(judged.item_id == item_id, judged.kind == "skip", ~newer).order_by(judged.id)
    with store.transaction() as connection:
        rows = connection.execute(query).all()
    return [
        {
            "alias": row.alias,
            "time": _iso(row.created),
            "reason": str(row.answer.get("reason", "")),
            "comment": str(row.answer.get("comment", "")),
        }
        for row in rows
    ]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def export_groups(
    store: Store, project: Project, *, question: str | None = None, soft: bool = False, gold: bool = False
) -> list[PreferenceGroup]:
    """Return the judged items as preference groups, one a prompt.

    Args:
        question: whose comparisons become edges; the main one when None. Every question is in the metadata. A rating
            compares by its first scale, within one annotator.
        soft: one edge a pair with the share of votes as `probability`, in place of one edge a vote.
        gold: whether gold items are exported, too.

    Raises:
        ConfigError: no such question, or one that compares nothing.
    """
    name = question or project.main_question.name
    asked = next((q for q in project.all_questions if q.name == name), None)
    ordering = (*COMPARING, "rating")
    if asked is None or (question is not None and asked.task not in ordering):
        comparing = [q.name for q in project.all_questions if q.task in ordering]
        raise ConfigError(f"{name!r} is no question that compares; there are: {', '.join(comparing) or 'none'}")
    items = load_items(store, ("real", "live", "gold") if gold else ("real", "live"), judged_only=True)
    own = [group_of_item(project, item, name, soft) for item in items if item.judgements]
    places: dict[Any, list[PreferenceGroup]] = {}
    for group in own:
        places.setdefault(graph_key(group) if group.prompt else id(group), []).append(group)
    return [group for of_prompt in places.values() for group in _join(of_prompt)]


def _join(groups: Sequence[PreferenceGroup]) -> list[PreferenceGroup]:
    """Merge the items of one prompt; what is said of each item then names answers by their numbers in the whole."""
    if len(groups) == 1:
        return merge_groups(groups)
    said = [group.metadata["judgements"] for group in groups]
    bare = [replace(group, metadata={k: v for k, v in group.metadata.items() if k != "judgements"}) for group in groups]
    merged = merge_groups(bare)
    (whole,) = merged
    place = {text_key(text): number for number, text in enumerate(whole.completions)}
    judgements = [
        renumbered(one, [place[text_key(text)] for text in group.completions], len(whole))
        for group, rows in zip(groups, said, strict=True)
        for one in rows
    ]
    return [replace(whole, metadata={**whole.metadata, "judgements": judgements})]


def group_of_item(project: Project, item: JudgedItem, question: str, soft: bool = False) -> PreferenceGroup:
    """Return one item with its judgements as a group."""
    edges = vote_edges(item, question)
    info = dict(item.info)
    metadata = {**info.get("metadata", {}), "judgements": [_plain(judged) for judged in item.judgements]}
    if item.kind == "gold":
        metadata["gold"] = True
    if info.get("names_model"):
        metadata["names_model"] = True
    ratings = {name: tuple(row) for name, row in info.get("ratings", {}).items()} | mean_ratings(item)
    metadata |= _steps(project, item, ratings)
    return PreferenceGroup(
        as_text(item.prompt) if item.prompt else "",
        tuple(as_text(text) for text in item.completions),
        tuple(soft_edges(edges, len(item.completions)) if soft else edges),
        ratings=ratings,
        models=item.models if any(item.models) else (),
        metadata=metadata,
        **{name: info[name] for name in UNMARKED if name in info},
    )


def vote_edges(item: JudgedItem, question: str) -> list[Comparison]:
    """Return one edge a vote and pair, with annotator, time and rationale."""
    edges = []
    for judged in item.votes():
        rationale = judged.answer.get("rationale")
        for edge in judgement_comparisons(judged.answer, len(item.completions), question):
            fields = {name: getattr(edge, name) for name in ("better", "worse", "outcome", "margin", "weight")}
            fields |= {"probability": edge.probability, "tie_share": edge.tie_share}
            said = edge.rationale or rationale
            edges.append(Comparison(**fields, annotator=judged.alias, time=edge.time or judged.time, rationale=said))
    return edges


def soft_edges(edges: Sequence[Comparison], size: int) -> list[Comparison]:
    """Join the votes of every pair to one edge; a tie is half a vote for either side, the weight counts votes."""
    joined = []
    for first, second in combinations(range(size), 2):
        votes = [edge for edge in edges if {edge.better, edge.worse} == {first, second}]
        if not votes:
            continue
        weight = sum(edge.weight for edge in votes)
        share = sum(edge.weight * _share(edge, first) for edge in votes) / weight if weight else 0.5
        better, worse, share = (first, second, share) if share >= 0.5 else (second, first, 1 - share)
        margins = [edge.margin if edge.better == better else -edge.margin for edge in votes if edge.margin is not None]
        margin = sum(margins) / len(votes) if margins else None
        ties = sum(edge.weight * edge.tie_votes for edge in votes) / weight if weight else 1.0
        if share == 0.5:
            joined.append(Comparison(better, worse, "tie", weight=weight, tie_share=ties if ties < 1 else None))
        else:
            edge = Comparison(better, worse, margin=margin, weight=weight, probability=share)
            joined.append(replace(edge, tie_share=ties or None))
    return joined


def _share(edge: Comparison, first: int) -> float:
    """Return how much of a vote goes to `first`."""
    if edge.is_tie:
        return 0.5
    likely = 1.0 if edge.probability is None else edge.probability
    return likely if edge.better == first else 1 - likely


def mean_ratings(item: JudgedItem) -> dict[str, tuple[float | None, ...]]:
    """Return the mean over annotators of scales and criteria, and the share that found each answer acceptable."""
    size = len(item.completions)
    columns: dict[str, list[list[float]]] = {}
    for judged in item.votes():
        for answer in (judged.answer.get("answers") or {}).values():
            tables = {**(answer.get("ratings") or {}), **(answer.get("criteria") or {})}
            if "both_bad" in answer or "best" in answer:
                bad = bool(answer.get("both_bad")) or ("best" in answer and answer["best"] is None)
                tables["acceptable"] = [0.0] * size if bad else [None] * size
            elif len(answer.get("order") or []) > 1:
                tables["acceptable"] = [None] * size
            for name, row in tables.items():
                column = columns.setdefault(name, [[] for _ in range(size)])
                for number, value in enumerate(row):
                    if value is not None:
                        column[number].append(float(value))
    return {
        name: tuple(sum(cell) / len(cell) if cell else None for cell in column)
        for name, column in columns.items()
        if any(column)
    }


def _steps(project: Project, item: JudgedItem, ratings: dict[str, tuple[float | None, ...]]) -> dict[str, Any]:
    """Return the majority's first wrong step in the form that step objectives read."""
    name = next((question.name for question in project.all_questions if question.task == "steps"), None)
    steps = item.info.get("steps") or []
    if name is None or len(steps) != 1:
        return {}
    answers = [(judged.answer.get("answers") or {}).get(name) for judged in item.votes()]
    places = [answer["first_wrong"][0] for answer in answers if answer and answer["first_wrong"][0] is not None]
    if not places:
        return {}
    first = Counter(places).most_common(1)[0][0]
    marks = ratings_until(first, len(steps[0]), item.key)
    ratings["worst_step"] = (float(min(mark for mark in marks if mark is not None)),)
    return {"steps": steps[0], "step_ratings": marks, "first_error": first}


def _plain(judged: Judged) -> dict[str, Any]:
    """Return a judgement as the export holds it."""
    values: dict[str, Any] = {
        "annotator": judged.alias,
        "time": judged.time,
        "shown": list(judged.shown),
        "order": judged.order_name,
        "order_value": judged.order_value,
        "seconds": None if judged.elapsed_ms is None else judged.elapsed_ms / 1000,
        "active_seconds": None if judged.active_ms is None else judged.active_ms / 1000,
        "again": judged.again or None,
        **judged.answer,
    }
    return {name: value for name, value in values.items() if value is not None}
