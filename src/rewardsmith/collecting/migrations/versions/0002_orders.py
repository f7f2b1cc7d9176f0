"""The order in which items come, recorded with every judgement."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add priorities; what was judged before came in random order."""
    op.add_column("item", sa.Column("priority", sa.Float, nullable=False, server_default="0"))
    op.add_column("item", sa.Column("order_name", sa.String(20), nullable=False, server_default="random"))
    op.add_column("slot", sa.Column("place", sa.Float, nullable=False, server_default="0"))
    op.create_index("slot_next", "slot", ["state", "place", "rank"])
    op.add_column("judgement", sa.Column("order_name", sa.String(20), nullable=False, server_default="random"))
    op.add_column("judgement", sa.Column("order_value", sa.Float))
