"""Who asks to be forgotten is in no table, on either database; the judgements stay or go, as asked."""

import pytest
import sqlalchemy as sa
from collecting_people import annotator, answer, groups

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.forgetting import forget
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.panels import enter, list_participants
from rewardsmith.collecting.people import accept, find_visitor, invite, list_people, log_in
from rewardsmith.collecting.project import Panel
from rewardsmith.errors import ConfigError

NAME = 'Zoë O\'Brien "z"'


def everything(store) -> str:
    """Return all rows of all tables as one text."""
    with store.transaction() as connection:
        return "\n".join(
            str(dict(row))
            for table in t.metadata.sorted_tables
            for row in connection.execute(sa.select(table)).mappings()
        )


@pytest.fixture
def asked(make, database):
    """A project in which somebody with a name judged two of three items, another person one."""
    collection = make(3, database=database, overlap=2, repeats=0)
    session = accept(collection.store, invite(collection.store, "test", NAME), "correct horse battery")
    person = find_visitor(collection.store, session).person_id
    for _ in range(2):
        assert answer(collection, person) is not None
    assert answer(collection, annotator(collection, "bob")) is not None
    return collection, person, session


def test_a_forgotten_name_is_nowhere_and_the_judgements_stay_under_the_pseudonym(asked):
    collection, _person, session = asked
    store = collection.store
    assert "Brien" in everything(store)
    assert forget(store, "test", NAME) == 0
    assert "Brien" not in everything(store)
    assert sum(len(item.judgements) for item in load_items(store)) == 3
    assert find_visitor(store, session) is None
    assert log_in(store, NAME, "correct horse battery") is None
    with pytest.raises(Exception, match="append-only"), store.transaction() as connection:
        connection.execute(sa.delete(t.judgement))


def test_forgotten_judgements_open_their_seats_for_others(asked):
    collection, _person, _ = asked
    store = collection.store
    assert forget(store, "test", NAME, judgements=True) == 2
    assert sum(len(item.judgements) for item in load_items(store)) == 1
    assert all(row["done"] == 0 for row in list_people(store) if "forgotten" in row["name"])
    # Bob has been given the next of six seats already.
    for name in ("cem", "dee"):
        newcomer, found = annotator(collection, name), 0
        while answer(collection, newcomer) is not None:
            found += 1
        assert found == {"cem": 3, "dee": 1}[name]


def test_a_participant_is_forgotten_by_the_pseudonym(make):
    collection = make(1, panels=[{"name": "pilot", "code": "X"}])
    enter(collection.store, Panel(name="pilot", code="X"), {"PROLIFIC_PID": "secretid", "SESSION_ID": "s1"})
    (row,) = list_participants(collection.store)
    forget(collection.store, "test", row["alias"])
    assert "secretid" not in everything(collection.store)


def test_the_only_owner_and_strangers_are_not_forgotten(make):
    collection = make(1)
    accept(collection.store, invite(collection.store, "test", "owner", "owner"), "correct horse battery")
    with pytest.raises(ConfigError, match="only owner"):
        forget(collection.store, "test", "owner")
    with pytest.raises(ConfigError, match="nobody is called"):
        forget(collection.store, "test", "nobody")


def test_an_item_that_was_closed_by_agreement_opens_when_a_vote_is_forgotten(make):
    collection = make(0, overlap=3, stop={"agree": 2}, repeats=0)
    add_items(collection.store, collection.project, groups(1))
    people = [annotator(collection, name) for name in ("ann", "bob", "cem")]
    assert answer(collection, people[0])
    assert answer(collection, people[1])
    assert claim(collection.store, collection.project, people[2]) is None
    forget(collection.store, "test", "ann", judgements=True)
    assert claim(collection.store, collection.project, people[2]) is not None
