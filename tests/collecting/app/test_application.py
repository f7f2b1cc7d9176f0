"""The application as a whole: who is sent where, and a database that fails."""

import re

import sqlalchemy as sa
from collecting_site import Visit, come, hidden, site
from sqlalchemy.exc import OperationalError

from rewardsmith.collecting import tables as t
from rewardsmith.collecting.app.application import build_app
from rewardsmith.collecting.people import invite


def test_the_first_page_sends_everybody_to_where_they_work(make):
    collection = make(1)
    app = site(collection)
    assert Visit(app).client.get("/").url.path == "/login"
    assert come(collection, app, "ann").client.get("/").url.path == "/work"
    assert come(collection, app, "boss", "owner").client.get("/").url.path == "/owner"


def test_health_says_which_version_of_the_database_answers(make):
    collection = make(1)
    assert Visit(site(collection)).client.get("/health").json() == {"version": collection.store.version()}


def test_no_description_of_the_routes_is_handed_out(make):
    client = Visit(site(make(1))).client
    assert {client.get(path).status_code for path in ("/docs", "/redoc", "/openapi.json", "/nothing")} == {404}


def test_https_asks_for_cookies_that_go_over_nothing_else(make):
    collection = make(1)
    visit = Visit(build_app(collection, is_https=True))
    visit.client.base_url = "https://label.example.org"
    visit.client.follow_redirects = False
    cookies = visit.accept(f"/invite/{invite(collection.store, 'test', 'ann')}").headers.get_list("set-cookie")
    assert all("secure" in cookie.lower() and cookie.startswith("__Host-") for cookie in cookies)


def test_a_judgement_that_the_database_cannot_take_is_not_acknowledged_and_can_be_sent_again(make):
    collection = make(2)
    visit = come(collection, site(collection), "ann")
    page = visit.client.get("/work").text

    def full(connection, cursor, statement, *_):
        if statement.startswith("INSERT INTO judgement"):
            raise OperationalError(statement, {}, Exception("database or disk is full"))

    sa.event.listen(collection.store.engine, "before_cursor_execute", full)
    failed = visit.save(page, q0="0", rationale="so")
    sa.event.remove(collection.store.engine, "before_cursor_execute", full)
    assert failed.status_code == 503
    assert "Nothing of this page was saved" in failed.text
    assert visit.save(page, q0="0", rationale="so").status_code == 200
    with collection.store.transaction() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(t.judgement)).scalar_one() == 1


def test_links_of_the_owners_pages_carry_the_public_address(make):
    collection = make(1, panels=[{"name": "pilot", "code": "DONE"}])
    app = build_app(collection, public_url="https://label.example.org")
    boss = come(collection, app, "boss", "owner")
    assert "https://label.example.org/panel/" in boss.client.get("/owner").text
    csrf = hidden(boss.client.get("/owner/people").text, "csrf")
    page = boss.client.post("/owner/people", data={"csrf": csrf, "action": "invite", "name": "ann"}).text
    assert re.search(r"https://label\.example\.org/invite/[\w-]{32}", page)
