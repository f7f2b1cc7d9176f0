"""Coming in and going out."""

import pytest
from collecting_site import PASSWORD, Visit, come, hidden, site

from rewardsmith.collecting.panels import panel_link
from rewardsmith.collecting.people import invite, reset

IDS = {"PROLIFIC_PID": "abc", "STUDY_ID": "s", "SESSION_ID": "x1"}


def test_somebody_invited_chooses_a_password_and_comes_again_with_it(make):
    collection = make(1)
    app = site(collection)
    come(collection, app, "ann")
    assert Visit(app).log_in("ann").url.path == "/work"
    assert Visit(app).log_in("ann", "wrong password").status_code == 401


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [("short", "short", "10 to 200 characters"), (PASSWORD, PASSWORD + "x", "The two passwords differ")],
)
def test_a_password_that_will_not_do_is_asked_for_again(make, first, second, message):
    collection = make(1)
    visit, link = Visit(site(collection)), f"/invite/{invite(collection.store, 'test', 'ann')}"
    data = {"csrf": hidden(visit.client.get(link).text, "csrf"), "password": first, "again": second}
    answer = visit.client.post(link, data=data)
    assert answer.status_code == 422
    assert message in answer.text
    assert visit.accept(link).status_code == 200


def test_a_new_link_ends_what_was_open_before(make):
    collection = make(1)
    app = site(collection)
    ann = come(collection, app, "ann")
    link = f"/invite/{reset(collection.store, 'owner', 'ann')}"
    assert ann.client.get("/work").url.path == "/login"
    assert ann.accept(link, "another long password").url.path == "/work"


def panel(make, **more):
    collection = make(6, repeats=0, panels=[{"name": "pilot", "code": "DONE-42", "quota": 2, **more}])
    link = panel_link(collection.secret(), collection.project.panels[0], "")
    return collection, site(collection), link.split("?")[0]


def enter(app, path, ids=IDS):
    visit = Visit(app)
    page = visit.client.get(path, params=ids).text
    return visit, visit.client.post(path, data={**ids, "csrf": hidden(page, "csrf")})


def test_a_link_without_the_participants_id_is_told_so(make):
    _, app, path = panel(make)
    answer = Visit(app).client.get(path)
    assert answer.status_code == 400
    assert "PROLIFIC_PID" in answer.text


def test_nobody_is_let_in_before_agreeing(make):
    _, app, path = panel(make, consent="You may **stop** at any time. <script>")
    page = Visit(app).client.get(path, params=IDS).text
    assert "<strong>stop</strong>" in page
    assert "<script>" not in page
    assert "You will judge 2 items" in page
    visit = Visit(app)
    visit.client.get(path, params=IDS)
    assert visit.client.get("/work").url.path == "/login"
    assert visit.client.post(path, data=IDS).status_code == 403


@pytest.mark.parametrize("value", ["{{%PROLIFIC_PID%}}", "a b", "<script>", "'; DROP TABLE person; --", "\x00"])
def test_an_id_that_no_marketplace_filled_in_is_refused(make, value):
    _, app, path = panel(make)
    assert enter(app, path, {**IDS, "PROLIFIC_PID": value})[1].status_code == 403


def test_two_devices_of_a_participant_share_one_quota_and_one_item(make):
    _, app, path = panel(make)
    first, page = enter(app, path)
    second, other = enter(app, path)
    slots = [hidden(text.text, "token") for text in (page, other)]
    assert slots[0] == slots[1]
    first.save(page.text, q0="0")
    late = second.save(other.text, q0="1")
    assert late.status_code == 409
    assert "answered this item already" in late.text
    assert "DONE-42" in second.save(second.client.get("/work").text, q0="0").text
    assert "DONE-42" in first.client.get("/work").text


def test_whoever_has_the_code_hands_in_what_was_judged(make):
    _, app, path = panel(make)
    visit, page = enter(app, path)
    for _ in range(2):
        csrf = hidden(page.text, "csrf")
        page = visit.save(page.text, q0="0")
    assert "DONE-42" in page.text
    assert 'id="undo"' not in page.text
    refused = visit.client.post("/undo", data={"csrf": csrf})
    assert refused.status_code == 403
    assert "handed in" in refused.text


def test_whoever_only_skips_gets_no_code(make):
    _, app, path = panel(make)
    visit, page = enter(app, path)
    while 'action="/work/' in page.text:
        page = visit.save(page.text, action="skip", reason="x")
    assert "DONE-42" not in page.text
    assert "Nothing to judge" in page.text


def test_a_participant_sees_neither_arena_nor_log_out(make):
    _, app, path = panel(make)
    visit, page = enter(app, path)
    assert "/logout" not in page.text
    assert visit.client.get("/arena").status_code == 404
    assert visit.client.get("/owner").status_code == 404
