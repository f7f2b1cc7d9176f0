"""Answers, skips, drafts and undo."""

import threading
import time
from collections import Counter

import pytest
import sqlalchemy as sa
from collecting_people import annotator, answer, groups
from sqlalchemy.exc import IntegrityError

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.assigning import claim, release_expired
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.panels import enter, finish
from rewardsmith.collecting.people import find_visitor
from rewardsmith.collecting.saving import LeaseLost, Submission, save_draft, submit, undo
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison, PreferenceGroup

GIVEN = {"answers": {"overall": {"order": [[0], [1]]}}}


def send(collection, person, one, key="k", kind="answer", given=GIVEN):
    sent = Submission(one.slot_id, one.token, key, kind, given, 1000)
    return submit(collection.store, collection.settings_id, collection.project, person, sent)


def back(collection, person):
    return undo(collection.store, collection.settings_id, collection.project, person)


def count(collection, table):
    with collection.store.transaction() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_the_same_key_twice_stores_once_and_answers_alike(make):
    collection = make(2)
    person = annotator(collection)
    one = claim(collection.store, collection.project, person)
    first, second = (send(collection, person, one) for _ in range(2))
    assert first == second
    assert count(collection, t.judgement) == 1


def test_a_wrong_token_or_another_persons_slot_is_refused(make):
    collection = make(2)
    person, other = annotator(collection, "a"), annotator(collection, "b")
    one = claim(collection.store, collection.project, person)
    with pytest.raises(LeaseLost):
        send(collection, other, one)
    sent = Submission(one.slot_id, "forged", "k", "answer", GIVEN)
    with pytest.raises(LeaseLost):
        submit(collection.store, collection.settings_id, collection.project, person, sent)
    assert count(collection, t.judgement) == 0


def test_a_late_answer_is_refused_when_the_seat_is_taken(make):
    collection = make(1, lease_minutes=1)
    slow, quick = annotator(collection, "slow"), annotator(collection, "quick")
    one = claim(collection.store, collection.project, slow)
    taken = claim(collection.store, collection.project, quick, now=time.time() + 61)
    with pytest.raises(LeaseLost, match="ran out"):
        send(collection, slow, one)
    send(collection, quick, taken, key="q")
    assert count(collection, t.judgement) == 1


def test_a_late_answer_is_taken_while_the_seat_is_free(make):
    collection = make(2)
    person = annotator(collection)
    one = claim(collection.store, collection.project, person)
    with collection.store.transaction() as connection:
        release_expired(connection, time.time() + 10_000)
    assert send(collection, person, one).revision == 1


def test_a_skip_opens_the_seat_for_others_and_never_comes_back(make):
    collection = make(1)
    person, other = annotator(collection, "a"), annotator(collection, "b")
    one = claim(collection.store, collection.project, person)
    send(collection, person, one, kind="skip", given={"reason": "not my language"})
    assert claim(collection.store, collection.project, person) is None
    assert claim(collection.store, collection.project, other).item_id == one.item_id
    assert load_items(collection.store)[0].judgements == ()


def test_undo_goes_back_step_by_step_and_keeps_every_row(make):
    collection = make(3, repeats=0)
    person = annotator(collection)
    first, second = answer(collection, person)[0], answer(collection, person)[0]
    for expected in (second, first):
        assert back(collection, person) == expected.slot_id
        again = claim(collection.store, collection.project, person)
        assert again.slot_id == expected.slot_id
        assert again.shown == expected.shown
        assert again.draft["answers"]["overall"]["order"] == [[0], [1]]
    assert back(collection, person) is None
    send(collection, person, again, given={"answers": {"overall": {"order": [[1], [0]]}}})
    judged = [one for item in load_items(collection.store) for one in item.judgements]
    assert [one.answer["answers"]["overall"]["order"] for one in judged] == [[[1], [0]]]
    assert count(collection, t.judgement) == 5


def test_a_skip_can_be_undone_while_its_seat_is_free(make):
    collection = make(1)
    person = annotator(collection)
    one = claim(collection.store, collection.project, person)
    send(collection, person, one, kind="skip", given={"reason": "x"})
    assert back(collection, person) == one.slot_id
    assert claim(collection.store, collection.project, person).slot_id == one.slot_id


def test_drafts_come_back_and_lengthen_the_lease(make):
    collection = make(1)
    person = annotator(collection)
    one = claim(collection.store, collection.project, person, now=time.time() - 1000)
    sent = Submission(one.slot_id, one.token, "", "draft", {"rationale": "half a thou"}, 1234)
    assert save_draft(collection.store, collection.project, person, sent)
    again = claim(collection.store, collection.project, person)
    assert (again.draft, again.active_ms) == ({"rationale": "half a thou"}, 1234)
    forged = Submission(one.slot_id, "forged", "", "draft", {}, 0)
    assert not save_draft(collection.store, collection.project, person, forged)


def test_raters_who_agree_end_an_item_early_and_undo_opens_it_again(make):
    collection = make(1, overlap=4, stop={"agree": 2})
    people = [annotator(collection, f"p{n}") for n in range(4)]
    for person in people[:2]:
        answer(collection, person)
    assert load_items(collection.store)[0].is_closed
    assert claim(collection.store, collection.project, people[2]) is None
    back(collection, people[0])
    assert claim(collection.store, collection.project, people[2]) is not None


@pytest.mark.parametrize("statement", [sa.delete(t.judgement), sa.update(t.judgement).values(kind="skip")])
def test_judgements_cannot_be_changed_or_removed(make, statement):
    collection = make(1)
    answer(collection, annotator(collection))
    with pytest.raises(IntegrityError, match="append-only"), collection.store.transaction() as connection:
        connection.execute(statement)


def test_an_answer_weeks_after_its_page_is_stored_with_the_time_of_this_sitting(make, database):
    collection = make(0, database=database)
    practice = PreferenceGroup("q", ("a", "b"), (Comparison(0, 1),))
    add_items(collection.store, collection.project, [practice], "practice")
    person = annotator(collection)
    claim(collection.store, collection.project, person, now=time.time() - 90 * 86400)
    again = claim(collection.store, collection.project, person)
    receipt = send(collection, person, again)
    with collection.store.transaction() as connection:
        took = connection.execute(sa.select(t.judgement.c.elapsed_ms).where(t.judgement.c.id == receipt.judgement_id))
        assert 0 <= took.scalar_one() < 60_000


@pytest.mark.parametrize("days", [-400, 90], ids=["the clock went back", "a lease of months"])
def test_the_time_on_an_item_is_never_negative_and_never_too_large_to_store(make, database, days):
    collection = make(1, database=database, lease_minutes=1_000_000)
    person = annotator(collection)
    one = claim(collection.store, collection.project, person, now=time.time() - 86400 * days)
    receipt = send(collection, person, one)
    with collection.store.transaction() as connection:
        took = connection.execute(sa.select(t.judgement.c.elapsed_ms).where(t.judgement.c.id == receipt.judgement_id))
        assert took.scalar_one() == (0 if days < 0 else 2**31 - 1)


def test_undo_passes_over_a_skip_whose_seat_is_taken(make, database):
    collection = make(2, repeats=0, database=database)
    person, other = annotator(collection, "a"), annotator(collection, "b")
    first = answer(collection, person)[0]
    skipped = claim(collection.store, collection.project, person)
    send(collection, person, skipped, kind="skip", given={"reason": "x"})
    assert claim(collection.store, collection.project, other).slot_id == skipped.slot_id
    assert back(collection, person) == first.slot_id


def test_a_participant_with_the_completion_code_takes_nothing_back(make):
    collection = make(2, repeats=0, panels=[{"name": "pilot", "code": "DONE"}])
    token = enter(collection.store, collection.project.panels[0], {"PROLIFIC_PID": "p"})
    person = find_visitor(collection.store, token).person_id
    answer(collection, person)
    finish(collection.store, person)
    with pytest.raises(DataError, match="handed in"):
        back(collection, person)
    assert sum(len(item.judgements) for item in load_items(collection.store)) == 1


def test_a_draft_takes_a_lapsed_lease_up_again_while_the_seat_is_free(make, database):
    collection = make(2, lease_minutes=1, database=database)
    person, other = annotator(collection, "a"), annotator(collection, "b")
    one = claim(collection.store, collection.project, person, now=time.time() - 100)
    with collection.store.transaction() as connection:
        release_expired(connection, time.time())
    sent = Submission(one.slot_id, one.token, "", "draft", {"rationale": "typed for long"}, 1)
    assert save_draft(collection.store, collection.project, person, sent)
    assert claim(collection.store, collection.project, person).draft == {"rationale": "typed for long"}
    with collection.store.transaction() as connection:
        release_expired(connection, time.time() + 100)
    claim(collection.store, collection.project, other)
    assert not save_draft(collection.store, collection.project, person, sent)


def test_a_second_tab_is_told_that_the_item_was_answered_in_the_first(make):
    collection = make(2)
    person = annotator(collection)
    one = claim(collection.store, collection.project, person)
    send(collection, person, one)
    with pytest.raises(LeaseLost, match="answered this item already"):
        send(collection, person, one, key="other tab")


def test_late_answers_drafts_and_undo_at_once_lose_nothing_and_stay_within_the_overlap(make, database):
    collection = make(0, overlap=2, repeats=0, stop={"agree": 2}, database=database, lease_minutes=1)
    add_items(collection.store, collection.project, groups(8))
    people = [annotator(collection, f"p{n}") for n in range(5)]
    acknowledged, failures = [], []

    def work(person, turn):
        for n in range(15):
            try:
                # The lease has lapsed when the answer comes, and others let go of lapsed leases all the time.
                one = claim(collection.store, collection.project, person, now=time.time() - (70 if n % 2 else 0))
                if one is None:
                    return
                sent = Submission(one.slot_id, one.token, "", "draft", {"rationale": str(n)}, 1)
                save_draft(collection.store, collection.project, person, sent)
                receipt = send(collection, person, one, key=f"{person}-{n}")
                if (n + turn) % 5 == 0:
                    back(collection, person)
                else:
                    acknowledged.append((person, receipt.judgement_id))
            except LeaseLost:
                continue
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=work, args=(person, turn)) for turn, person in enumerate(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    items = load_items(collection.store)
    counted = Counter((item.item_id, judged.alias) for item in items for judged in item.judgements)
    assert max(counted.values()) == 1
    assert all(len(item.judgements) <= 2 for item in items)
    with collection.store.transaction() as connection:
        rows = {row.id: row.person_id for row in connection.execute(sa.select(t.judgement))}
    assert all(rows[number] == person for person, number in acknowledged)
