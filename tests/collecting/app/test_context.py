"""What the pages share: fields of forms, tokens, and text that nobody wrote for us."""

import pytest
from collecting_site import Visit, come, hidden, site
from starlette.datastructures import FormData

from rewardsmith.collecting.app.context import MOST_FIELDS, text_of


@pytest.mark.parametrize(
    ("given", "text"), [("a", "a"), ("a\x00b", "a\ufffdb"), ("\ud83d", "?"), (None, ""), ("\u202e", "\u202e")]
)
def test_a_field_is_text_that_a_database_can_hold(given, text):
    assert text_of(FormData({} if given is None else {"name": given}), "name") == text


def test_a_form_of_too_many_fields_or_with_a_file_is_refused(make):
    collection = make(1)
    client = come(collection, site(collection), "ann").client
    csrf = hidden(client.get("/guidelines").text, "csrf")
    many = {"csrf": csrf, **{f"q{n}": "1" for n in range(MOST_FIELDS + 1)}}
    assert client.post("/work/1", data=many).status_code == 400
    assert client.post("/work/1", data={"csrf": csrf}, files={"x": b"a file"}).status_code == 400


def test_a_form_before_any_session_belongs_to_the_browser_that_got_it(make):
    collection = make(1)
    app = site(collection)
    come(collection, app, "ann")
    ours, theirs = Visit(app), Visit(app)
    stolen = hidden(theirs.client.get("/login").text, "csrf")
    ours.client.get("/login")
    data = {"name": "ann", "password": "correct horse battery", "csrf": stolen}
    assert ours.client.post("/login", data=data).status_code == 403


def test_what_is_shown_hides_nothing_and_turns_no_direction(make):
    title = "Fair\u202e answers <b>\u200b"
    collection = make(1, title=title, question="Which\u2066 one?")
    visit = come(collection, site(collection), "ann")
    for path in ("/work", "/guidelines", "/finished"):
        page = visit.client.get(path).text
        assert not set("\u202e\u2066\u200b") & set(page)
        assert "⟨U+202E⟩" in page
        assert "<b>" not in page.replace("<bdi>", "")


def test_what_somebody_typed_comes_back_as_it_was(make):
    collection = make(1, answers=3, task="ranking")
    visit = come(collection, site(collection), "ann")
    typed = "soft\u00adhyphen \u200f <b>"
    page = visit.save(visit.client.get("/work").text, rationale=typed, comment=typed)
    assert page.status_code == 422
    assert page.text.count("soft\u00adhyphen \u200f &lt;b&gt;") == 2
