"""The tables of a project's database; `migrations/` makes them.

Judgements, settings and events are only added to: triggers refuse changes. What counts of a slot is its judgement
with the highest revision. A slot is one seat of one item; UNIQUE(item, n) bounds the overlap and UNIQUE(item, person,
again) keeps an item from coming twice to one person, whatever the program does. Times are seconds since 1970, UTC.
"""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy import UniqueConstraint as Unique

metadata = MetaData()

settings = Table(
    "settings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("created", Float, nullable=False),
    Column("project", JSON, nullable=False),
)

item = Table(
    "item",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", String(200), nullable=False, unique=True),
    # real, gold, practice or live
    Column("kind", String(10), nullable=False),
    Column("prompt", JSON, nullable=False),
    # source, group id, tools, metadata, ratings and steps: what the export gives back
    Column("info", JSON, nullable=False),
    Column("expected", JSON),
    Column("overlap", Integer, nullable=False),
    Column("rank", Float, nullable=False),
    Column("priority", Float, nullable=False),
    Column("order_name", String(20), nullable=False),
    Column("is_closed", Boolean, nullable=False),
    Column("created", Float, nullable=False),
    # Practice and gold items are few among many; every page asks for the next of them.
    Index("item_kind", "kind", "rank"),
)

completion = Table(
    "completion",
    metadata,
    Column("item_id", ForeignKey("item.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("text", JSON, nullable=False),
    Column("model", Text),
)

person = Table(
    "person",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    # owner, annotator, panel or imported
    Column("role", String(10), nullable=False),
    Column("alias", String(40), nullable=False, unique=True),
    Column("password", Text),
    # invited, active, paused or revoked
    Column("status", String(10), nullable=False),
    Column("created", Float, nullable=False),
)

panelist = Table(
    "panelist",
    metadata,
    Column("person_id", ForeignKey("person.id"), primary_key=True),
    Column("panel", String(40), nullable=False),
    Column("participant", String(200), nullable=False),
    Column("study", String(200)),
    Column("session", String(200)),
    Column("consented", Float),
    Column("finished", Float),
    Column("returned", Float),
    Column("created", Float, nullable=False),
    Unique("panel", "participant"),
)

invitation = Table(
    "invitation",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("expires", Float, nullable=False),
    Column("used", Float),
)

session = Table(
    "session",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("seen", Float, nullable=False),
    Column("expires", Float, nullable=False),
)

slot = Table(
    "slot",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item_id", ForeignKey("item.id"), nullable=False),
    Column("n", Integer, nullable=False),
    Column("again", Boolean, nullable=False),
    Column("person_id", ForeignKey("person.id")),
    # open, leased, done or closed
    Column("state", String(10), nullable=False),
    Column("lease_until", Float),
    Column("token", String(40)),
    Column("shown", JSON),
    Column("shown_at", Float),
    # lower comes first: minus the item's priority, and its rank, so that one index answers which slot is next
    Column("place", Float, nullable=False),
    Column("rank", Float, nullable=False),
    Unique("item_id", "n"),
    Unique("item_id", "person_id", "again"),
    Index("slot_next", "state", "place", "rank"),
    Index("slot_person", "person_id", "state"),
)

draft = Table(
    "draft",
    metadata,
    Column("slot_id", ForeignKey("slot.id"), primary_key=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("answer", JSON, nullable=False),
    Column("active_ms", Integer, nullable=False),
    Column("updated", Float, nullable=False),
)

judgement = Table(
    "judgement",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("slot_id", ForeignKey("slot.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("item_id", ForeignKey("item.id"), nullable=False),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    # answer, skip, undo, withdrawn or imported
    Column("kind", String(10), nullable=False),
    Column("key", String(80), nullable=False, unique=True),
    Column("answer", JSON, nullable=False),
    Column("shown", JSON, nullable=False),
    Column("elapsed_ms", Integer),
    Column("active_ms", Integer),
    Column("settings_id", ForeignKey("settings.id"), nullable=False),
    Column("order_name", String(20), nullable=False),
    Column("order_value", Float),
    Column("created", Float, nullable=False),
    Unique("slot_id", "revision"),
    Index("judgement_person", "person_id", "item_id"),
    Index("judgement_item", "item_id"),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("created", Float, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("detail", JSON, nullable=False),
)

APPEND_ONLY = ("judgement", "settings", "event")
