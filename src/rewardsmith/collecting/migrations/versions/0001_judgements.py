"""Items, people, slots and judgements."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    integer, number, text, json = sa.Integer, sa.Float, sa.Text, sa.JSON
    op.create_table(
        "settings",
        sa.Column("id", integer, primary_key=True),
        sa.Column("created", number, nullable=False),
        sa.Column("project", json, nullable=False),
    )
    op.create_table(
        "item",
        sa.Column("id", integer, primary_key=True),
        sa.Column("key", sa.String(200), nullable=False, unique=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("prompt", json, nullable=False),
        sa.Column("info", json, nullable=False),
        sa.Column("expected", json),
        sa.Column("overlap", integer, nullable=False),
        sa.Column("rank", number, nullable=False),
        sa.Column("is_closed", sa.Boolean, nullable=False),
        sa.Column("created", number, nullable=False),
    )
    op.create_table(
        "completion",
        sa.Column("item_id", sa.Integer, sa.ForeignKey("item.id"), primary_key=True),
        sa.Column("number", integer, primary_key=True),
        sa.Column("text", json, nullable=False),
        sa.Column("model", text),
    )
    _make_people()
    _make_slots()
    for name in ("judgement", "settings", "event"):
        _freeze(name)


def _make_people() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("alias", sa.String(40), nullable=False, unique=True),
        sa.Column("password", sa.Text),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "invitation",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("used", sa.Float),
    )
    op.create_table(
        "session",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("csrf", sa.String(64), nullable=False),
        sa.Column("seen", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
    )


def _make_slots() -> None:
    op.create_table(
        "slot",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("item_id", sa.Integer, sa.ForeignKey("item.id"), nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("again", sa.Boolean, nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id")),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("lease_until", sa.Float),
        sa.Column("token", sa.String(40)),
        sa.Column("shown", sa.JSON),
        sa.Column("shown_at", sa.Float),
        sa.Column("rank", sa.Float, nullable=False),
        sa.UniqueConstraint("item_id", "n"),
        sa.UniqueConstraint("item_id", "person_id", "again"),
    )
    op.create_index("slot_person", "slot", ["person_id", "state"])
    op.create_table(
        "draft",
        sa.Column("slot_id", sa.Integer, sa.ForeignKey("slot.id"), primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("active_ms", sa.Integer, nullable=False),
        sa.Column("updated", sa.Float, nullable=False),
    )
    op.create_table(
        "judgement",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("slot_id", sa.Integer, sa.ForeignKey("slot.id"), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("item_id", sa.Integer, sa.ForeignKey("item.id"), nullable=False),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("key", sa.String(80), nullable=False, unique=True),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("shown", sa.JSON, nullable=False),
        sa.Column("elapsed_ms", sa.Integer),
        sa.Column("active_ms", sa.Integer),
        sa.Column("settings_id", sa.Integer, sa.ForeignKey("settings.id"), nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sa.UniqueConstraint("slot_id", "revision"),
    )
    op.create_index("judgement_person", "judgement", ["person_id", "item_id"])
    op.create_index("judgement_item", "judgement", ["item_id"])


def _freeze(table: str) -> None:
    """Let rows of a table be added, but neither changed nor removed."""
    if op.get_bind().dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_frozen() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_frozen BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_frozen()"
    )
