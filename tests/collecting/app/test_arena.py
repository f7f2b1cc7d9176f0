"""The arena, against a stub of the chat-completions protocol."""

import pytest
from collecting_site import Visit, come, hidden
from collecting_site import site as plain_site

from rewardsmith.collecting import export_groups
from rewardsmith.collecting.app.application import build_app


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
