"""Who judges what next."""

import time
from collections import Counter
from dataclasses import replace

import pytest
import sqlalchemy as sa
from collecting_people import annotator, answer, answer_at_once, groups

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import claim, progress, release_expired, reopen, shown_order
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.people import set_status
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison


def test_the_order_of_answers_depends_on_seed_item_and_person_alone(make):
    project = make().project
    assert shown_order(project, "k", "a", 9) == shown_order(project, "k", "a", 9)
    orders = {tuple(shown_order(project, key, who, 4)) for key in "abcdef" for who in "xyz"}
    assert len(orders) > 10
    other = project.model_copy(update={"seed": 1})
    keys = [str(k) for k in range(9)]
    assert [shown_order(project, k, "a", 4) for k in keys] != [shown_order(other, k, "a", 4) for k in keys]


def test_the_order_shown_is_stored_with_the_judgement(make):
    collection = make(3, answers=4, task="ranking")
    one, receipt = answer(collection, annotator(collection))
    with collection.store.transaction() as connection:
        row = connection.execute(sa.select(t.judgement).where(t.judgement.c.id == receipt.judgement_id)).one()
    assert row.shown == list(one.shown)
    assert sorted(row.shown) == [0, 1, 2, 3]
    assert row.order_name == "random"


def test_a_lease_is_given_back_to_its_holder(make):
    collection = make(3)
    person = annotator(collection)
    first, second = (claim(collection.store, collection.project, person) for _ in range(2))
    assert (first.slot_id, first.token, first.shown) == (second.slot_id, second.token, second.shown)


def test_nobody_gets_an_item_twice_and_none_goes_above_its_overlap(make):
    collection = make(6, overlap=2, repeats=0)
    people = [annotator(collection, f"p{n}") for n in range(3)]
    seen = {person: [] for person in people}
    active = True
    while active:
        active = False
        for person in people:
            done = answer(collection, person)
            if done is not None:
                seen[person].append(done[0].item_id)
                active = True
    assert all(len(set(items)) == len(items) for items in seen.values())
    assert set(Counter(item for items in seen.values() for item in items).values()) == {2}


def test_twelve_threads_leave_every_item_at_its_overlap(make):
    collection = make(20, overlap=3, repeats=0)
    people = [annotator(collection, f"p{n}") for n in range(12)]
    assert len(answer_at_once(collection, people, _work)) == 60


def _work(collection, person):
    while answer(collection, person) is not None:
        pass


def test_an_expired_lease_goes_to_somebody_else(make):
    collection = make(1, lease_minutes=1)
    slow, quick = annotator(collection, "slow"), annotator(collection, "quick")
    first = claim(collection.store, collection.project, slow)
    assert claim(collection.store, collection.project, quick) is None
    later = claim(collection.store, collection.project, quick, now=time.time() + 61)
    assert later is not None
    assert later.slot_id == first.slot_id
    assert later.token != first.token


def test_a_paused_person_gets_nothing(make):
    collection = make(1)
    person = annotator(collection)
    with collection.store.transaction() as connection:
        set_status(connection, person, "paused")
    with pytest.raises(DataError, match="paused"):
        claim(collection.store, collection.project, person)


def test_repeats_come_late_in_the_other_order_and_take_no_seat(make):
    collection = make(30, repeats=0.2)
    person = annotator(collection)
    shown, again = {}, []
    while (done := answer(collection, person)) is not None:
        if done[0].item_id in shown:
            again.append((len(shown), done[0].shown == shown[done[0].item_id][::-1]))
        shown.setdefault(done[0].item_id, done[0].shown)
    assert len(shown) == 30
    assert len(again) == 6
    assert all(place > 10 and flipped for place, flipped in again)


def test_gold_items_come_at_their_share_to_everybody(make):
    collection = make(20, gold={"share": 0.25}, overlap=2)
    labelled = [replace(group, comparisons=(Comparison(0, 1),)) for group in groups(60)[50:]]
    assert add_items(collection.store, collection.project, labelled, "gold").items == 10
    for name in ("a", "b"):
        person = annotator(collection, name)
        for _ in range(12):
            answer(collection, person)
    kinds = sa.select(t.slot.c.person_id, sa.func.count()).join(t.item).where(t.item.c.kind == "gold")
    with collection.store.transaction() as connection:
        counts = dict(connection.execute(kinds.where(t.slot.c.state == "done").group_by(t.slot.c.person_id)).all())
    assert list(counts.values()) == [2, 2]


def test_progress_counts_what_is_done_and_what_is_left(make):
    collection = make(5, overlap=2, repeats=0)
    person = annotator(collection)
    assert progress(collection.store, collection.project, person) == (0, 5)
    answer(collection, person)
    claim(collection.store, collection.project, person)
    assert progress(collection.store, collection.project, person) == (1, 4)


def test_a_quota_ends_a_persons_work(make):
    collection = make(5, quota=2)
    person = annotator(collection)
    assert [answer(collection, person) is None for _ in range(3)] == [False, False, True]


def test_a_second_round_opens_more_seats(make):
    collection = make(1, overlap=1)
    one, _ = answer(collection, annotator(collection, "first"))
    other = annotator(collection, "second")
    assert claim(collection.store, collection.project, other) is None
    reopen(collection.store, "owner", one.item_id, 1)
    assert claim(collection.store, collection.project, other).item_id == one.item_id


def test_a_second_round_takes_closed_seats_before_it_makes_new_ones(make, database):
    collection = make(1, overlap=4, stop={"agree": 2}, repeats=0, database=database)
    people = [annotator(collection, f"p{n}") for n in range(6)]
    for person in people[:2]:
        answer(collection, person)
    item = load_items(collection.store)[0]
    assert item.is_closed
    reopen(collection.store, "owner", item.item_id, 1)
    with collection.store.transaction() as connection:
        states = Counter(connection.execute(sa.select(t.slot.c.state)).scalars())
    assert states == {"done": 2, "open": 1, "closed": 1}
    assert load_items(collection.store)[0].overlap == 4
    reopen(collection.store, "owner", item.item_id, 3)
    with collection.store.transaction() as connection:
        states = Counter(connection.execute(sa.select(t.slot.c.state)).scalars())
    assert states == {"done": 2, "open": 4}
    assert load_items(collection.store)[0].overlap == 6


def test_a_lease_from_before_the_clock_was_set_back_is_free(make, database):
    collection = make(1, database=database)
    slow, quick = annotator(collection, "slow"), annotator(collection, "quick")
    claim(collection.store, collection.project, slow, now=time.time() + 10_000)
    assert claim(collection.store, collection.project, quick) is not None


def test_letting_go_of_lapsed_leases_waits_for_nobody(make, postgres):
    collection = make(2, lease_minutes=1, database=postgres.url("waits"))
    first, second = annotator(collection, "first"), annotator(collection, "second")
    for person in (first, second):
        claim(collection.store, collection.project, person, now=time.time() - 1000)
    store = collection.store
    held = sa.select(t.slot.c.id).where(t.slot.c.person_id == first).with_for_update()
    with store.transaction() as busy, store.transaction() as other:
        busy.execute(held)
        other.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        release_expired(other, time.time())
    with store.transaction() as connection:
        assert Counter(connection.execute(sa.select(t.slot.c.state)).scalars()) == {"leased": 1, "open": 1}
