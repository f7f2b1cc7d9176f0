"""An index for the kind of an item: every page asks for the next practice and gold item."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the index."""
    op.create_index("item_kind", "item", ["kind", "rank"])
