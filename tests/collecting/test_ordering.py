"""Open items come in their order, which is recorded with every judgement."""

import pytest
from collecting_people import annotator, answer

from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.ordering import apply_order, open_items, rated_predictions
from rewardsmith.errors import DataError


def test_the_highest_value_comes_first_and_is_recorded(make):
    collection = make(5, repeats=0)
    items = open_items(collection.store)
    wanted = {item.item_id: float(value) for item, value in zip(items, (3, 9, 1, 7, 5), strict=True)}
    apply_order(collection.store, "gap", wanted)
    person = annotator(collection)
    seen = []
    while claim(collection.store, collection.project, person) is not None:
        seen.append(answer(collection, person)[0].item_id)
    assert seen == sorted(wanted, key=wanted.get, reverse=True)
    judged = {item.item_id: item.judgements[0] for item in load_items(collection.store)}
    assert {number: one.order_value for number, one in judged.items()} == wanted
    assert {one.order_name for one in judged.values()} == {"gap"}


def test_a_rating_that_is_missing_is_named(make):
    with pytest.raises(DataError, match="has no complete rating 'score'"):
        rated_predictions(open_items(make(1).store), "score")
