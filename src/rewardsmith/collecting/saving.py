"""What comes back from an annotator: answers, skips, drafts, undo. A judgement is only ever added.

When `submit` returns, the judgement is on disk. The page chooses a key for it, so that sending it again, after a lost
connection or a killed server, stores nothing twice.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row, RowMapping
from sqlalchemy.exc import IntegrityError

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.answers import signature
from rewardsmith.collecting.assigning import PERSONAL, held_slot, lease_next, lock_person
from rewardsmith.collecting.project import Project
from rewardsmith.collecting.store import Store, insert
from rewardsmith.errors import DataError

COUNTING = ("answer", "imported")
# What an integer of PostgreSQL holds: nobody sits over an item for 24 days.
MOST_MS = 2**31 - 1


class LeaseLost(DataError):
    """The slot is no longer this person's; what was written can be sent again while a seat is free."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was stored: the judgement's id, its revision and the answer as the database holds it."""

    judgement_id: int
    slot_id: int
    revision: int
    kind: str
    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Submission:
    """What an annotator sends: an answer in canonical form, or a reason to skip.

    Args:
        key: chosen by the page; the same key twice stores once.
        token: of the assignment.
    """

    slot_id: int
    token: str
    key: str
    kind: str
    answer: Mapping[str, Any]
    active_ms: int | None = None


def submit(store: Store, settings_id: int, project: Project, person_id: int, sent: Submission) -> Receipt:
    """Store an answer or a skip. When it returns, the judgement is on disk.

    The same key twice returns the first receipt. A lease that ran out is taken up again while the seat is free.

    Raises:
        LeaseLost: the slot was given to somebody else, or was answered under another key.
    """
    try:
        with store.transaction() as connection:
            lock_person(connection, person_id)
            receipt = _submit(connection, settings_id, project, person_id, sent)
            # The next item is leased in the same write, since every write waits for the disk; another person may
            # take its seat first, which must not undo what was saved.
            with contextlib.suppress(IntegrityError), connection.begin_nested():
                lease_next(connection, project, person_id, time.time())
            return receipt
    except IntegrityError as error:
        with store.transaction() as connection:
            before = _receipt_of(connection, person_id, sent.key)
        if before is None:
            raise LeaseLost("somebody else has taken this item up") from error
        return before


def _submit(connection: Connection, settings_id: int, project: Project, person_id: int, sent: Submission) -> Receipt:
    before = _receipt_of(connection, person_id, sent.key)
    if before is not None:
        return before
    now = time.time()
    slot = _own_slot(connection, person_id, sent, now)
    receipt = add_judgement(connection, settings_id, dict(slot), person_id, sent)
    personal = slot["n"] >= PERSONAL
    if sent.kind == "skip" and not personal:
        values: dict[str, Any] = {"state": "open", "person_id": None, "token": None, "lease_until": None}
    else:
        values = {"state": "done", "token": None, "lease_until": None}
    connection.execute(sa.update(t.slot).where(t.slot.c.id == slot["id"]).values(**values))
    connection.execute(sa.delete(t.draft).where(t.draft.c.slot_id == slot["id"]))
    if sent.kind == "answer" and not personal:
        close_when_agreed(connection, project, slot["item_id"])
    return receipt


def _own_slot(connection: Connection, person_id: int, sent: Submission, now: float) -> RowMapping:
    """Return the slot that a submission is for, leased to the person. Raises LeaseLost."""
    slot = t.slot.c
    query = sa.select(t.slot).where(slot.id == sent.slot_id).with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise LeaseLost("there is no such item for you")
    if row["state"] == "leased" and row["person_id"] == person_id and row["token"] == sent.token:
        return row
    if row["state"] == "open" and row["token"] == sent.token and sent.token:
        # The lease ran out and nobody came. UNIQUE(item, person) refuses the seat if the person took another.
        values = {"state": "leased", "person_id": person_id, "lease_until": now + 60}
        connection.execute(sa.update(t.slot).where(slot.id == row["id"]).values(**values))
        return row
    if row["state"] == "done" and row["person_id"] == person_id:
        raise LeaseLost("you have answered this item already, perhaps in another tab")
    raise LeaseLost("the time for this item ran out and it was given to somebody else, or you left it in another tab")


def add_judgement(
    connection: Connection, settings_id: int, slot: Mapping[str, Any], person_id: int, sent: Submission
) -> Receipt:
    """Add a judgement to a slot as its next revision."""
    judged, now = t.judgement.c, time.time()
    last = connection.execute(sa.select(sa.func.max(judged.revision)).where(judged.slot_id == slot["id"])).scalar()
    revision = 1 if last is None else int(last) + 1
    order = connection.execute(
        sa.select(t.item.c.order_name, t.item.c.priority).where(t.item.c.id == slot["item_id"])
    ).one()
    shown_at = slot.get("shown_at")
    number = insert(
        connection,
        t.judgement,
        slot_id=slot["id"],
        revision=revision,
        item_id=slot["item_id"],
        person_id=person_id,
        kind=sent.kind,
        key=sent.key,
        answer=dict(sent.answer),
        shown=slot.get("shown") or [],
        # A clock that was set back would make it negative.
        elapsed_ms=None if shown_at is None else min(MOST_MS, max(0, int(1000 * (now - shown_at)))),
        active_ms=sent.active_ms,
        settings_id=settings_id,
        order_name=order.order_name,
        order_value=order.priority,
        created=now,
    )
    return Receipt(number, slot["id"], revision, sent.kind, dict(sent.answer))


def _receipt_of(connection: Connection, person_id: int, key: str) -> Receipt | None:
    """Return the receipt of a key that was sent before."""
    row = connection.execute(sa.select(t.judgement).where(t.judgement.c.key == key)).first()
    if row is None:
        return None
    if row.person_id != person_id:
        raise LeaseLost("there is no such item for you")
    return Receipt(row.id, row.slot_id, row.revision, row.kind, row.answer)


def find_sent(store: Store, person_id: int, key: str) -> Row[Any] | None:
    """Return the judgement that a person's page sent under a key before, or None."""
    judged = t.judgement.c
    with store.transaction() as connection:
        return connection.execute(
            sa.select(t.judgement).where(judged.key == key, judged.person_id == person_id)
        ).first()


def current_judgements(*among: sa.ColumnElement[bool]) -> Any:
    """Return the query of the judgements that count: the last revision of every slot, where it is an answer.

    `among` are conditions on the table of judgements; what they leave out, such as what came later, does not exist.
    """
    judged = t.judgement
    last = sa.select(judged.c.slot_id, sa.func.max(judged.c.revision).label("revision")).where(*among)
    newest = last.group_by(judged.c.slot_id).subquery()
    joined = judged.join(newest, (judged.c.slot_id == newest.c.slot_id) & (judged.c.revision == newest.c.revision))
    return sa.select(judged).select_from(joined).where(judged.c.kind.in_(COUNTING))


def close_when_agreed(connection: Connection, project: Project, item_id: int) -> None:
    """Close an item once as many people as the stop rule asks for gave the same answer to the main question."""
    if project.stop is None:
        return
    name = project.main_question.name
    rows = connection.execute(current_judgements(t.judgement.c.item_id == item_id)).all()
    answers = [signature((row.answer.get("answers") or {}).get(name)) for row in rows if row.kind == "answer"]
    found = [json.dumps(answer) for answer in answers if answer is not None]
    if max((found.count(one) for one in set(found)), default=0) < project.stop.agree:
        return
    slot = t.slot.c
    rest = (slot.item_id == item_id, slot.state == "open", slot.n < PERSONAL)
    connection.execute(sa.update(t.slot).where(*rest).values(state="closed"))
    connection.execute(sa.update(t.item).where(t.item.c.id == item_id).values(is_closed=True))


def reopen_agreed(connection: Connection, item_id: int) -> None:
    """Take back that raters agreed, since what one of them said counts no more."""
    slot, item = t.slot.c, t.item.c
    connection.execute(sa.update(t.slot).where(slot.item_id == item_id, slot.state == "closed").values(state="open"))
    connection.execute(
        sa.update(t.item).where(item.id == item_id, item.is_closed, item.kind == "real").values(is_closed=False)
    )


def save_draft(store: Store, project: Project, person_id: int, sent: Submission) -> bool:
    """Keep what was typed so far and lengthen the lease; False when the lease is lost.

    A lease that ran out is taken up again while the seat is free and the person holds no other.
    """
    now = time.time()
    values = {"answer": dict(sent.answer), "active_ms": sent.active_ms or 0, "updated": now, "person_id": person_id}
    try:
        with store.transaction() as connection:
            lock_person(connection, person_id)
            if not _lengthen(connection, project, person_id, sent, now):
                return False
            changed = connection.execute(sa.update(t.draft).where(t.draft.c.slot_id == sent.slot_id).values(**values))
            if not changed.rowcount:
                insert(connection, t.draft, slot_id=sent.slot_id, **values)
    except (IntegrityError, DataError):
        # Another tab has a seat of this item, or the person may not go on.
        return False
    return True


def _lengthen(connection: Connection, project: Project, person_id: int, sent: Submission, now: float) -> bool:
    slot = t.slot.c
    longer = {"lease_until": now + 60 * project.lease_minutes}
    page = (slot.id == sent.slot_id, slot.token == sent.token)
    held = sa.update(t.slot).where(*page, slot.person_id == person_id, slot.state == "leased")
    if connection.execute(held.values(**longer)).rowcount:
        return True
    if held_slot(connection, person_id, now) is not None:
        return False
    free = sa.update(t.slot).where(*page, slot.state == "open")
    return connection.execute(free.values(state="leased", person_id=person_id, **longer)).rowcount == 1


def undo(store: Store, settings_id: int, project: Project, person_id: int) -> int | None:
    """Take back a person's last judgement and put it in front of them again; returns its slot.

    The judgement stays in the table; a row of kind "undo" follows it. A skip comes back while its seat is free, else
    the judgement before it does. Raises DataError for a participant who has the completion code.
    """
    now = time.time()
    with store.transaction() as connection:
        lock_person(connection, person_id)
        paid = sa.select(t.panelist.c.finished).where(t.panelist.c.person_id == person_id)
        if connection.execute(paid).scalar() is not None:
            raise DataError("you have finished this study, and your judgements are handed in")
        found = _last_judgement(connection, person_id)
        if found is None:
            return None
        row, slot = found
        held = held_slot(connection, person_id, now)
        if held is not None:
            _let_go(connection, held)
        sent = Submission(row["slot_id"], "", f"undo-{secrets.token_hex(16)}", "undo", {"undone": row["id"]})
        add_judgement(connection, settings_id, {**slot, "shown": row["shown"]}, person_id, sent)
        values = {"state": "leased", "person_id": person_id, "token": secrets.token_urlsafe(16), "shown": row["shown"]}
        values |= {"lease_until": now + 60 * project.lease_minutes, "shown_at": now}
        connection.execute(sa.update(t.slot).where(t.slot.c.id == slot["id"]).values(**values))
        connection.execute(sa.delete(t.draft).where(t.draft.c.slot_id == slot["id"]))
        reopen_agreed(connection, slot["item_id"])
        draft = {"answer": row["answer"] if row["kind"] == "answer" else {}, "active_ms": row["active_ms"] or 0}
        insert(connection, t.draft, slot_id=slot["id"], person_id=person_id, updated=now, **draft)
        return int(slot["id"])


def _let_go(connection: Connection, slot_id: int) -> None:
    """Open the slot a person holds; one of their own extra slots stays theirs."""
    slot = t.slot.c
    values = {"state": "open", "token": None, "lease_until": None}
    connection.execute(sa.update(t.slot).where(slot.id == slot_id, slot.n < PERSONAL).values(person_id=None, **values))
    connection.execute(sa.update(t.slot).where(slot.id == slot_id, slot.n >= PERSONAL).values(**values))


def _last_judgement(connection: Connection, person_id: int) -> tuple[RowMapping, RowMapping] | None:
    """Return a person's newest answer or skip that can be taken back, with its slot, locked.

    It was not taken back before, is the last word on its slot, and the slot is theirs or free.
    """
    judged, later, slot = t.judgement.c, t.judgement.alias().c, t.slot.c
    newer = sa.exists().where(later.slot_id == judged.slot_id, later.revision > judged.revision)
    own = sa.or_(
        (slot.state == "done") & (slot.person_id == person_id), (slot.state == "open") & slot.person_id.is_(None)
    )
    query = sa.select(t.judgement).join(t.slot, slot.id == judged.slot_id)
    query = query.where(judged.person_id == person_id, judged.kind.in_(("answer", "skip")), ~newer, own)
    for row in connection.execute(query.order_by(judged.id.desc()).limit(20)).mappings().all():
        # Somebody may have taken the seat of a skipped item since the query.
        locked = connection.execute(sa.select(t.slot).where(slot.id == row["slot_id"], own).with_for_update())
        found = locked.mappings().first()
        if found is not None:
            return row, found
    return None
