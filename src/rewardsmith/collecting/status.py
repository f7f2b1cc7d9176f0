"""How far a project is, in numbers."""

from __future__ import annotations

import sqlalchemy as sa

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import PERSONAL
from rewardsmith.collecting.store import Store


def status_counts(store: Store) -> dict[str, int]:
    """Return how many items, seats, judgements and people there are."""
    slot = t.slot.c
    # Of practice, gold and live items every seat is a person's own.
    real = sa.select(sa.func.count()).select_from(t.slot).where(slot.n < PERSONAL)
    queries = {
        "items": sa.select(sa.func.count()).where(t.item.c.kind == "real"),
        "seats": real.where(slot.state != "closed"),
        "done": real.where(slot.state == "done"),
        "held": sa.select(sa.func.count()).where(slot.state == "leased"),
        "skips": sa.select(sa.func.count()).where(t.judgement.c.kind == "skip"),
        "gold": sa.select(sa.func.count()).where(t.item.c.kind == "gold"),
        "practice": sa.select(sa.func.count()).where(t.item.c.kind == "practice"),
        "annotators": sa.select(sa.func.count()).where(t.person.c.role.in_(("annotator", "panel"))),
        "events": sa.select(sa.func.count()).select_from(t.event),
    }
    with store.transaction() as connection:
        return {name: int(connection.execute(query).scalar_one()) for name, query in queries.items()}
