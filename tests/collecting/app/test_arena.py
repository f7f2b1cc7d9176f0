"""The arena, against a stub of the chat-completions protocol."""

import pytest
from collecting_site import Visit, come, hidden
from collecting_site import site as plain_site

from rewardsmith.collecting import export_groups
from rewardsmith.collecting.app import arena as module
from rewardsmith.collecting.app.application import build_app
from rewardsmith.collecting.exporting import load_items


@pytest.fixture
def arena(make, endpoint):
    collection = make()
    app = build_app(collection, endpoints={"one": endpoint, "two": endpoint, "three": endpoint})
    return collection, app


def ask(visit, prompt="Why?"):
    page = visit.client.get("/arena").text
    csrf = hidden(page, "csrf")
    answer = visit.client.post("/arena/ask", data={"csrf": csrf, "prompt": prompt})
    item = answer.json()["item"]
    return item, csrf, [visit.client.post(f"/arena/{item}/{place}", data={"csrf": csrf}) for place in (0, 1)]


def test_a_vote_on_live_answers_is_exported_like_any_other(arena):
    collection, app = arena
    visit = come(collection, app, "ann")
    item, csrf, answers = ask(visit)
    assert all(answer.text.startswith("I think Why?") for answer in answers)
    assert (
        visit.client.post(f"/arena/{item}", data={"csrf": csrf, "choice": "1", "rationale": "kind"}).status_code == 200
    )
    (group,) = export_groups(collection.store, collection.project)
    assert group.prompt == "Why?"
    assert [c[::-1].find(m) >= 0 for c, m in zip(group.completions, group.models, strict=True)] == [True, True]
    assert [(edge.better, edge.worse, edge.rationale) for edge in group.comparisons] == [(1, 0, "kind")]


def test_a_whole_answer_is_shown_as_safe_markdown_to_whom_it_was_given(arena):
    collection, app = arena
    ann, bob = come(collection, app, "ann"), come(collection, app, "bob")
    item, _, _ = ask(ann, "**Why** <script>?")
    for place in (0, 1):
        shown = ann.client.get(f"/arena/{item}/{place}").text
        assert "<strong>Why</strong> &lt;script&gt;?" in shown
        assert bob.client.get(f"/arena/{item}/{place}").status_code == 404
    assert ann.client.get(f"/arena/{item}/2").status_code == 404


def test_the_page_never_holds_the_names_of_the_models(arena, endpoint):
    collection, app = arena
    page = come(collection, app, "ann").client.get("/arena").text
    assert endpoint not in page
    assert not any(f'"{name}"' in page or f">{name}<" in page for name in ("one", "two", "three"))


def test_an_answer_that_broke_cannot_be_voted_on(arena):
    collection, app = arena
    visit = come(collection, app, "ann")
    broken = None
    for _ in range(8):
        item, csrf, answers = ask(visit, "break")
        if any("did not answer" in answer.text for answer in answers):
            broken = visit.client.post(f"/arena/{item}", data={"csrf": csrf, "choice": "0"})
            break
    assert broken is not None
    assert broken.status_code == 409
    assert export_groups(collection.store, collection.project) == []


def test_another_persons_question_does_not_exist(arena):
    collection, app = arena
    ann, bob = come(collection, app, "ann"), come(collection, app, "bob")
    item, _, _ = ask(ann)
    csrf = hidden(bob.client.get("/arena").text, "csrf")
    assert bob.client.post(f"/arena/{item}", data={"csrf": csrf, "choice": "0"}).status_code == 404
    assert bob.client.post(f"/arena/{item}/0", data={"csrf": csrf}).status_code == 404


def test_without_endpoints_there_is_no_arena(make):
    collection = make()
    assert come(collection, plain_site(collection), "ann").client.get("/arena").status_code == 404
    assert Visit(plain_site(collection)).client.get("/arena").url.path == "/login"


def test_prompts_are_bounded_in_length_and_number(arena):
    collection, app = arena
    visit = come(collection, app, "ann")
    csrf = hidden(visit.client.get("/arena").text, "csrf")
    assert visit.client.post("/arena/ask", data={"csrf": csrf, "prompt": " "}).status_code == 422
    assert visit.client.post("/arena/ask", data={"csrf": csrf, "prompt": "x" * 8001}).status_code == 422
    codes = [visit.client.post("/arena/ask", data={"csrf": csrf, "prompt": "x"}).status_code for _ in range(12)]
    assert codes == [200] * 10 + [429] * 2


@pytest.mark.parametrize(
    "prompt", ["half", "garbage", "list", "null", "parts", "error", "nothing", "page", "bytes", "line", "stall"]
)
def test_what_is_no_whole_answer_is_said_to_be_none_and_takes_no_vote(arena, monkeypatch, prompt):
    monkeypatch.setattr(module, "SECONDS", 0.3)
    collection, app = arena
    visit = come(collection, app, "ann")
    item, csrf, answers = ask(visit, prompt)
    assert all("\n[the model did not answer: " in answer.text for answer in answers)
    assert visit.client.post(f"/arena/{item}", data={"csrf": csrf, "choice": "0"}).status_code == 409
    assert export_groups(collection.store, collection.project) == []


def test_an_answer_that_never_ends_is_cut_off_after_its_time(arena, monkeypatch):
    monkeypatch.setattr(module, "MOST_SECONDS", -1)
    _, _, answers = ask(come(*arena, "ann"))
    assert all(answer.text == "\n[the model did not answer: BrokenAnswer]" for answer in answers)


def test_what_was_voted_on_is_not_written_over_by_a_late_stream(arena):
    collection, app = arena
    visit = come(collection, app, "ann")
    item, csrf, answers = ask(visit)
    visit.client.post(f"/arena/{item}", data={"csrf": csrf, "choice": "0"})
    module._store_answer(collection.store, item, 0, "another text")
    (judged,) = load_items(collection.store, ("live",))
    assert judged.completions[0] == answers[0].text
    assert visit.client.post(f"/arena/{item}/0", data={"csrf": csrf}).status_code in (404, 409)


def test_an_endpoint_that_fails_is_not_asked_without_end(arena):
    collection, app = arena
    visit = come(collection, app, "ann")
    app.state.context.streams.most = 4
    item, csrf, _ = ask(visit, "nothing")
    codes = [visit.client.post(f"/arena/{item}/0", data={"csrf": csrf}).status_code for _ in range(4)]
    assert codes == [200] * 2 + [429] * 2


@pytest.mark.parametrize(
    ("event", "piece", "is_last"),
    [
        ('{"choices": [{"delta": {"content": "a"}}]}', "a", False),
        ('{"choices": [{"delta": {}, "finish_reason": "stop"}]}', "", True),
        ('{"choices": [{"delta": {"content": "z"}, "finish_reason": "length"}]}', "z", True),
        ('{"choices": [{"delta": {"content": null, "role": "assistant"}, "finish_reason": ""}]}', "", False),
        ('{"choices": [], "usage": {}}', "", False),
    ],
)
def test_events_as_servers_send_them_are_read(event, piece, is_last):
    assert module.read_event(event) == (piece, is_last)


def test_a_vote_that_is_sent_twice_counts_once_and_is_no_error(make, endpoint):
    collection = make()
    app = build_app(collection, endpoints={"one": endpoint, "two": endpoint})
    ann = come(collection, app, "ann")
    csrf = hidden(ann.client.get("/arena").text, "csrf")
    item = ann.client.post("/arena/ask", data={"csrf": csrf, "prompt": "why?"}).json()["item"]
    for place in (0, 1):
        ann.client.post(f"/arena/{item}/{place}", data={"csrf": csrf})
    for _ in range(2):
        page = ann.client.post(f"/arena/{item}", data={"csrf": csrf, "choice": "0"})
        assert "Your vote is saved." in page.text
    (judged,) = load_items(collection.store, ("live",))
    assert len(judged.judgements) == 1
