"""The owner's pages."""

import pytest
from collecting_people import groups
from collecting_site import come, hidden, site

from rewardsmith.collecting import create
from rewardsmith.collecting.app.owner import rater_plot, show
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.quality import RaterQuality
from rewardsmith.records import Comparison, Estimate, PreferenceGroup

HOSTILE = "<script>alert(1)</script>\u202e\x00\ud83d{{ 7 * 7 }}"


def test_numbers_come_with_their_interval_or_with_why_there_is_none():
    assert show(Estimate(0.5, 10, 0.25, 0.75)) == "50% <small>[25, 75]</small>"
    assert show(Estimate(0.5, 10, 0.25, 0.75), percent=False) == "0.50 <small>[0.25, 0.75]</small>"
    assert "not yet" in show(Estimate(float("nan"), 0))
    assert "all alike" in show(Estimate(float("nan"), 5))


def test_the_plot_has_a_dot_for_everybody_who_can_be_compared():
    nan, known = Estimate(float("nan"), 0), Estimate(0.8, 9, 0.6, 0.9)
    raters = [RaterQuality(name, 9, one, nan, nan, nan, 1.0, nan, nan) for name, one in (("<r1>", known), ("r2", nan))]
    plot = rater_plot(raters)
    assert plot.count("<circle") == 1
    assert "&lt;r1&gt;" in plot
    assert rater_plot(raters[1:]) == ""


def test_an_empty_project_says_how_to_bring_items_in(make):
    collection = make()
    page = come(collection, site(collection), "boss", "owner").client.get("/owner").text
    assert "rewardsmith collect import answers.jsonl" in page
    assert "not yet" in page


def test_the_page_of_an_item_says_what_everybody_said_and_who_skipped(make):
    questions = [
        {"name": "overall", "task": "pair"},
        {"name": "quality", "task": "rating", "scales": [{"name": "tone", "low": 1, "high": 5}]},
        {"name": "checks", "task": "criteria", "criteria": ["safe"]},
    ]
    collection = make(0, questions=questions, overlap=3)
    edges = (Comparison(1, 0, annotator="x", rationale="imported reason"),)
    add_items(collection.store, collection.project, [PreferenceGroup("q", ("a", "b"), edges)])
    app = site(collection)
    boss, ann, bob = come(collection, app, "boss", "owner"), come(collection, app, "ann"), come(collection, app, "bob")
    form = {"q0": "0", "q1.0.0": "4", "q1.0.1": "2", "q2.0.0": "1", "q2.0.1": "0", "rationale": "kind", "comment": "hm"}
    assert "Saved. " in ann.save(ann.client.get("/work").text, **form).text
    bob.save(bob.client.get("/work").text, action="skip", reason="It disturbs me", comment="too much")
    page = boss.client.get("/owner/items/1").text
    for words in ("tone: ", "safe: ", "kind", "hm", "B before A", "imported reason", "It disturbs me", "too much"):
        assert words in page
    assert "yes" in page
    assert "ann" not in page.replace("annotator", "").replace("Annotator", "")


def test_a_skip_that_was_taken_back_is_none(make):
    collection = make(1)
    app = site(collection)
    ann, boss = come(collection, app, "ann"), come(collection, app, "boss", "owner")
    page = ann.save(ann.client.get("/work").text, action="skip", reason="Broken or empty")
    assert "Broken or empty" in boss.client.get("/owner/items/1").text
    ann.client.post("/undo", data={"csrf": hidden(page.text, "csrf")})
    assert "Broken or empty" not in boss.client.get("/owner/items/1").text


def test_people_are_invited_paused_and_let_on_again(make):
    collection = make(2)
    app = site(collection)
    boss, ann = come(collection, app, "boss", "owner"), come(collection, app, "ann")
    csrf = hidden(boss.client.get("/owner/people").text, "csrf")

    def change(action, name="ann"):
        return boss.client.post("/owner/people", data={"csrf": csrf, "action": action, "name": name})

    change("pause")
    assert ann.client.get("/work").status_code == 403
    assert "is not active" in change("pause").text
    change("resume")
    assert ann.client.get("/work").status_code == 200
    assert change("dance").status_code == 400
    assert "nobody is called" in change("revoke", "nobody").text
    assert "/invite/" in change("reset").text
    assert ann.client.get("/work").url.path == "/login"


def test_a_second_round_asks_for_as_many_people_as_chosen(make):
    collection = make(1)
    boss = come(collection, site(collection), "boss", "owner")
    csrf = hidden(boss.client.get("/owner/items/1").text, "csrf")
    assert "0 of 3 people" in boss.client.post("/owner/items/1", data={"csrf": csrf, "more": "2"}).text
    assert boss.client.post("/owner/items/1", data={"csrf": csrf, "more": "99"}).status_code == 422
    assert boss.client.post("/owner/items/77", data={"csrf": csrf, "more": "1"}).status_code == 404


@pytest.mark.parametrize("name", ["проект.yaml", "ü.yaml", 'quo"te.yaml', "new\nline.yaml"])
def test_the_export_of_a_project_of_any_name_comes_as_a_file(tmp_path, name):
    collection = create(tmp_path / name)
    add_items(collection.store, collection.project, groups(1))
    app = site(collection)
    boss, ann = come(collection, app, "boss", "owner"), come(collection, app, "ann")
    ann.save(ann.client.get("/work").text, q0="0")
    csrf = hidden(boss.client.get("/owner").text, "csrf")
    for layout in ("jsonl", "trl"):
        answer = boss.client.post("/owner/export", data={"csrf": csrf, "to": layout, "votes": "all"})
        assert answer.status_code == 200
        assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
        assert len(answer.text.splitlines()) == 1
    assert boss.client.post("/owner/export", data={"csrf": csrf, "to": "exe"}).status_code == 422
    collection.close()


def test_hostile_text_in_any_field_is_shown_and_changes_no_page(make):
    collection = make(0, title=HOSTILE.replace("\x00\ud83d", ""), question="<img src=x onerror=alert(1)>", overlap=2)
    prompt = PreferenceGroup(HOSTILE, (HOSTILE + "1", HOSTILE + "2"), models=(HOSTILE, HOSTILE + "b"),
                             comparisons=(Comparison(0, 1, annotator=HOSTILE, rationale=HOSTILE),))  # fmt: skip
    add_items(collection.store, collection.project, [prompt])
    app = site(collection)
    boss, ann = come(collection, app, "boss", "owner"), come(collection, app, "<b>ann</b> ' onclick=x")
    for view in ("text", "raw", "diff"):
        page = ann.client.get(f"/work?view={view}").text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
    ann.save(page, q0="0", rationale=HOSTILE.replace("\ud83d", ""), comment=HOSTILE.replace("\ud83d", ""), flag="<b>")
    for path in ("/owner", "/owner/items", "/owner/items/1", "/owner/people"):
        answer = boss.client.get(path)
        assert answer.status_code == 200
        assert not any(text in answer.text for text in ("<script>alert", "\u202e", "<b>ann", "\x00", "<img src=x"))
        assert "49" not in answer.text or "{{ 7 * 7 }}" in answer.text
