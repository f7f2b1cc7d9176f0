"""What an annotator does on the page."""

import pytest
import sqlalchemy as sa
from collecting_people import groups
from collecting_site import come, site

from rewardsmith.collecting import export_groups
from rewardsmith.collecting import tables as t
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.items import add_items
from rewardsmith.records import Comparison, PreferenceGroup

KINDS = {
    "pair": ({"task": "pair", "strength": 3}, 2, {"q0": "0", "q0.strength": "2"}),
    "tie": ({"task": "pair"}, 2, {"q0": "tie"}),
    "both bad": ({"task": "pair"}, 2, {"q0": "bad"}),
    "ranking": ({"task": "ranking"}, 3, {"q0.0": "2", "q0.1": "1", "q0.2": "2"}),
    "best": ({"task": "best"}, 4, {"q0": "3"}),
    "none": ({"task": "best"}, 3, {"q0": "none"}),
    "rating": (
        {"questions": [{"name": "quality", "task": "rating", "scales": [{"name": "helpfulness"}]}]},
        2,
        {"q0.0.0": "4", "q0.0.1": "2"},
    ),
    "criteria": (
        {"questions": [{"name": "checks", "task": "criteria", "criteria": ["correct", "safe"]}]},
        1,
        {"q0.0.0": "1", "q0.1.0": "0"},
    ),
}


def stored(collection):
    with collection.store.transaction() as connection:
        return connection.execute(sa.select(t.judgement).order_by(t.judgement.c.id.desc())).first()


@pytest.mark.parametrize("name", KINDS)
def test_every_task_is_stored_by_completion_not_by_place(make, name):
    settings, answers, form = KINDS[name]
    collection = make(1, answers=answers, **settings)
    if answers == 1:
        add_items(collection.store, collection.project, groups(1, 1))
    visit = come(collection, site(collection), "ann")
    page = visit.save(visit.client.get("/work").text, **form)
    assert page.status_code == 200
    row = stored(collection)
    answer = next(iter(row.answer["answers"].values()))
    place = {number: index for index, number in enumerate(row.shown)}
    if name == "pair":
        assert [place[group[0]] for group in answer["order"]] == [0, 1]
        assert answer["strength"] == 2
    elif name in ("tie", "both bad"):
        assert answer["order"] == [[0, 1]]
        assert bool(answer.get("both_bad")) == (name == "both bad")
    elif name == "ranking":
        assert [sorted(place[n] for n in group) for group in answer["order"]] == [[1], [0, 2]]
        assert "Saved. B, then A = C." in page.text
    elif name == "best":
        assert place[answer["best"]] == 3
    elif name == "none":
        assert answer == {"best": None}
    elif name == "rating":
        assert [answer["ratings"]["helpfulness"][n] for n in row.shown] == [4, 2]
    else:
        assert answer == {"criteria": {"correct": [True], "safe": [False]}}


def test_the_first_wrong_step_is_stored_and_exported_as_step_ratings(make):
    collection = make(questions=[{"name": "first", "task": "steps", "text": "Which step is wrong first?"}])
    steps = PreferenceGroup("2 + 2?", ("a\nb\nc",), metadata={"steps": ["a", "b", "c"]})
    add_items(collection.store, collection.project, [steps])
    visit = come(collection, site(collection), "ann")
    page = visit.client.get("/work").text
    # Steps have one view; buttons of others would do nothing.
    assert "view-diff" not in page
    visit.save(page, **{"q0.0": "1"})
    group = export_groups(collection.store, collection.project)[0]
    assert group.metadata["first_error"] == 1
    assert group.metadata["step_ratings"] == [1, -1, None]


def test_an_incomplete_answer_stays_on_the_page_with_what_was_typed(make):
    collection = make(1, answers=3, task="ranking")
    visit = come(collection, site(collection), "ann")
    page = visit.save(visit.client.get("/work").text, **{"q0.0": "1", "rationale": "half"})
    assert page.status_code == 422
    assert "Please place every answer" in page.text
    assert "half" in page.text
    assert stored(collection) is None
    assert "half" in visit.client.get("/work").text


def test_a_page_sent_twice_stores_once(make):
    collection = make(2)
    visit = come(collection, site(collection), "ann")
    page = visit.client.get("/work").text
    for _ in range(2):
        assert visit.save(page, q0="0").status_code == 200
    with collection.store.transaction() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(t.judgement)).scalar_one() == 1


def test_skip_flag_comment_and_time_are_stored(make):
    collection = make(3)
    visit = come(collection, site(collection), "ann")
    visit.save(visit.client.get("/work").text, q0="0", flag="harmful", comment="odd", active_ms="4200")
    row = stored(collection)
    assert (row.answer["flags"], row.answer["comment"], row.active_ms) == (["harmful"], "odd", 4200)
    page = visit.client.get("/work").text
    visit.save(page, action="skip", reason="Not my language")
    assert (stored(collection).kind, stored(collection).answer) == ("skip", {"reason": "Not my language"})


def test_undo_shows_the_item_again_with_its_answer(make):
    collection = make(2)
    visit = come(collection, site(collection), "ann")
    page = visit.save(visit.client.get("/work").text, q0="1").text
    again = visit.client.post("/undo", data={"csrf": visit.fields(page)["csrf"]}).text
    assert 'name="q0" value="1" data-key="b" checked' in again


def test_practice_comes_first_with_feedback(make):
    collection = make(2)
    practice = PreferenceGroup("Practice?", ("yes", "no"), (Comparison(0, 1),), metadata={"feedback": "Yes is polite."})
    assert add_items(collection.store, collection.project, [practice], "practice").items == 1
    visit = come(collection, site(collection), "ann")
    page = visit.client.get("/work").text
    assert "Practice" in page
    wrong = "1" if page.index("<p>yes</p>") < page.index("<p>no</p>") else "0"
    feedback = visit.save(page, q0=wrong).text
    assert "Look again" in feedback
    assert "Yes is polite." in feedback
    assert export_groups(collection.store, collection.project) == []


def test_the_page_names_no_model_and_no_place_of_the_item(make):
    collection = make(5, answers=4, task="ranking")
    visit = come(collection, site(collection), "ann")
    page = visit.client.get("/work").text
    assert "model-" not in page
    assert "1 done, 4 left" in visit.save(page, **{f"q0.{n}": str(n + 1) for n in range(4)}).text


def test_several_questions_on_one_item(make):
    questions = [{"name": "overall", "task": "pair"}, {"name": "safe", "task": "pair", "text": "Safer?"}]
    collection = make(1, questions=questions)
    visit = come(collection, site(collection), "ann")
    assert visit.save(visit.client.get("/work").text, q0="0").status_code == 422
    visit.save(visit.client.get("/work").text, q0="0", q1="1")
    answers = stored(collection).answer["answers"]
    assert answers["overall"]["order"] == answers["safe"]["order"][::-1]


@pytest.mark.parametrize("view", ["text", "raw", "diff", "nonsense"])
def test_views_show_the_same_item(make, view):
    collection = make(1)
    visit = come(collection, site(collection), "ann")
    page = visit.client.get(f"/work?view={view}")
    assert page.status_code == 200
    assert ("<del>" in page.text or "<ins>" in page.text) == (view == "diff")


def test_a_page_that_comes_back_and_is_changed_is_not_taken_for_the_first(make):
    collection = make(3, repeats=0)
    ann = come(collection, site(collection), "ann")
    page = ann.client.get("/work").text
    first = ann.save(page, q0="0", rationale=" because ")
    assert "Saved. A, then B." in first.text
    assert "Saved. A, then B." in ann.save(page, q0="0", rationale="because").text
    changed = ann.save(page, q0="1", rationale="of that")
    assert changed.status_code == 409
    assert "answered this item already" in changed.text
    assert "of that" in changed.text
    assert ann.save(page, q0="0", rationale="another reason").status_code == 409
    assert sum(len(item.judgements) for item in load_items(collection.store)) == 1


def test_steps_can_be_read_as_they_were_written(make):
    collection = make(task="steps", question="Which step is the first wrong one?")
    group = PreferenceGroup("12*13?", ("a\nb",), metadata={"steps": ["12*13 = *156*", "so 156"]})
    assert add_items(collection.store, collection.project, [group]).items == 1
    ann = come(collection, site(collection), "ann")
    assert "12*13 = <em>156</em>" in ann.client.get("/work").text
    assert "12*13 = *156*</pre>" in ann.client.get("/work?view=raw").text


def test_a_link_leads_past_long_answers(make):
    collection = make(repeats=0)
    add_items(collection.store, collection.project, [PreferenceGroup("q", ("short", "long " * 1000))])
    page = come(collection, site(collection), "ann").client.get("/work").text
    assert 'href="#questions"' in page
    assert 'id="questions"' in page
