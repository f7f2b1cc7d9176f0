"""Invitations, passwords and sessions."""

import time

import pytest
import sqlalchemy as sa

from rewardsmith.collecting import people
from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.people import accept, invite, log_in
from rewardsmith.errors import ConfigError, DataError

PASSWORD = "correct horse battery"


def visitor(collection, name="ann", role="annotator"):
    token = people.accept(collection.store, people.invite(collection.store, "test", name, role), PASSWORD)
    return token, people.find_visitor(collection.store, token)


def test_only_digests_of_tokens_and_argon2id_of_passwords_are_stored(make):
    collection = make()
    token = people.invite(collection.store, "test", "ann")
    session = people.accept(collection.store, token, PASSWORD)
    with collection.store.transaction() as connection:
        kept = [
            str(row) for table in (t.invitation, t.session, t.person) for row in connection.execute(sa.select(table))
        ]
    assert not any(secret in row for row in kept for secret in (token, session, PASSWORD))
    assert any("$argon2id$" in row for row in kept)


def test_an_invitation_ends_by_use_by_a_newer_one_and_by_time(make, monkeypatch):
    store = make().store
    first = people.invite(store, "test", "ann")
    second = people.invite(store, "test", "ann")
    assert people.find_invitation(store, first) is None
    assert people.find_invitation(store, second) == ("ann", "annotator")
    now = time.time()
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: now + 86400 * people.INVITATION_DAYS + 1)
        assert people.find_invitation(store, second) is None
    people.accept(store, second, PASSWORD)
    with pytest.raises(DataError, match="was used"):
        people.accept(store, second, PASSWORD)


def test_somebody_who_never_came_is_invited_anew_under_the_new_role(make):
    store = make().store
    people.invite(store, "test", "ann")
    assert people.find_invitation(store, people.invite(store, "test", "ann", "owner")) == ("ann", "owner")
    with pytest.raises(ConfigError, match="role"):
        people.invite(store, "test", "bob", "admin")


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x00b", "ann\u202e", "a\u200bb"])
def test_a_name_that_nobody_could_tell_from_another_is_refused(make, name):
    with pytest.raises(ConfigError, match="printable"):
        people.invite(make().store, "test", name)


def test_a_name_is_taken_whatever_the_blanks(make):
    collection = make()
    visitor(collection, "ann lee")
    with pytest.raises(ConfigError, match="already there"):
        people.invite(collection.store, "test", " ann   lee ")


@pytest.mark.parametrize("password", ["short", "x" * 201])
def test_a_password_is_long_but_not_huge(make, password):
    store = make().store
    with pytest.raises(DataError, match="10 to 200"):
        people.accept(store, people.invite(store, "test", "ann"), password)


def test_only_the_right_password_of_somebody_known_logs_in(make):
    collection = make()
    visitor(collection)
    assert people.log_in(collection.store, "ann", "wrong password") is None
    assert people.log_in(collection.store, "bob", PASSWORD) is None
    token = people.log_in(collection.store, " ann ", PASSWORD)
    assert people.find_visitor(collection.store, token).name == "ann"
    people.log_out(collection.store, token)
    assert people.find_visitor(collection.store, token) is None


def test_a_session_ends_after_a_day_without_use_and_after_a_week(make, monkeypatch):
    collection = make()
    token, _ = visitor(collection)
    now, hour = time.time(), 3600
    for hours, is_known in ((20, True), (40, True), (60, True), (85, False)):
        monkeypatch.setattr(time, "time", lambda hours=hours: now + hours * hour)
        assert (people.find_visitor(collection.store, token) is not None) == is_known
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: now + 80 * hour)
        assert people.find_visitor(collection.store, token) is not None
    for hours in range(100, 24 * 7 + 10, 20):
        monkeypatch.setattr(time, "time", lambda hours=hours: now + hours * hour)
        known = people.find_visitor(collection.store, token) is not None
        assert known == (hours < people.SESSION_HOURS)


def test_whoever_is_shut_out_loses_session_lease_and_way_back(make, database):
    collection = make(1, database=database)
    token, ann = visitor(collection)
    claim(collection.store, collection.project, ann.person_id)
    people.revoke(collection.store, "owner", "ann")
    assert people.find_visitor(collection.store, token) is None
    assert people.log_in(collection.store, "ann", PASSWORD) is None
    with pytest.raises(ConfigError, match="another name"):
        people.reset(collection.store, "owner", "ann")
    with collection.store.transaction() as connection:
        assert connection.execute(sa.select(t.slot.c.state)).scalar_one() == "open"
    (row,) = people.list_people(collection.store)
    assert (row["name"], row["status"], row["done"]) == ("ann", "revoked", 0)


def test_a_new_link_ends_the_sessions_of_whoever_forgot_the_password(make):
    collection = make()
    token, ann = visitor(collection)
    link = people.reset(collection.store, "owner", "ann")
    assert people.find_visitor(collection.store, token) is None
    again = people.accept(collection.store, link, "another password")
    assert people.find_visitor(collection.store, again).person_id == ann.person_id
    assert people.log_in(collection.store, "ann", PASSWORD) is None
    with pytest.raises(ConfigError, match="nobody is called"):
        people.reset(collection.store, "owner", "bob")


def test_an_owner_is_one_by_role_alone(make):
    collection = make()
    assert visitor(collection, "boss", "owner")[1].is_owner
    assert not visitor(collection, "owner of nothing")[1].is_owner


def test_a_name_is_one_however_its_accents_are_typed(make):
    collection = make()
    accept(collection.store, invite(collection.store, "test", "Jos\u00e9"), "correct horse battery")
    assert log_in(collection.store, " Jose\u0301 ", "correct horse battery")
    with pytest.raises(ConfigError, match="already there"):
        invite(collection.store, "test", "Jose\u0301")
