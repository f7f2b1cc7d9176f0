"""Every change of the schema, in order; alembic runs them."""
