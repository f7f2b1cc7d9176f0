"""Participants who return, run out of time, or come again."""

import threading
import time

import pytest
import sqlalchemy as sa
from collecting_people import annotator, answer

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.panels import enter, list_participants, panel_link, read_link, release, release_late
from rewardsmith.collecting.people import find_visitor
from rewardsmith.collecting.project import Panel
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


def test_a_form_that_is_sent_twice_at_once_lets_one_participant_in(make, database):
    collection = make(1, database=database, panels=[{"name": "pilot", "code": "DONE"}])
    panel, tokens, ready = collection.project.panels[0], [], threading.Barrier(4)

    def come():
        ready.wait()
        tokens.append(enter(collection.store, panel, IDS))

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({find_visitor(collection.store, token).person_id for token in tokens}) == 1
    assert len(tokens) == 4


def test_a_withdrawn_judgement_opens_the_item_that_it_had_closed(make, database):
    panels = [{"name": "pilot", "code": "DONE"}]
    collection = make(1, repeats=0, overlap=4, stop={"agree": 2}, panels=panels, database=database)
    person = find_visitor(collection.store, enter(collection.store, collection.project.panels[0], IDS)).person_id
    answer(collection, person)
    answer(collection, annotator(collection, "ann"))
    assert load_items(collection.store)[0].is_closed
    assert release(collection.store, collection.project, "owner", ("pilot", "abc")) == 1
    assert not load_items(collection.store)[0].is_closed
    others = [annotator(collection, name) for name in "bcd"]
    assert [claim(collection.store, collection.project, other) is not None for other in others] == [True] * 3


def test_a_participant_of_two_panels_never_gets_an_item_twice(make, database):
    panels = [{"name": name, "code": "DONE"} for name in ("first", "second")]
    collection = make(4, repeats=0, overlap=2, panels=panels, database=database)
    seen = []
    for panel in collection.project.panels:
        person = find_visitor(collection.store, enter(collection.store, panel, IDS)).person_id
        for _ in range(2):
            done = answer(collection, person)
            seen += [done[0].item_id] if done else []
    # The fourth is leased to the participant's first self.
    assert len(seen) == len(set(seen)) == 3


def test_a_link_of_one_panel_does_not_open_another(make):
    collection = make(1, panels=[{"name": name, "code": name} for name in ("first", "second")])
    first, second = collection.project.panels
    signed = [panel_link("secret", panel, "").split("/panel/")[1].split("?")[0] for panel in (first, second)]
    body, signature = signed[0].split(".")
    swapped = f"{signed[1].split('.')[0]}.{signature}"
    assert read_link("secret", collection.project, signed[0]) == first
    assert read_link("secret", collection.project, swapped) is None
    assert read_link("secret", collection.project, body) is None
    assert read_link("secret", collection.project.model_copy(update={"panels": (second,)}), signed[0]) is None


def test_ids_have_names_of_the_marketplaces_own(make):
    own = {"participant": "workerId", "study": "hitId", "session": "assignmentId"}
    collection = make(1, panels=[{"name": "turk", "code": "DONE", **own}])
    panel = collection.project.panels[0]
    link = panel_link("secret", panel, "https://x.example")
    assert link.endswith("?workerId={{%workerId%}}&hitId={{%hitId%}}&assignmentId={{%assignmentId%}}")
    with pytest.raises(DataError, match="workerId"):
        enter(collection.store, panel, IDS)
    assert enter(collection.store, panel, {"workerId": "w1"})


@pytest.mark.parametrize(
    "names", [{"study": "PROLIFIC_PID"}, {"session": "csrf"}, {"participant": "a b"}, {"study": "x&y=1"}]
)
def test_names_of_ids_that_cannot_be_told_apart_in_a_link_are_refused(names):
    with pytest.raises(ValueError, match=r"three different|pattern"):
        Panel(name="pilot", code="DONE", **names)


@pytest.mark.parametrize(
    ("url", "is_fine"),
    [
        ("https://app.example/done?cc=1", True),
        ("http://localhost:8000/x", True),
        ("http://127.0.0.1/x", True),
        ("http://127.0.0.1.evil.example/", False),
        ("javascript:alert(1)", False),
        ("//evil.example", False),
    ],
)
def test_the_way_back_is_an_https_address(url, is_fine):
    if is_fine:
        assert Panel(name="pilot", code="DONE", redirect=url).redirect == url
    else:
        with pytest.raises(ValueError, match="https"):
            Panel(name="pilot", code="DONE", redirect=url)
