"""Who judges what next: leases, overlap, hidden repeats, gold, undo; every change is one transaction.

A claim gives back the lease that a person holds, so a reload, a second tab or a crash changes nothing. What comes
next: practice, then gold and repeats when they are due, then the open slot of the highest priority.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.project import Project
from rewardsmith.collecting.store import Store, insert, log_event
from rewardsmith.errors import DataError

# Slots that belong to one person stand beyond any overlap.
PERSONAL, AGAIN = 1_000_000, 2_000_000
# A repeat comes after at least so many other items, or at the end.
REPEAT_DISTANCE = 10
# Counting stops here: the page then says "more than".
MOST_COUNTED = 100
# A lease that began so far in the future was made before the clock was set back.
MOST_SKEW_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Assignment:
    """One item in front of one person.

    Args:
        token: must come back with the answer.
        shown: number of the completion at each place.
        draft: what was typed so far, with active time in milliseconds.
        practice: whether it is a practice item, which gets feedback.
    """

    slot_id: int
    item_id: int
    token: str
    shown: tuple[int, ...]
    shown_at: float
    prompt: Any
    completions: tuple[Any, ...]
    info: Mapping[str, Any]
    practice: bool
    draft: Mapping[str, Any]
    active_ms: int


def shown_order(project: Project, key: str, alias: str, size: int) -> list[int]:
    """Return the order in which one person sees the answers of one item; it depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{project.seed}/{key}/{alias}".encode()).digest()
    order = list(range(size))
    random.Random(digest).shuffle(order)
    return order


def claim(store: Store, project: Project, person_id: int, now: float | None = None) -> Assignment | None:
    """Lease a person the next item, or return the one that is leased to them; None when nothing is left for them."""
    moment = time.time() if now is None else now
    for _ in range(5):
        try:
            with store.transaction() as connection:
                lock_person(connection, person_id)
                slot = lease_next(connection, project, person_id, moment)
                return None if slot is None else _assignment(connection, slot, person_id)
        except IntegrityError:
            # Another process took the seat, or another tab of this person took one of the item.
            continue
    return None


def lock_person(connection: Connection, person_id: int) -> RowMapping:
    """Return the person's row, held until the transaction ends, so that two tabs come one after the other.

    Every transaction locks the person before any slot, so that two of them never wait for one another.
    """
    found = connection.execute(sa.select(t.person).where(t.person.c.id == person_id).with_for_update(key_share=True))
    row = found.mappings().first()
    if row is None or row["status"] != "active":
        raise DataError("this account is paused or closed; ask the owner of the project")
    return row


def held_slot(connection: Connection, person_id: int, now: float) -> int | None:
    """Return the slot that is leased to a person and not expired."""
    slot = t.slot.c
    query = sa.select(slot.id).where(slot.person_id == person_id, slot.state == "leased", slot.lease_until >= now)
    return connection.execute(query.order_by(slot.id).limit(1)).scalar()


def _next(connection: Connection, project: Project, person_id: int, now: float) -> int | None:
    """Choose the next slot of a person and return its id."""
    release_expired(connection, now)
    personal = _personal_item(connection, "practice", person_id)
    if personal is not None:
        return _make_slot(connection, personal, PERSONAL + person_id, person_id)
    done, repeats, golds = _counts(connection, person_id)
    if project.quota is not None and done + repeats + golds >= project.quota:
        return None
    if golds < int((done + 1) * project.gold.share):
        personal = _personal_item(connection, "gold", person_id)
        if personal is not None:
            return _make_slot(connection, personal, PERSONAL + person_id, person_id)
    if done > REPEAT_DISTANCE and repeats < int(done * project.repeats):
        repeat = _repeat_item(connection, person_id)
        if repeat is not None:
            return _make_slot(connection, repeat, AGAIN + person_id, person_id, again=True)
    query = open_slots(same_human(connection, person_id)).limit(1).with_for_update(skip_locked=True)
    slot_id = connection.execute(query).scalar()
    if slot_id is None and done > REPEAT_DISTANCE and repeats < round(done * project.repeats):
        repeat = _repeat_item(connection, person_id)
        return None if repeat is None else _make_slot(connection, repeat, AGAIN + person_id, person_id, again=True)
    return slot_id


def same_human(connection: Connection, person_id: int) -> list[int]:
    """Return a person's id, and those under which the same participant came by other panels."""
    mine, other = t.panelist.c, t.panelist.alias().c
    query = sa.select(other.person_id).where(other.participant == mine.participant, mine.person_id == person_id)
    return [person_id, *connection.execute(query.where(other.person_id != person_id)).scalars()]


def open_slots(people: Sequence[int]) -> Any:
    """Return the query of the open slots that one human, under these ids, may have, the next first."""
    slot, other, judged = t.slot.c, t.slot.alias().c, t.judgement.c
    mine = sa.exists().where(other.item_id == slot.item_id, other.person_id.in_(people))
    seen = sa.exists().where(judged.item_id == slot.item_id, judged.person_id.in_(people))
    query = sa.select(slot.id).where(slot.state == "open", ~mine, ~seen)
    return query.order_by(slot.place, slot.rank, slot.n)


def release_expired(connection: Connection, now: float) -> None:
    """Open the slots whose lease has run out; a person's own extra slots stay theirs.

    The token stays, so that a late answer is still taken while nobody else has the seat. Slots that another
    transaction holds are left to it: its late answer may just be coming in.
    """
    slot = t.slot.c
    over = sa.or_(slot.lease_until < now, slot.shown_at > now + MOST_SKEW_SECONDS)
    expired = sa.select(slot.id).where(slot.state == "leased", over, slot.n < PERSONAL)
    free = slot.id.in_(expired.with_for_update(skip_locked=True))
    connection.execute(sa.update(t.slot).where(free).values(state="open", person_id=None))


def _counts(connection: Connection, person_id: int) -> tuple[int, int, int]:
    """Return how many items, repeats and gold items a person has done."""
    slot = t.slot.c
    query = sa.select(
        sa.func.sum(sa.case((slot.n < PERSONAL, 1), else_=0)),
        sa.func.sum(sa.case((slot.again, 1), else_=0)),
        sa.func.sum(sa.case((t.item.c.kind == "gold", 1), else_=0)),
    ).select_from(t.slot.join(t.item))
    row = connection.execute(query.where(slot.person_id == person_id, slot.state == "done")).one()
    return int(row[0] or 0), int(row[1] or 0), int(row[2] or 0)


def _personal_item(connection: Connection, kind: str, person_id: int) -> int | None:
    """Return the next practice or gold item that a person has not had; an expired lease counts as not had."""
    item, slot = t.item.c, t.slot.c
    had = sa.exists().where(slot.item_id == item.id, slot.person_id == person_id, slot.state != "leased")
    query = sa.select(item.id).where(item.kind == kind, item.is_closed.is_(False), ~had)
    return connection.execute(query.order_by(item.rank).limit(1)).scalar()


def _repeat_item(connection: Connection, person_id: int) -> int | None:
    """Return the item that a person judged longest ago and has not had twice."""
    slot, other = t.slot.c, t.slot.alias().c
    twice = sa.exists().where(
        other.item_id == slot.item_id, other.person_id == person_id, other.again, other.state == "done"
    )
    query = sa.select(slot.item_id).where(slot.person_id == person_id, slot.state == "done", slot.n < PERSONAL, ~twice)
    return connection.execute(query.order_by(slot.shown_at).limit(1)).scalar()


def _make_slot(connection: Connection, item_id: int, n: int, person_id: int, again: bool = False) -> int:
    """Make a slot that belongs to one person, or find it."""
    slot = t.slot.c
    found = connection.execute(sa.select(slot.id).where(slot.item_id == item_id, slot.n == n)).scalar()
    if found is not None:
        return int(found)
    values = {"item_id": item_id, "n": n, "again": again, "person_id": person_id, "state": "open"}
    return insert(connection, t.slot, **values, place=0.0, rank=0.0)


def lease_next(connection: Connection, project: Project, person_id: int, now: float) -> dict[str, Any] | None:
    """Lease a person's next slot, or return the one they hold; a lease of which half is left is not written anew."""
    slot_id = held_slot(connection, person_id, now) or _next(connection, project, person_id, now)
    if slot_id is None:
        return None
    query = sa.select(t.slot, t.item.c.key).join(t.item).where(t.slot.c.id == slot_id)
    row = connection.execute(query).mappings().one()
    lease = 60 * project.lease_minutes
    values: dict[str, Any] = {"lease_until": now + lease}
    if row["state"] == "leased" and row["person_id"] == person_id and row["lease_until"] > now + lease / 2:
        return dict(row)
    if row["state"] == "leased" and row["lease_until"] < now:
        # One of their own extra slots, left open for longer than its lease: the time on it begins anew.
        values["shown_at"] = now
    if row["state"] != "leased" or row["person_id"] != person_id:
        alias = connection.execute(sa.select(t.person.c.alias).where(t.person.c.id == person_id)).scalar_one()
        size = sa.select(sa.func.count()).where(t.completion.c.item_id == row["item_id"])
        order = shown_order(project, row["key"], alias, connection.execute(size).scalar_one())
        # A repeat in the same order would measure memory of the place as well.
        values["shown"] = order[::-1] if row["again"] else order
        values |= {"shown_at": now, "state": "leased", "person_id": person_id, "token": secrets.token_urlsafe(16)}
    connection.execute(sa.update(t.slot).where(t.slot.c.id == slot_id).values(**values))
    return {**row, **values}


def _assignment(connection: Connection, slot: Mapping[str, Any], person_id: int) -> Assignment:
    """Return a slot with its item's texts and the person's draft."""
    item = connection.execute(sa.select(t.item).where(t.item.c.id == slot["item_id"])).one()
    texts = sa.select(t.completion.c.text).where(t.completion.c.item_id == item.id).order_by(t.completion.c.number)
    own = (t.draft.c.slot_id == slot["id"], t.draft.c.person_id == person_id)
    draft = connection.execute(sa.select(t.draft).where(*own)).first()
    return Assignment(
        slot["id"],
        item.id,
        slot["token"],
        tuple(slot["shown"]),
        slot["shown_at"],
        item.prompt,
        tuple(connection.execute(texts).scalars()),
        item.info,
        item.kind == "practice",
        draft.answer if draft else {},
        draft.active_ms if draft else 0,
    )


def find_assignment(store: Store, person_id: int, slot_id: int, token: str) -> Assignment | None:
    """Return what a page was drawn from, by its slot and token, also when its lease has run out meanwhile."""
    slot = t.slot.c
    mine = sa.or_(slot.person_id == person_id, slot.person_id.is_(None))
    query = sa.select(t.slot).where(slot.id == slot_id, slot.token == token, mine)
    with store.transaction() as connection:
        row = connection.execute(query).mappings().first() if 0 < slot_id < 2**31 else None
        return None if row is None else _assignment(connection, dict(row), person_id)


def progress(store: Store, project: Project, person_id: int) -> tuple[int, int]:
    """Return how many items a person has done and how many are left for them."""
    with store.transaction() as connection:
        done, repeats, golds = _counts(connection, person_id)
        open_items = (
            open_slots(same_human(connection, person_id)).order_by(None).with_only_columns(t.slot.c.item_id).distinct()
        )
        counted = sa.select(sa.func.count()).select_from(open_items.limit(MOST_COUNTED).subquery())
        left = int(connection.execute(counted).scalar_one())
        left += held_slot(connection, person_id, time.time()) is not None
    if project.quota is not None:
        left = min(left, max(0, project.quota - done - repeats - golds))
    return done + repeats + golds, left


def reopen(store: Store, actor: str, item_id: int, more: int) -> None:
    """Ask `more` people about an item: a second round for items that divide. Seats that were closed come first."""
    with store.transaction() as connection:
        item = connection.execute(sa.select(t.item).where(t.item.c.id == item_id).with_for_update()).mappings().one()
        slot = t.slot.c
        closed = sa.select(slot.id).where(slot.item_id == item_id, slot.state == "closed").order_by(slot.n).limit(more)
        seats = connection.execute(closed).scalars().all()
        connection.execute(sa.update(t.slot).where(slot.id.in_(seats)).values(state="open"))
        overlap = item["overlap"] + more - len(seats)
        for n in range(item["overlap"], overlap):
            values = {"item_id": item_id, "n": n, "again": False, "state": "open"}
            insert(connection, t.slot, **values, place=-item["priority"], rank=item["rank"])
        values = {"overlap": overlap, "is_closed": False}
        connection.execute(sa.update(t.item).where(t.item.c.id == item_id).values(**values))
        log_event(connection, actor, "adjudicate", item["key"], more=more)
