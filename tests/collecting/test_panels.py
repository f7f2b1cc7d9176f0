"""Participants who return, run out of time, or come again."""

import time

import pytest
import sqlalchemy as sa
from collecting_people import annotator, answer

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.panels import enter, list_participants, panel_link, read_link, release, release_late
from rewardsmith.collecting.people import find_visitor
from rewardsmith.errors import ConfigError, DataError

IDS = {"PROLIFIC_PID": "abc", "STUDY_ID": "s", "SESSION_ID": "x"}


def pilot(make, items=3):
    collection = make(items, repeats=0, panels=[{"name": "pilot", "code": "DONE", "timeout_minutes": 10}])
    return collection, collection.project.panels[0]


def test_a_link_is_signed_for_its_panel(make):
    collection, panel = pilot(make)
    signed = panel_link("secret", panel, "http://x").split("/panel/")[1].split("?")[0]
    assert read_link("secret", collection.project, signed) == panel
    assert read_link("another", collection.project, signed) is None


def test_who_returned_gives_the_seats_back_and_is_out(make):
    collection, panel = pilot(make)
    token = enter(collection.store, panel, IDS)
    person = find_visitor(collection.store, token).person_id
    answer(collection, person)
    assert release(collection.store, collection.project, "owner", ("pilot", "abc")) == 1
    assert find_visitor(collection.store, token) is None
    assert all(not item.judgements for item in load_items(collection.store))
    other = annotator(collection)
    assert [answer(collection, other) is not None for _ in range(4)] == [True, True, True, False]
    with pytest.raises(DataError, match="given up"):
        enter(collection.store, panel, IDS)
    with collection.store.transaction() as connection:
        kinds = connection.execute(sa.select(t.judgement.c.kind).order_by(t.judgement.c.id)).scalars().all()
    assert kinds[:2] == ["answer", "withdrawn"]


def test_who_runs_out_of_time_gives_up_the_lease_and_keeps_the_judgements(make):
    collection, panel = pilot(make)
    person = find_visitor(collection.store, enter(collection.store, panel, IDS)).person_id
    answer(collection, person)
    assert release_late(collection.store, collection.project, time.time() + 300) == 0
    assert release_late(collection.store, collection.project, time.time() + 601) == 1
    assert sum(len(item.judgements) for item in load_items(collection.store)) == 1
    assert [row["participant"] for row in list_participants(collection.store)] == ["abc"]


@pytest.mark.parametrize("value", ["", "a b", "x" * 101, "<script>", "ä"])
def test_an_id_that_no_marketplace_gives_is_refused(make, value):
    collection, panel = pilot(make)
    with pytest.raises(DataError, match="PROLIFIC_PID"):
        enter(collection.store, panel, {**IDS, "PROLIFIC_PID": value})


def test_an_unknown_participant_cannot_be_released(make):
    collection, _ = pilot(make)
    with pytest.raises(ConfigError, match="no participant"):
        release(collection.store, collection.project, "owner", ("pilot", "nobody"))
