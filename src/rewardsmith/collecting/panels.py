"""Panels: people from a marketplace, who come by a signed link and bring its participant id.

The signature covers the panel, since the marketplace fills the participant in. Whoever comes a second time must bring
the session id of the first visit, which only the marketplace and the participant know.
"""

from __future__ import annotations

import hmac
import secrets
import time
from typing import Any

import sqlalchemy as sa
from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import PERSONAL
from rewardsmith.collecting.people import add_person, set_status, start_session
from rewardsmith.collecting.project import Panel, Project
from rewardsmith.collecting.saving import Submission, add_judgement, reopen_agreed
from rewardsmith.collecting.store import Store, log_event, record_settings
from rewardsmith.errors import ConfigError, DataError

LONGEST_ID = 100


def panel_link(secret: str, panel: Panel, base: str) -> str:
    """Return the link to give to the marketplace, with its placeholders for the ids."""
    names = (panel.participant, panel.study, panel.session)
    places = "&".join(f"{name}={{{{%{name}%}}}}" for name in names)
    return f"{base}/panel/{_signer(secret).dumps(panel.name)}?{places}"


def read_link(secret: str, project: Project, signed: str) -> Panel | None:
    """Return the panel that a link is signed for; None for a forged link or a panel that is gone."""
    try:
        name = _signer(secret).loads(signed)
    except BadSignature:
        return None
    return project.panel(name) if isinstance(name, str) else None


def _signer(secret: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt="panel")


def enter(store: Store, panel: Panel, given: dict[str, str]) -> str:
    """Let a participant in, at first or again; returns the token of a session.

    Raises:
        DataError: an id is missing or malformed, the participant returned, or another session claims the id.
    """
    participant, study, session = (given.get(name, "") for name in (panel.participant, panel.study, panel.session))
    if not _is_id(participant) or not all(_is_id(value) or not value for value in (study, session)):
        raise DataError(f"this link needs {panel.participant}; open the study from your marketplace again")
    ids = {"participant": participant, "study": study, "session": session}
    try:
        return _enter(store, panel, ids)
    except IntegrityError:
        # The form was sent twice at once, and the other one came first.
        return _enter(store, panel, ids)


def _enter(store: Store, panel: Panel, ids: dict[str, str]) -> str:
    with store.transaction() as connection:
        found = t.panelist.c
        query = sa.select(t.panelist).where(found.panel == panel.name, found.participant == ids["participant"])
        row = connection.execute(query).first()
        if row is None:
            name = f"panel:{panel.name}:{secrets.token_hex(6)}"
            person_id = add_person(connection, name, "panel", "active")
            values = {"person_id": person_id, "panel": panel.name, "created": time.time()}
            connection.execute(sa.insert(t.panelist).values(**values, **ids))
            log_event(connection, name, "enter panel", panel.name)
            return start_session(connection, person_id)
        if not hmac.compare_digest((row.session or "").encode(), ids["session"].encode()):
            raise DataError("this participant has entered from another session; open the study from there")
        if row.returned is not None:
            raise DataError("your place in this study was given up; you cannot enter again")
        return start_session(connection, row.person_id)


def _is_id(value: str) -> bool:
    return 0 < len(value) <= LONGEST_ID and value.isascii() and all(c.isalnum() or c in "-_." for c in value)


def find_panelist(store: Store, person_id: int) -> Any:
    """Return the row of a participant, or None."""
    with store.transaction() as connection:
        return connection.execute(sa.select(t.panelist).where(t.panelist.c.person_id == person_id)).first()


def consent(store: Store, person_id: int) -> None:
    """Note that a participant agreed."""
    with store.transaction() as connection:
        who = (t.panelist.c.person_id == person_id, t.panelist.c.consented.is_(None))
        connection.execute(sa.update(t.panelist).where(*who).values(consented=time.time()))
        log_event(connection, str(person_id), "consent")


def done_count(connection: Connection, person_id: int) -> int:
    """Return how many items a participant has judged, repeats and gold included."""
    slot = t.slot.c
    query = sa.select(sa.func.count()).where(slot.person_id == person_id, slot.state == "done")
    practice = sa.select(t.item.c.id).where(t.item.c.kind == "practice")
    return int(connection.execute(query.where(slot.item_id.not_in(practice))).scalar_one())


def finish(store: Store, person_id: int) -> None:
    """Note that a participant has reached the quota, or that nothing is left for them."""
    with store.transaction() as connection:
        who = (t.panelist.c.person_id == person_id, t.panelist.c.finished.is_(None))
        connection.execute(sa.update(t.panelist).where(*who).values(finished=time.time()))


def release(store: Store, project: Project, actor: str, who: tuple[str, str], discard: bool = True) -> int:
    """Release a participant who returned: their leases end and, with `discard`, their seats open again.

    `who` names the panel and the participant.

    The judgements stay in the table; a row of kind "withdrawn" ends each. Returns how many seats were opened.
    """
    panel, participant = who
    with store.transaction() as connection:
        found = t.panelist.c
        query = sa.select(t.panelist).where(found.panel == panel, found.participant == participant)
        row = connection.execute(query).first()
        if row is None:
            raise ConfigError(f"panel {panel!r} has no participant {participant!r}")
        connection.execute(sa.update(t.panelist).where(found.person_id == row.person_id).values(returned=time.time()))
        log_event(connection, actor, "release", panel, discard=discard)
        return _give_up(connection, record_settings(connection, project), row.person_id, discard)


def release_late(store: Store, project: Project, now: float | None = None) -> int:
    """Release the participants who ran out of their panel's time; their judgements stay, their leases end."""
    moment = time.time() if now is None else now
    count = 0
    for panel in project.panels:
        limit = moment - 60 * panel.timeout_minutes
        found = t.panelist.c
        query = sa.select(found.person_id).where(
            found.panel == panel.name, found.created < limit, found.finished.is_(None), found.returned.is_(None)
        )
        with store.transaction() as connection:
            for person_id in connection.execute(query).scalars().all():
                who = found.person_id == person_id
                connection.execute(sa.update(t.panelist).where(who).values(returned=moment))
                log_event(connection, "clock", "panel timeout", panel.name)
                _give_up(connection, 0, person_id, False)
                count += 1
    return count


def _give_up(connection: Connection, settings_id: int, person_id: int, discard: bool) -> int:
    """End a participant's leases and, with `discard`, their judgements."""
    set_status(connection, person_id, "revoked")
    connection.execute(sa.delete(t.session).where(t.session.c.person_id == person_id))
    if not discard:
        return 0
    slot = t.slot.c
    query = sa.select(t.slot).where(slot.person_id == person_id, slot.state == "done")
    rows = connection.execute(query).mappings().all()
    for row in rows:
        sent = Submission(row["id"], "", f"withdrawn-{secrets.token_hex(16)}", "withdrawn", {})
        add_judgement(connection, settings_id, dict(row), person_id, sent)
        if row["n"] < PERSONAL:
            values = {"state": "open", "person_id": None, "token": None}
            connection.execute(sa.update(t.slot).where(slot.id == row["id"]).values(**values))
            reopen_agreed(connection, row["item_id"])
    return sum(row["n"] < PERSONAL for row in rows)


def list_participants(store: Store, panel: str | None = None) -> list[dict[str, Any]]:
    """Return the participants with their pseudonyms: the one place where both stand."""
    done = sa.func.count(sa.case((t.slot.c.state == "done", 1)))
    found = t.panelist.c
    columns = (found.panel, found.participant, found.study, found.consented, found.finished, found.returned)
    joined = t.panelist.join(t.person).outerjoin(t.slot, t.slot.c.person_id == found.person_id)
    query = sa.select(t.person.c.alias, *columns, done.label("done")).select_from(joined)
    query = query.group_by(t.person.c.alias, *columns, found.created).order_by(found.created)
    if panel is not None:
        query = query.where(found.panel == panel)
    with store.transaction() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
