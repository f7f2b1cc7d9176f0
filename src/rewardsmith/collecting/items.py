"""Add prompts with answers to a project as items.

Nothing is dropped uncounted. Judgements that the rows hold come along under their annotators' own names, apart from
the overlap: they are exported and enter agreement, and no seat is taken by them.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.project import MOST_ANSWERS, Project
from rewardsmith.collecting.store import Store, insert, log_event, record_settings
from rewardsmith.collecting.texts import storable
from rewardsmith.data.merging import deduplicate
from rewardsmith.errors import ConfigError
from rewardsmith.records import PreferenceGroup, TokenIds, as_plain, text_key

Kind = Literal["real", "gold", "practice"]
MODELS = re.compile(
    r"\b(ChatGPT|GPT-?[345]\w*|OpenAI|Claude|Anthropic|Gemini|Bard|Llama|Mistral|Mixtral|Qwen|DeepSeek|Grok|Gemma)\b",
    re.IGNORECASE,
)
# Columns that hold what a prompt shows beside its text.
MEDIA = ("image", "images", "video", "videos", "audio", "audios")
BATCH = 500
# Imported judgements take seats of their own, far beyond the personal ones.
IMPORTED = 10_000_000


@dataclass(slots=True)
class ImportReport:
    """What came in and what did not.

    Args:
        dropped: reason to number of groups left out.
        names_model: items with an answer that names a model, which may tell annotators who wrote it.
    """

    items: int = 0
    completions: int = 0
    judgements: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    names_model: int = 0

    def __str__(self) -> str:
        text = f"{self.items} items with {self.completions} answers"
        text += f", {self.judgements} judgements" if self.judgements else ""
        if self.dropped:
            text += "; left out: " + ", ".join(f"{reason}: {n}" for reason, n in self.dropped.most_common())
        if self.names_model:
            text += f"; {self.names_model} items name a model in an answer (marked in the export)"
        return text


def add_items(
    store: Store, project: Project, groups: Iterable[PreferenceGroup], kind: Kind = "real", actor: str = "command line"
) -> ImportReport:
    """Add groups as items; those that are there already are counted, and what people said of them since is added.

    A gold or practice item takes its right answer from the comparisons of its group. Items are added a few hundred at
    a time, so that whoever judges meanwhile waits for these alone; an import that was stopped goes on when it is run
    again.
    """
    report = ImportReport()
    prepared = list(_prepare(project, groups, report))
    with store.transaction() as connection:
        known = set(connection.execute(sa.select(t.item.c.key)).scalars())
    later: list[tuple[str, PreferenceGroup]] = []
    fresh: dict[str, tuple[PreferenceGroup, int]] = {}
    for group, overlap in prepared:
        key = item_key(group)
        if key in known and kind == "real" and group.comparisons:
            later.append((key, group))
        elif key in known or key in fresh:
            report.dropped["already there"] += 1
        elif kind != "real" and expected_answer(project, group) is None:
            report.dropped["no right answer in the comparisons"] += 1
        else:
            fresh[key] = (group, overlap)
    _add_all_later(store, project, later, report)
    _insert_items(store, project, fresh, kind, report)
    with store.transaction() as connection:
        log_event(connection, actor, "import", kind, items=report.items, dropped=dict(report.dropped))
    return report


def _add_all_later(
    store: Store, project: Project, later: Sequence[tuple[str, PreferenceGroup]], report: ImportReport
) -> None:
    for piece in store.pieces(later, BATCH):
        with store.transaction() as connection:
            for key, group in piece:
                new = _add_later(connection, project, key, group)
                report.judgements += new
                if not new:
                    report.dropped["already there"] += 1


def _prepare(
    project: Project, groups: Iterable[PreferenceGroup], report: ImportReport
) -> Iterator[tuple[PreferenceGroup, int]]:
    """Yield the groups that can be asked about, cut to pairs where pairs are asked."""
    pairs_only = any(question.task == "pair" for question in project.all_questions)
    steps_only = all(question.task == "steps" for question in project.all_questions)
    for raw in groups:
        group = deduplicate(raw)
        if any(isinstance(completion, TokenIds) for completion in group.completions):
            report.dropped["token ids, not text"] += 1
        elif has_media(group):
            report.dropped["pictures or sound, which the page does not show"] += 1
        elif len(group) < project.fewest_answers:
            report.dropped["fewer than two different answers"] += 1
        elif steps_only and not steps_of(group):
            report.dropped["no steps, which are what is asked about"] += 1
        elif pairs_only and len(group) > 2:
            for pair in _choose_pairs(project, group):
                yield sub_group(group, pair), project.overlap
        elif len(group) > MOST_ANSWERS:
            report.dropped[f"more than {MOST_ANSWERS} answers"] += 1
        else:
            yield group, int(group.metadata.get("overlap") or project.overlap)


def has_media(group: PreferenceGroup) -> bool:
    """Whether a prompt or an answer has parts that are no text, without which nobody can judge it."""
    if any(group.metadata.get(name) for name in MEDIA):
        return True
    texts = [as_plain(text) for text in (group.prompt, *group.completions)]
    turns = [turn for text in texts if not isinstance(text, str) for turn in text]
    contents = [turn.get("content") for turn in turns if isinstance(turn, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, Mapping) and "text" not in part for part in parts)


def _choose_pairs(project: Project, group: PreferenceGroup) -> list[tuple[int, int]]:
    pairs = list(combinations(range(len(group)), 2))
    if project.pairs is None or project.pairs >= len(pairs):
        return pairs
    return sorted(random.Random(f"{project.seed}/pairs/{item_key(group)}").sample(pairs, project.pairs))


def sub_group(group: PreferenceGroup, numbers: Sequence[int]) -> PreferenceGroup:
    """Return the group of some completions, with what is said of them."""
    place = {number: index for index, number in enumerate(numbers)}
    edges = [c for c in group.comparisons if c.better in place and c.worse in place]
    return replace(
        group,
        completions=tuple(group.completions[number] for number in numbers),
        comparisons=tuple(replace(c, better=place[c.better], worse=place[c.worse]) for c in edges),
        ratings={name: tuple(row[number] for number in numbers) for name, row in group.ratings.items()},
        models=tuple(group.models[number] for number in numbers) if group.models else (),
    )


def item_key(group: PreferenceGroup) -> str:
    """Return a key that is equal for the same prompt with the same answers."""
    digest = hashlib.sha256()
    for text in (group.prompt, *group.completions):
        digest.update(text_key(text).encode("utf-8", "surrogatepass") + b"\x00")
    return digest.hexdigest()[:24]


def hash_to_unit(text: str) -> float:
    """Return a number in [0, 1) that depends on `text` alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2**56


def _insert_items(
    store: Store, project: Project, fresh: Mapping[str, tuple[PreferenceGroup, int]], kind: Kind, report: ImportReport
) -> None:
    for batch in store.pieces(list(fresh.items()), BATCH):
        # What takes time is done before the database is held.
        rows = [_item_row(project, key, entry, kind, report) for key, entry in batch]
        votes = [votes_of(group) if kind == "real" else {} for _, (group, _) in batch]
        with store.transaction() as connection:
            report.completions += _insert_batch(connection, rows, batch)
            if any(votes):
                keys = sa.select(t.item.c.key, t.item.c.id).where(t.item.c.key.in_([key for key, _ in batch]))
                numbers = {row.key: row.id for row in connection.execute(keys)}
                for (key, _), said in zip(batch, votes, strict=True):
                    report.judgements += _add_judgements(connection, project, numbers[key], said)
        report.items += len(batch)


def _insert_batch(
    connection: Connection, rows: Sequence[dict[str, Any]], batch: Sequence[tuple[str, tuple[PreferenceGroup, int]]]
) -> int:
    """Insert items with their answers and seats; returns how many answers."""
    added = sa.insert(t.item).returning(t.item.c.id, sort_by_parameter_order=True)
    ids = connection.execute(added, rows).scalars().all()
    texts, slots = [], []
    for item_id, row, (_, (group, _)) in zip(ids, rows, batch, strict=True):
        models = group.models or (None,) * len(group)
        for number, (text, model) in enumerate(zip(group.completions, models, strict=True)):
            named = None if model is None else storable(model)
            texts.append({"item_id": item_id, "number": number, "text": as_plain(text), "model": named})
        state = {"again": False, "state": "open", "place": 0.0, "rank": row["rank"]}
        slots += [{"item_id": item_id, "n": n, **state} for n in range(row["overlap"])]
    connection.execute(sa.insert(t.completion), texts)
    if slots:
        connection.execute(sa.insert(t.slot), slots)
    return len(texts)


def _item_row(
    project: Project, key: str, entry: tuple[PreferenceGroup, int], kind: Kind, report: ImportReport
) -> dict[str, Any]:
    group, overlap = entry
    named = any(MODELS.search(str(as_plain(completion))) for completion in group.completions)
    report.names_model += named
    return {
        "key": key,
        "kind": kind,
        "prompt": as_plain(group.prompt),
        "info": _info(group, named),
        "expected": expected_answer(project, group) if kind != "real" else None,
        "overlap": overlap if kind == "real" else 0,
        "rank": hash_to_unit(f"{project.seed}/{key}"),
        "priority": 0.0,
        "order_name": "random",
        "is_closed": False,
        "created": time.time(),
    }


def _info(group: PreferenceGroup, named: bool) -> dict[str, Any]:
    """Return what the export gives back of a group besides its texts."""
    info: dict[str, Any] = {
        "source": group.source,
        "group_id": group.group_id,
        "tools": list(group.tools) if group.tools else None,
        "chat_template_kwargs": dict(group.chat_template_kwargs) if group.chat_template_kwargs else None,
        "ratings": {name: list(row) for name, row in group.ratings.items()},
        "metadata": dict(group.metadata),
        "steps": steps_of(group),
        "names_model": named or None,
    }
    return {name: value for name, value in info.items() if value}


def steps_of(group: PreferenceGroup) -> list[list[str]]:
    """Return the steps of every completion, as the readers of step data give them; none where there are none."""
    steps = group.metadata.get("steps")
    if not isinstance(steps, list | tuple) or not steps:
        return []
    listed = [list(steps)] if all(isinstance(step, str) for step in steps) else [list(part or []) for part in steps]
    return listed if len(listed) == len(group) else []


def expected_answer(project: Project, group: PreferenceGroup) -> dict[str, Any] | None:
    """Return the answer to the main question that a group's comparisons imply; None when they imply none."""
    question, size = project.main_question, len(group)
    losses = [0.0] * size
    for edge in group.comparisons:
        losses[edge.worse] += 0.5 if edge.is_tie else 1.0
        losses[edge.better] += 0.5 if edge.is_tie else 0.0
    if not group.comparisons or question.task not in ("pair", "ranking", "best"):
        return None
    order = [[n for n in range(size) if losses[n] == level] for level in sorted(set(losses))]
    if question.task == "best":
        return {question.name: {"best": order[0][0]}} if len(order[0]) == 1 else None
    return {question.name: {"order": order}}


def votes_of(group: PreferenceGroup) -> dict[str, list[dict[str, Any]]]:
    """Return the comparisons that a group brought, by who made them."""
    by_person: dict[str, list[dict[str, Any]]] = {}
    for edge in group.comparisons:
        fields: dict[str, Any] = {
            "better": edge.better,
            "worse": edge.worse,
            "outcome": edge.outcome,
            "margin": edge.margin,
        }
        fields |= {"weight": edge.weight, "probability": edge.probability, "rationale": edge.rationale}
        fields |= {"time": edge.time, "tie_share": edge.tie_share}
        by_person.setdefault(edge.annotator or "", []).append({k: v for k, v in fields.items() if v is not None})
    return by_person


def _add_later(connection: Connection, project: Project, key: str, group: PreferenceGroup) -> int:
    """Add what people said of an item after it was imported; returns how many judgements are new.

    Whoever judged here, or was imported with this item before, has said it already.
    """
    votes = votes_of(group)
    item_id = connection.execute(sa.select(t.item.c.id).where(t.item.c.key == key)).scalar_one()
    judged = sa.select(t.person.c.name, t.person.c.alias).join(t.slot, t.slot.c.person_id == t.person.c.id)
    known = {name for row in connection.execute(judged.where(t.slot.c.item_id == item_id)) for name in row}
    own = sa.select(t.person.c.alias).where(t.person.c.alias.in_(list(votes)))
    known |= set(connection.execute(own).scalars())
    new = {name: edges for name, edges in votes.items() if name not in known and _full_name(name) not in known}
    return _add_judgements(connection, project, item_id, new)


def _add_judgements(
    connection: Connection, project: Project, item_id: int, by_person: Mapping[str, list[dict[str, Any]]]
) -> int:
    """Add judgements that were made elsewhere, one a person."""
    if not by_person:
        return 0
    settings_id = record_settings(connection, project)
    taken = sa.select(sa.func.max(t.slot.c.n)).where(t.slot.c.item_id == item_id, t.slot.c.n >= IMPORTED)
    last = connection.execute(taken).scalar()
    first = 0 if last is None else last + 1 - IMPORTED
    for index, (name, edges) in enumerate(by_person.items(), first):
        person_id = imported_person(connection, name)
        values = {"item_id": item_id, "n": IMPORTED + index, "again": False, "person_id": person_id, "state": "done"}
        slot_id = insert(connection, t.slot, **values, place=0.0, rank=0.0)
        insert(
            connection,
            t.judgement,
            slot_id=slot_id,
            revision=1,
            item_id=item_id,
            person_id=person_id,
            kind="imported",
            key=f"imported-{item_id}-{index}",
            answer={"comparisons": edges},
            shown=[],
            settings_id=settings_id,
            order_name="imported",
            created=time.time(),
        )
    return len(by_person)


def _full_name(name: str) -> str:
    return storable(f"imported:{name or 'unknown'}"[:200])


def imported_person(connection: Connection, name: str) -> int:
    """Return the id of somebody who judged elsewhere; they keep their name as alias and can never log in."""
    full = _full_name(name)
    found = connection.execute(sa.select(t.person.c.id).where(t.person.c.name == full)).scalar()
    if found is not None:
        return int(found)
    digest = hashlib.sha256(full.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    alias = f"imported-{digest}"
    values = {"name": full, "role": "imported", "alias": alias, "status": "revoked", "created": time.time()}
    return insert(connection, t.person, **values)


def check_kind(kind: str) -> Kind:
    """Return a kind of items that can be imported. Raises ConfigError."""
    if kind not in ("real", "gold", "practice"):
        raise ConfigError(f"items are real, gold or practice, not {kind!r}")
    return kind  # type: ignore[return-value]
