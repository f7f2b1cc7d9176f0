"""Who may come in: invitations, passwords, sessions. Tokens are stored as digests only."""

from __future__ import annotations

import hashlib
import secrets
import time
import unicodedata
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.store import Store, insert, log_event
from rewardsmith.errors import ConfigError, DataError

INVITATION_DAYS = 14
SESSION_HOURS = 24 * 7
IDLE_HOURS = 24
FEWEST_CHARACTERS = 10
ROLES = ("annotator", "owner")
_hasher = PasswordHasher()
# Verified where no account is, so that the time of an answer does not tell which names exist.
_NOBODY = _hasher.hash(secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is behind a request."""

    person_id: int
    name: str
    role: str
    alias: str
    csrf: str

    @property
    def is_owner(self) -> bool:
        """Whether the project is theirs to see."""
        return self.role == "owner"


def clean_name(name: str) -> str:
    """Return a name as it is stored: without needless blanks, and in one form of its accents, whatever keyboard."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def digest(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def add_person(connection: Connection, name: str, role: str, status: str = "invited") -> int:
    """Add a person under a random alias; returns the id. Raises ConfigError for a name that is taken or empty."""
    cleaned = clean_name(name)
    if not cleaned or len(cleaned) > 100 or not cleaned.isprintable():
        raise ConfigError("a name has 1 to 100 printable characters")
    if connection.execute(sa.select(t.person.c.id).where(t.person.c.name == cleaned)).scalar() is not None:
        raise ConfigError(f"{cleaned!r} is already there; see: rewardsmith collect annotators list")
    alias = f"rater-{secrets.token_hex(5)}"
    values = {"name": cleaned, "role": role, "alias": alias, "status": status, "created": time.time()}
    return insert(connection, t.person, **values)


def invite(store: Store, actor: str, name: str, role: str = "annotator") -> str:
    """Add a person and return the token of an invitation, which works once; a person who never came gets a new one."""
    if role not in ROLES:
        raise ConfigError(f"role must be one of {', '.join(ROLES)}, not {role!r}")
    with store.transaction() as connection:
        query = sa.select(t.person).where(t.person.c.name == clean_name(name), t.person.c.status == "invited")
        known = connection.execute(query).first()
        person_id = known.id if known is not None else add_person(connection, name, role)
        if known is not None and known.role != role:
            connection.execute(sa.update(t.person).where(t.person.c.id == person_id).values(role=role))
        log_event(connection, actor, "invite", clean_name(name), role=role)
        return _new_invitation(connection, person_id)


def reset(store: Store, actor: str, name: str) -> str:
    """Return a new invitation for somebody who forgot the password; sessions end."""
    with store.transaction() as connection:
        row = _named(connection, name)
        if row.status == "revoked" or row.role not in ROLES:
            raise ConfigError(f"{row.name!r} was shut out or has no password; invite the person under another name")
        log_event(connection, actor, "reset", clean_name(name))
        connection.execute(sa.delete(t.session).where(t.session.c.person_id == row.id))
        return _new_invitation(connection, row.id)


def _new_invitation(connection: Connection, person_id: int) -> str:
    """Make an invitation; earlier ones of this person stop working."""
    now = time.time()
    earlier = (t.invitation.c.person_id == person_id, t.invitation.c.used.is_(None))
    connection.execute(sa.update(t.invitation).where(*earlier).values(used=now))
    token = secrets.token_urlsafe(24)
    expires = now + 86400 * INVITATION_DAYS
    insert(connection, t.invitation, digest=digest(token), person_id=person_id, expires=expires)
    return token


def find_invitation(store: Store, token: str) -> tuple[str, str] | None:
    """Return name and role of the person an invitation is for; None when it is unknown, used or old."""
    with store.transaction() as connection:
        row = _invited(connection, token)
        return None if row is None else (row.name, row.role)


def _invited(connection: Connection, token: str) -> Any:
    invitation = t.invitation.c
    query = sa.select(t.person).join(t.invitation, invitation.person_id == t.person.c.id)
    valid = (invitation.digest == digest(token), invitation.used.is_(None), invitation.expires > time.time())
    return connection.execute(query.where(*valid, t.person.c.status != "revoked")).first()


def accept(store: Store, token: str, password: str) -> str:
    """Set a password by an invitation and return the token of a new session. Raises DataError."""
    check_password(password)
    hashed = _hasher.hash(password)
    with store.transaction() as connection:
        row = _invited(connection, token)
        if row is None:
            raise DataError("this invitation was used or has expired; ask for a new one")
        values: dict[str, Any] = {"password": hashed}
        if row.status == "invited":
            values["status"] = "active"
        connection.execute(sa.update(t.person).where(t.person.c.id == row.id).values(**values))
        used = t.invitation.c.digest == digest(token)
        connection.execute(sa.update(t.invitation).where(used).values(used=time.time()))
        connection.execute(sa.delete(t.session).where(t.session.c.person_id == row.id))
        log_event(connection, row.name, "accept")
        return start_session(connection, row.id)


def check_password(password: str) -> None:
    """Refuse a password that is short or huge. Raises DataError."""
    if not FEWEST_CHARACTERS <= len(password) <= 200:
        raise DataError(f"a password has {FEWEST_CHARACTERS} to 200 characters")


def log_in(store: Store, name: str, password: str) -> str | None:
    """Return the token of a new session, or None when name and password do not fit."""
    with store.transaction() as connection:
        row = connection.execute(sa.select(t.person).where(t.person.c.name == clean_name(name))).first()
    known = row is not None and row.password is not None and row.role in ROLES and row.status in ("active", "paused")
    # Hashing takes time on purpose: it happens outside the transaction.
    if not _verify(row.password if known and row is not None else _NOBODY, password) or not known or row is None:
        return None
    with store.transaction() as connection:
        log_event(connection, row.name, "log in")
        return start_session(connection, row.id)


def _verify(hashed: str, password: str) -> bool:
    try:
        return _hasher.verify(hashed, password[:200])
    except (VerificationError, InvalidHashError):
        return False


def start_session(connection: Connection, person_id: int) -> str:
    """Return the token of a new session; old ones of anybody are cleared away."""
    now = time.time()
    connection.execute(sa.delete(t.session).where(t.session.c.expires < now))
    token = secrets.token_urlsafe(32)
    values = {"person_id": person_id, "csrf": secrets.token_urlsafe(24), "seen": now}
    insert(connection, t.session, digest=digest(token), expires=now + 3600 * SESSION_HOURS, **values)
    return token


def find_visitor(store: Store, token: str) -> Visitor | None:
    """Return who a session belongs to; None when it is unknown, over, idle for a day, or the person was revoked."""
    now = time.time()
    query = sa.select(t.session.c.csrf, t.session.c.seen, t.person).join(t.person)
    valid = (t.session.c.digest == digest(token), t.session.c.expires > now, t.person.c.status != "revoked")
    with store.transaction() as connection:
        row = connection.execute(query.where(*valid)).first()
        if row is None or row.seen < now - 3600 * IDLE_HOURS:
            return None
        if row.seen < now - 600:
            connection.execute(sa.update(t.session).where(t.session.c.digest == digest(token)).values(seen=now))
    return Visitor(row.id, row.name, row.role, row.alias, row.csrf)


def log_out(store: Store, token: str) -> None:
    """End a session."""
    with store.transaction() as connection:
        connection.execute(sa.delete(t.session).where(t.session.c.digest == digest(token)))


def revoke(store: Store, actor: str, name: str) -> None:
    """Shut a person out at once: sessions and leases end, judgements stay. Raises ConfigError for an unknown name."""
    with store.transaction() as connection:
        row = _named(connection, name)
        set_status(connection, row.id, "revoked")
        connection.execute(sa.delete(t.session).where(t.session.c.person_id == row.id))
        log_event(connection, actor, "revoke", row.name)


def set_status(connection: Connection, person_id: int, status: str) -> None:
    """Set a person's status; whoever may not go on gives leased items back."""
    connection.execute(sa.update(t.person).where(t.person.c.id == person_id).values(status=status))
    if status != "active":
        held = (t.slot.c.person_id == person_id, t.slot.c.state == "leased", t.slot.c.n < 1_000_000)
        connection.execute(sa.update(t.slot).where(*held).values(state="open", person_id=None, token=None))


def _named(connection: Connection, name: str) -> Any:
    row = connection.execute(sa.select(t.person).where(t.person.c.name == clean_name(name))).first()
    if row is None:
        raise ConfigError(f"nobody is called {name!r}; see: rewardsmith collect annotators list")
    return row


def list_people(store: Store) -> list[dict[str, Any]]:
    """Return every annotator and owner with what they have done."""
    done = sa.func.count(sa.case((t.slot.c.state == "done", 1)))
    person = t.person.c
    query = sa.select(person.name, person.role, person.status, person.alias, done.label("done"))
    query = query.outerjoin(t.slot, t.slot.c.person_id == person.id).group_by(person.id)
    with store.transaction() as connection:
        return [dict(row) for row in connection.execute(query.order_by(person.id)).mappings()]
