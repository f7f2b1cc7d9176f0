"""A duel as a project: its pairs as items in the order of the draws, its result from the votes so far."""

from __future__ import annotations

import sqlalchemy as sa

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.collection import Collection
from rewardsmith.collecting.duel import NARROW, DuelPlan, DuelResult, judge_duel
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.items import add_items, item_key
from rewardsmith.collecting.ordering import apply_order
from rewardsmith.collecting.quality import unit_values
from rewardsmith.collecting.store import log_event
from rewardsmith.records import PreferenceGroup


def add_duel(collection: Collection, plan: DuelPlan, pairs: list[PreferenceGroup]) -> int:
    """Add the pairs that were drawn as items, the first draw first; returns how many."""
    first: dict[int, int] = {}
    for turn, pair in enumerate(plan.draws.tolist()):
        first.setdefault(pair, turn)
    add_items(collection.store, collection.project, [pairs[pair] for pair in first])
    keys = {item_key(pairs[pair]): turn for pair, turn in first.items()}
    values = {item.item_id: -float(keys[item.key]) for item in load_items(collection.store) if item.key in keys}
    apply_order(collection.store, "gap", values)
    return len(values)


def duel_result(
    collection: Collection, plan: DuelPlan, pairs: list[PreferenceGroup], narrow: float = NARROW
) -> DuelResult:
    """Return what the votes so far say; a pair's vote is the mean over its annotators."""
    numbers = {item_key(pair): n for n, pair in enumerate(pairs)}
    question = collection.project.main_question
    votes: dict[int, float] = {}
    for item in load_items(collection.store):
        said = [unit_values(question, item, judged).get((0, 1)) for judged in item.votes()]
        known = [(value + 1) / 2 for value in said if value is not None]
        if item.key in numbers and known:
            votes[numbers[item.key]] = sum(known) / len(known)
    return judge_duel(plan, votes, narrow)


def close_items(collection: Collection) -> None:
    """Serve nothing more: the duel is decided."""
    with collection.store.transaction() as connection:
        seats = (t.slot.c.state == "open",)
        connection.execute(sa.update(t.slot).where(*seats).values(state="closed"))
        log_event(connection, "duel", "settled")
