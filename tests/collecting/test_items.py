"""What goes in, with its judgements, and what is counted out."""

from collecting_people import annotator, answer, groups

from rewardsmith.collecting import export_groups
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.items import add_items
from rewardsmith.records import Comparison, Message, PreferenceGroup


def test_pairs_are_cut_from_longer_lists_and_joined_again_in_the_export(make):
    collection = make()
    report = add_items(collection.store, collection.project, groups(2, 4))
    assert report.items == 12
    few = make(pairs=2)
    assert add_items(few.store, few.project, groups(2, 4)).items == 4


def test_what_cannot_be_asked_is_counted_by_reason(make):
    collection = make(task="ranking")
    odd = [PreferenceGroup("q", ("same", "same")), groups(1, 10)[0], groups(1, 3)[0], groups(1, 3)[0]]
    report = add_items(collection.store, collection.project, odd)
    assert report.items == 1
    assert dict(report.dropped) == {
        "fewer than two different answers": 1,
        "more than 9 answers": 1,
        "already there": 1,
    }


def test_gold_needs_a_right_answer(make):
    collection = make()
    right = PreferenceGroup("q", ("a", "b"), (Comparison(1, 0),))
    report = add_items(collection.store, collection.project, [right, *groups(1)], "gold")
    assert report.items == 1
    assert report.dropped["no right answer in the comparisons"] == 1


def test_an_answer_that_names_a_model_is_marked(make):
    collection = make()
    report = add_items(collection.store, collection.project, [PreferenceGroup("q", ("I am ChatGPT.", "I am not."))])
    assert report.names_model == 1


def test_names_that_no_database_can_hold_are_mended_not_crashed_on(make, database):
    collection = make(0, database=database)
    edges = (Comparison(0, 1, annotator="a\x00\ud83d"), Comparison(1, 0, annotator="b" * 500))
    group = PreferenceGroup("q\x00\ud83d", ("a\ud800", "b\x00"), edges, models=("m\x00", "n\udfff"))
    report = add_items(collection.store, collection.project, [group])
    assert (report.items, report.judgements) == (1, 2)
    (item,) = load_items(collection.store)
    assert item.models == ("m\ufffd", "n?")
    assert item.completions == ("a\ud800", "b\x00")


def test_a_project_about_steps_takes_items_with_steps(make):
    collection = make(questions=[{"name": "first", "task": "steps"}])
    steps = PreferenceGroup("2 + 2?", ("a\nb",), metadata={"steps": ["a", "b"]})
    report = add_items(collection.store, collection.project, [steps, *groups(2, 1)])
    assert (report.items, dict(report.dropped)) == (1, {"no steps, which are what is asked about": 2})


def test_what_people_said_after_an_import_comes_along_with_the_next_one(make):
    collection = make()
    ann, bob = Comparison(0, 1, annotator="ann"), Comparison(1, 0, annotator="bob")
    early, late = (PreferenceGroup("Q?", ("yes", "no"), edges) for edges in ((ann,), (ann, bob)))
    assert add_items(collection.store, collection.project, [early]).judgements == 1
    report = add_items(collection.store, collection.project, [late])
    assert (report.judgements, report.items, report.dropped["already there"]) == (1, 0, 0)
    assert add_items(collection.store, collection.project, [late]).dropped["already there"] == 1
    (item,) = load_items(collection.store)
    assert len(item.judgements) == 2


def test_an_export_that_comes_back_doubles_nobody(make):
    collection = make(1, repeats=0)
    answer(collection, annotator(collection))
    groups = export_groups(collection.store, collection.project)
    report = add_items(collection.store, collection.project, groups)
    assert (report.judgements, report.dropped["already there"]) == (0, 1)
    assert export_groups(collection.store, collection.project)[0].comparisons == groups[0].comparisons


def test_what_the_page_cannot_show_is_left_out_and_counted(make):
    collection = make()
    part = {"type": "image", "image": "x.png"}
    seen = (Message.from_dict({"role": "user", "content": [part, {"type": "text", "text": "what?"}]}),)
    told = (Message.from_dict({"role": "user", "content": [{"type": "text", "text": "what?"}]}),)
    groups = [
        PreferenceGroup(seen, ("a cat", "a dog")),
        PreferenceGroup("what?", ("a cat", "a dog"), metadata={"images": ["x.png"]}),
        PreferenceGroup(told, ("a cat", "a dog")),
    ]
    report = add_items(collection.store, collection.project, groups)
    assert (report.items, dict(report.dropped)) == (1, {"pictures or sound, which the page does not show": 2})
