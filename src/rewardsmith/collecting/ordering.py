"""Which open items come first, and the predictions that ratings give; the value is recorded with every judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import sqlalchemy as sa

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.exporting import JudgedItem, load_items
from rewardsmith.collecting.items import BATCH
from rewardsmith.collecting.store import Store, log_event
from rewardsmith.errors import DataError
from rewardsmith.stats.ordering import Order, Prediction


def open_items(store: Store) -> list[JudgedItem]:
    """Return the items that still have an open seat."""
    open_seats = sa.select(t.slot.c.item_id).where(t.slot.c.state == "open")
    with store.transaction() as connection:
        numbers = set(connection.execute(open_seats).scalars())
    return load_items(store, ("real",), numbers=numbers)


def rated_predictions(items: Sequence[JudgedItem], rating: str) -> list[Prediction]:
    """Return predictions from a rating that came along with the import. Raises DataError where it is missing."""
    found = []
    for item in items:
        row = (item.info.get("ratings") or {}).get(rating)
        if row is None or any(value is None for value in row):
            known = sorted((items[0].info.get("ratings") or {}) if items else {})
            raise DataError(
                f"item {item.item_id} has no complete rating {rating!r}; it has: {', '.join(known) or 'none'}"
            )
        found.append(Prediction(np.array(row, dtype=np.float64)))
    return found


def apply_order(store: Store, order: Order, values: Mapping[int, float], actor: str = "command line") -> None:
    """Write the order of open items; leases and what was judged stay as they are.

    A few hundred items at a time, so that whoever judges meanwhile does not wait for all of them.
    """
    item: sa.BindParameter[int] = sa.bindparam("of_item")
    value: sa.BindParameter[float] = sa.bindparam("to_value")
    items = sa.update(t.item).where(t.item.c.id == item).values(priority=value, order_name=order)
    state = sa.or_(t.slot.c.state == "open", t.slot.c.state == "closed")
    seats = sa.update(t.slot).where(t.slot.c.item_id == item, state).values(place=-value)
    rows = [{"of_item": item_id, "to_value": float(worth)} for item_id, worth in values.items()]
    for piece in store.pieces(rows, BATCH):
        with store.transaction() as connection:
            for changed in (items, seats):
                connection.execute(changed, piece)
    with store.transaction() as connection:
        log_event(connection, actor, "order", order, items=len(values))
