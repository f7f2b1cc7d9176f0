"""What an attacker tries over HTTP."""

import re

import pytest
from collecting_people import groups
from collecting_site import PASSWORD, Visit, come, hidden, site

from rewardsmith.collecting.app.security import MOST_BYTES, RateLimit
from rewardsmith.collecting.panels import panel_link
from rewardsmith.collecting.people import invite

OWNER_PAGES = ("/owner", "/owner/items", "/owner/items/1", "/owner/people")
OWNER_POSTS = ("/owner/people", "/owner/export", "/owner/release", "/owner/items/1")


def test_every_page_has_the_headers(make):
    collection = make(1)
    answer = Visit(site(collection)).client.get("/login")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?! src)|<style|\son[a-z]+=|javascript:|style=", answer.text)


def test_the_session_cookie_is_closed_to_scripts_and_other_sites(make):
    collection = make(1)
    visit = Visit(site(collection))
    visit.client.follow_redirects = False
    link = f"/invite/{invite(collection.store, 'test', 'ann')}"
    cookie = visit.accept(link).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


@pytest.mark.parametrize("path", OWNER_PAGES)
def test_owner_pages_do_not_exist_for_annotators(make, path):
    collection = make(1)
    assert come(collection, site(collection), "ann").client.get(path).status_code == 404
    stranger = Visit(site(collection)).client.get(path)
    assert stranger.url.path == "/login"


@pytest.mark.parametrize("path", OWNER_POSTS)
def test_owner_actions_do_not_exist_for_annotators(make, path):
    collection = make(1)
    visit = come(collection, site(collection), "ann")
    csrf = hidden(visit.client.get("/guidelines").text, "csrf")
    data = {"csrf": csrf, "more": "1", "action": "invite", "name": "x", "to": "jsonl"}
    assert visit.client.post(path, data=data).status_code == 404


def test_a_form_without_its_token_or_from_elsewhere_is_refused(make):
    collection = make(2)
    visit = come(collection, site(collection), "ann")
    page = visit.client.get("/work").text
    assert visit.save(page, q0="0", csrf="").status_code == 403
    assert visit.save(page, q0="0", csrf="x" * 32).status_code == 403
    slot = re.search(r'action="/work/(\d+)"', page)[1]
    data = {**visit.fields(page), "action": "save", "q0": "0"}
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        assert visit.client.post(f"/work/{slot}", data=data, headers=headers).status_code == 403
    assert visit.client.post("/login", data={"name": "ann", "password": PASSWORD}).status_code == 403


def test_another_persons_form_is_no_use(make):
    collection = make(2)
    app = site(collection)
    ann, bob = come(collection, app, "ann"), come(collection, app, "bob")
    page = ann.client.get("/work").text
    slot, own = re.search(r'action="/work/(\d+)"', page)[1], bob.client.get("/work").text
    data = {**ann.fields(page), "csrf": bob.fields(own)["csrf"], "action": "save", "q0": "0"}
    assert bob.client.post(f"/work/{slot}", data=data).status_code == 409
    assert bob.client.post(f"/draft/{slot}", data=data).status_code == 409


def test_a_session_is_new_after_logging_in_and_gone_after_logging_out(make):
    collection = make(1)
    visit = come(collection, site(collection), "ann")
    before = visit.client.cookies["collect"]
    visit.log_in("ann")
    after = visit.client.cookies["collect"]
    assert before != after
    stale = Visit(site(collection))
    stale.client.cookies.set("collect", before)
    assert stale.client.get("/work").url.path == "/login"
    visit.client.post("/logout", data={"csrf": hidden(visit.client.get("/guidelines").text, "csrf")})
    visit.client.cookies.set("collect", after)
    assert visit.client.get("/work").url.path == "/login"


def test_a_cookie_that_is_not_signed_is_none(make):
    collection = make(1)
    visit = Visit(site(collection))
    visit.client.cookies.set("collect", "x" * 43 + ".forged")
    assert visit.client.get("/work").url.path == "/login"


def test_guessing_passwords_is_slowed_down(make):
    collection = make(1)
    app = site(collection)
    come(collection, app, "ann")
    guesser = Visit(app)
    assert [guesser.log_in("ann", f"wrong guess {n}").status_code for n in range(7)] == [401] * 5 + [429] * 2
    assert guesser.log_in("ann").status_code == 429


def test_a_rate_limit_forgets_after_its_time():
    limit = RateLimit(2, 10)
    assert [limit.allows("a", now) for now in (0, 1, 2, 9, 10.5)] == [True, True, False, False, True]


def test_an_invitation_works_once(make):
    collection = make(1)
    app = site(collection)
    link = f"/invite/{invite(collection.store, 'test', 'ann')}"
    assert Visit(app).accept(link).status_code == 200
    assert Visit(app).client.get(link).status_code == 404
    assert Visit(app).client.get("/invite/guess").status_code == 404


@pytest.mark.parametrize("size", [MOST_BYTES + 1, 5_000_000])
def test_a_body_that_is_too_large_is_refused(make, size):
    collection = make(1)
    visit = come(collection, site(collection), "ann")
    assert visit.save(visit.client.get("/work").text, q0="0", comment="x" * size).status_code == 413


@pytest.mark.parametrize("path", ["/static/../context.py", "/static/%2e%2e/context.py", "/static/..%2f..%2fpeople.py"])
def test_files_outside_the_static_folder_cannot_be_had(make, path):
    collection = make(1)
    assert Visit(site(collection)).client.get(path).status_code == 404


@pytest.mark.parametrize("name", ["' OR 1=1 --", '"; DROP TABLE judgement; --', "%", "a\x00b", "\ud83d", "ann\u202e"])
def test_names_are_data(make, name):
    collection = make(1)
    app = site(collection)
    boss = come(collection, app, "boss", "owner")
    csrf = hidden(boss.client.get("/owner/people").text, "csrf")
    name = name.encode("utf-8", "replace").decode()
    answer = boss.client.post("/owner/people", data={"csrf": csrf, "action": "invite", "name": name})
    assert answer.status_code in (200, 422)
    assert Visit(app).log_in(name).status_code == 401


def panel_site(make, **more):
    panel = {"name": "pilot", "code": "DONE-42", "quota": 2, **more}
    collection = make(5, panels=[panel])
    return site(collection), panel_link(collection.secret(), collection.project.panels[0], "")


def test_a_panel_participant_comes_by_link_and_leaves_with_the_code(make):
    app, link = panel_site(make, redirect="https://app.example/complete?cc=DONE-42")
    path = link.split("?")[0]
    visit = Visit(app)
    page = visit.client.get(f"{path}?PROLIFIC_PID=abc&STUDY_ID=s&SESSION_ID=x1").text
    assert "I agree" in page
    names = ("csrf", "PROLIFIC_PID", "STUDY_ID", "SESSION_ID")
    page = visit.client.post(path, data={name: hidden(page, name) for name in names}).text
    for _ in range(2):
        page = visit.save(page, q0="0")
        page = page.text
    assert "DONE-42" in page
    assert "https://app.example/complete?cc=DONE-42" in page


def test_a_forged_panel_link_and_a_borrowed_participant_are_refused(make):
    app, link = panel_site(make)
    path = link.split("?")[0]
    assert Visit(app).client.get(f"{path[:-3]}xyz?PROLIFIC_PID=abc").status_code == 404
    assert Visit(app).client.get("/panel/InBpbG90Ig?PROLIFIC_PID=abc").status_code == 404
    first, thief = Visit(app), Visit(app)
    ids = {"PROLIFIC_PID": "abc", "STUDY_ID": "s", "SESSION_ID": "x1"}
    for visit, session, status in ((first, "x1", 200), (thief, "x2", 403), (first, "x1", 200)):
        page = visit.client.get(path, params={**ids, "SESSION_ID": session}).text
        data = {**ids, "SESSION_ID": session, "csrf": hidden(page, "csrf")}
        assert visit.client.post(path, data=data).status_code == status


def test_whoever_is_revoked_is_out_at_once(make):
    collection = make(2)
    app = site(collection)
    boss, ann = come(collection, app, "boss", "owner"), come(collection, app, "ann")
    assert ann.client.get("/work").status_code == 200
    csrf = hidden(boss.client.get("/owner/people").text, "csrf")
    boss.client.post("/owner/people", data={"csrf": csrf, "action": "revoke", "name": "ann"})
    assert ann.client.get("/work").url.path == "/login"


def test_a_draft_of_nonsense_is_kept_or_refused_never_a_crash(make):
    collection = make(1, answers=3, task="ranking")
    assert len(groups(1, 3)) == 1
    visit = come(collection, site(collection), "ann")
    page = visit.client.get("/work").text
    slot = re.search(r'action="/work/(\d+)"', page)[1]
    for value in ("-1", "99999999999999", "NaN", "\u0661", "<script>", ""):
        data = {**visit.fields(page), "q0.0": value, "q0.9": value, "active_ms": value}
        assert visit.client.post(f"/draft/{slot}", data=data).status_code == 200
    for bad in ("999999999999999999999", "-1", "0"):
        assert visit.client.post(f"/draft/{bad}", data=visit.fields(page)).status_code in (404, 409)
