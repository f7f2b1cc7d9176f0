"""Forget somebody who asks for it: the name and the ids of a marketplace, on request the judgements as well.

Judgements are only added to, but for this: what a person has a right to have erased leaves the tables and the log. The
pseudonym stays, which then stands for nobody.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import PERSONAL
from rewardsmith.collecting.people import clean_name, set_status
from rewardsmith.collecting.saving import reopen_agreed
from rewardsmith.collecting.store import Store, log_event, thawed
from rewardsmith.errors import ConfigError


def forget(store: Store, actor: str, name: str, judgements: bool = False) -> int:
    """Erase who a person was; returns how many judgements, skips and undone ones were deleted with it.

    Args:
        name: of the person, or their pseudonym, by which participants of panels are known.
        judgements: delete what they judged, too, and open their seats for others.

    Raises:
        ConfigError: nobody is called so, or the last owner who can log in would go.
    """
    with store.transaction() as connection:
        person = t.person.c
        either = sa.or_(person.name == clean_name(name), person.alias == name)
        row = connection.execute(sa.select(t.person).where(either).order_by(person.id)).mappings().first()
        if row is None:
            raise ConfigError(f"nobody is called {name!r}; see: rewardsmith collect annotators list")
        _keep_an_owner(connection, row)
        with thawed(connection, "event", "judgement"):
            _erase_name(connection, row)
            count = _erase_judgements(connection, row["id"]) if judgements else 0
        log_event(connection, actor, "forget", row["alias"], judgements=count)
    return count


def _keep_an_owner(connection: Connection, row: RowMapping) -> None:
    person = t.person.c
    others = sa.select(person.id).where(person.role == "owner", person.status == "active", person.id != row["id"])
    if row["role"] == "owner" and row["status"] == "active" and connection.execute(others).first() is None:
        raise ConfigError(f"{row['name']!r} is the only owner; invite another owner first")


def _erase_name(connection: Connection, row: RowMapping) -> None:
    """Shut a person out and put the pseudonym in the place of the name, in the log as well."""
    set_status(connection, row["id"], "revoked")
    for table in (t.session, t.invitation, t.draft):
        connection.execute(sa.delete(table).where(table.c.person_id == row["id"]))
    changed = {"name": f"forgotten:{row['alias']}", "password": None}
    connection.execute(sa.update(t.person).where(t.person.c.id == row["id"]).values(**changed))
    for column in (t.event.c.actor, t.event.c.subject):
        connection.execute(sa.update(t.event).where(column == row["name"][:200]).values({column.name: row["alias"]}))
    ids = {"participant": f"forgotten:{row['alias']}", "study": None, "session": None}
    connection.execute(sa.update(t.panelist).where(t.panelist.c.person_id == row["id"]).values(**ids))


def _erase_judgements(connection: Connection, person_id: int) -> int:
    """Delete what a person judged and open the seats again; an item that was closed by agreement opens, too."""
    slot = t.slot.c
    deleted = connection.execute(sa.delete(t.judgement).where(t.judgement.c.person_id == person_id))
    query = sa.select(t.slot, t.item.c.kind).join(t.item).where(slot.person_id == person_id)
    held = connection.execute(query).mappings().all()
    for row in held:
        mine = slot.id == row["id"]
        others = connection.execute(sa.select(t.judgement.c.id).where(t.judgement.c.slot_id == row["id"])).first()
        if row["n"] < PERSONAL or others is not None:
            values = {"state": "open", "person_id": None, "token": None, "shown": None, "shown_at": None}
            connection.execute(sa.update(t.slot).where(mine).values(**values))
        else:
            connection.execute(sa.delete(t.slot).where(mine))
        if row["n"] < PERSONAL and row["state"] == "done":
            reopen_agreed(connection, row["item_id"])
        if row["kind"] == "live":
            # A question that they typed in the arena.
            connection.execute(sa.delete(t.completion).where(t.completion.c.item_id == row["item_id"]))
            connection.execute(sa.delete(t.item).where(t.item.c.id == row["item_id"]))
    return int(deleted.rowcount)
