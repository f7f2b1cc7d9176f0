"""How far a project is."""

from collecting_people import annotator, answer, groups

from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.saving import Submission, submit
from rewardsmith.collecting.status import status_counts
from rewardsmith.records import Comparison, PreferenceGroup


def test_every_number_of_the_status_is_of_what_it_says(make, database):
    collection = make(3, overlap=2, repeats=0, gold={"share": 0}, database=database)
    labelled = [PreferenceGroup(f"{n}?", ("yes", "no"), (Comparison(0, 1, annotator="x"),)) for n in range(3)]
    add_items(collection.store, collection.project, labelled[:1], "gold")
    add_items(collection.store, collection.project, labelled[1:2], "practice")
    add_items(collection.store, collection.project, labelled[2:])
    ann, bob = annotator(collection, "ann"), annotator(collection, "bob")
    for _ in range(3):
        answer(collection, ann)
    answer(collection, bob)
    one = claim(collection.store, collection.project, bob)
    sent = Submission(one.slot_id, one.token, "skipped", "skip", {"reason": "x"})
    submit(collection.store, collection.settings_id, collection.project, bob, sent)
    counts = status_counts(collection.store)
    assert {name: counts[name] for name in ("items", "seats", "gold", "practice", "annotators", "skips")} == {
        "items": 4,
        "seats": 8,
        "gold": 1,
        "practice": 1,
        "annotators": 2,
        "skips": 1,
    }
    # Ann did practice and two items, Bob practice; both hold their next one.
    assert (counts["done"], counts["held"]) == (2, 2)


def test_an_item_that_ended_early_asks_for_no_more(make):
    collection = make(0, overlap=3, stop={"agree": 2}, repeats=0)
    add_items(collection.store, collection.project, groups(1))
    for name in "ab":
        answer(collection, annotator(collection, name))
    counts = status_counts(collection.store)
    assert (counts["done"], counts["seats"]) == (2, 2)
