"""Participants of panels, apart from the judgements."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table of panel participants."""
    op.create_table(
        "panelist",
        sa.Column("person_id", sa.Integer, sa.ForeignKey("person.id"), primary_key=True),
        sa.Column("panel", sa.String(40), nullable=False),
        sa.Column("participant", sa.String(200), nullable=False),
        sa.Column("study", sa.String(200)),
        sa.Column("session", sa.String(200)),
        sa.Column("consented", sa.Float),
        sa.Column("finished", sa.Float),
        sa.Column("returned", sa.Float),
        sa.Column("created", sa.Float, nullable=False),
        sa.UniqueConstraint("panel", "participant"),
    )
