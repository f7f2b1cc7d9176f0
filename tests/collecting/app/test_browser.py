"""The whole path in a real browser: an owner, two annotators, a panel participant; axe on every page."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import yaml
from collecting_people import groups

from rewardsmith.collecting import create, open_collection
from rewardsmith.collecting.exporting import load_items
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.people import invite
from rewardsmith.data.loading import load_preferences
from rewardsmith.records import Comparison, PreferenceGroup

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
PASSWORD = "correct horse battery"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
HOSTILE = (
    "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>",
    "[click](javascript:window.hacked=1) [data](data:text/html,<script>window.hacked=1</script>) ![x](http://127.0.0.1:1/t.png)",
    "<svg onload='window.hacked=1'><math><style></math><img src=x onerror=window.hacked=1>",
    "\u202eevil\u202c zero\u200bwidth \u2066iso\u2069 {{ 7 * 7 }} </textarea></form>",
    "> " * 3000 + "deep",
    "**bold " * 20_000,
    "| a | b |\n|---|---|\n| $$x_1 \\\\ y_2$$ | `code` |\n\n```python\nprint('x')\n```",
)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with playwright.sync_playwright() as running:
        one = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


class Server:
    """`rewardsmith collect serve` as a process."""

    def __init__(self, project, *flags) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "rewardsmith", "collect", "serve", "--project", str(project)]
        self.process = subprocess.Popen([*command, "--port", str(self.port), *flags], stderr=subprocess.PIPE, text=True)
        self.owner_link = ""
        for line in self.process.stderr:
            if "/invite/" in line:
                self.owner_link = re.search(r"http\S+", line)[0]
                break
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{self.base}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        self.process.stderr.close()


@pytest.fixture
def project(tmp_path):
    """A ranking project of 20 items with a panel, as the page of the documentation makes it."""
    path = tmp_path / "helpful.yaml"
    panel = {"name": "pilot", "code": "DONE-42", "quota": 3}
    values = {"question": "Which helps more?", "task": "ranking", "overlap": 3, "panels": [panel], "repeats": 0}
    path.write_text(yaml.safe_dump({**values, "guidelines": "# How\n\nBe **fair**."}))
    collection = create(path)
    add_items(collection.store, collection.project, groups(20, 3))
    collection.close()
    return path


def come(context, link):
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(link)
    page.fill("input[name=password]", PASSWORD)
    page.fill("input[name=again]", PASSWORD)
    page.click("button.main")
    page.wait_for_load_state()
    return page


def clean(page):
    """Find no violation on the page; what the browser itself reports counts, too."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe: pip install axe-playwright-python"
    )
    found = axe.Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    assert not found.response["violations"], found.generate_report()


def done(page):
    page.wait_for_selector("#progress")
    return int(page.inner_text("#progress").split()[0])


def by_keyboard(page, keys):
    """Rank by keys and save; waits until the next item is there."""
    before = page.get_attribute("form.work input[name=key]", "value")
    page.keyboard.type(keys)
    page.keyboard.press("Enter")
    page.wait_for_function(
        "old => { const f = document.querySelector('form.work input[name=key]'); return !f || f.value !== old }",
        arg=before,
    )
    page.wait_for_load_state()


def test_from_an_empty_project_to_a_trained_model(project, browser, tmp_path):
    server = Server(project)
    collection = open_collection(project)
    links = {name: f"{server.base}/invite/{invite(collection.store, 'test', name)}" for name in ("ann", "bob")}
    try:
        owner = come(browser.new_context(), server.owner_link)
        assert owner.url.endswith("/owner")
        clean(owner)
        _ann(browser, links["ann"])
        _bob(browser, links["bob"], server.base)
        _panel(browser, owner)
        for path in ("/owner", "/owner/items", "/owner/items/1", "/owner/people", "/guidelines", "/work", "/login"):
            owner.goto(server.base + path)
            clean(owner)
        owner.goto(f"{server.base}/owner")
        assert "Krippendorff" in owner.inner_text("main")
        with owner.expect_download() as download:
            owner.click("text=Download")
        out = tmp_path / "judgements.jsonl"
        download.value.save_as(out)
        dark = browser.new_context(color_scheme="dark", viewport={"width": 390, "height": 844})
        dark.add_cookies(owner.context.cookies())
        for path in ("/owner", "/work"):
            page = dark.new_page()
            page.goto(server.base + path)
            clean(page)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    finally:
        server.stop()
        collection.close()
    data = load_preferences(out)
    assert sum(group.num_ties for group in data) >= 1
    assert len({edge.annotator for group in data for edge in group.comparisons}) == 3
    assert any(edge.rationale for group in data for edge in group.comparisons)
    _train(out, tmp_path)


def _ann(browser, link):
    """Ann ranks 20 items by keyboard, with a tie, an undo, a skip, a flag and a reason."""
    page = come(browser.new_context(), link)
    page.wait_for_selector("form.work")
    clean(page)
    by_keyboard(page, "122")
    assert "Saved." in page.inner_text(".receipt")
    assert "=" in page.inner_text(".receipt")
    by_keyboard(page, "123")
    page.keyboard.press("u")
    page.wait_for_selector("input[name='q0.2'][value='3']:checked")
    assert done(page) == 1
    page.keyboard.press("w")
    page.keyboard.type("It answers the question")
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    by_keyboard(page, "321")
    page.keyboard.press("s")
    page.keyboard.press("Escape")
    page.click("#skip-button")
    page.wait_for_selector(".receipt:has-text('Skipped')")
    while page.query_selector("form.work"):
        by_keyboard(page, "213")
    assert "19 items" in page.inner_text("main")
    clean(page)


def _bob(browser, link, base):
    """Bob ranks by mouse and by dragging, closes the browser in between, and finds his draft again."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = come(context, link)
    for _ in range(3):
        before = page.get_attribute("input[name=key]", "value")
        for place, rank in enumerate("132"):
            page.click(f"label:has(input[name='q0.{place}'][value='{rank}'])")
        page.click("#save")
        page.wait_for_function("old => document.querySelector('input[name=key]').value !== old", arg=before)
    page.drag_and_drop(".board .rest .chip:has-text('A')", ".board li[data-rank='2']")
    assert page.is_checked("input[name='q0.0'][value='2']")
    page.wait_for_selector("#draft-status:text-is('Draft saved')")
    cookies = context.cookies()
    context.close()
    again = browser.new_context()
    again.add_cookies(cookies)
    page = again.new_page()
    page.goto(base)
    assert page.is_checked("input[name='q0.0'][value='2']")
    assert done(page) == 3
    while page.query_selector("form.work"):
        by_keyboard(page, "123")
    assert "20 items" in page.inner_text("main")


def _panel(browser, owner):
    """A participant comes by the link of the owner's page and leaves with the code."""
    owner.reload()
    link = owner.inner_text("section:has(h2:has-text('Panels')) pre")
    for name, value in (("PROLIFIC_PID", "p1"), ("STUDY_ID", "s1"), ("SESSION_ID", "x1")):
        link = link.replace("{{%" + name + "%}}", value)
    page = browser.new_context().new_page()
    page.goto(link)
    clean(page)
    page.click("text=I agree")
    page.wait_for_load_state()
    for _ in range(3):
        by_keyboard(page, "123")
    assert page.inner_text("#code") == "DONE-42"
    clean(page)


def _train(out, folder):
    command = [sys.executable, "-m", "rewardsmith", "train", "from_scratch", "--dataset_name", str(out)]
    command += ["--output_dir", str(folder / "model"), "--num_train_epochs", "1", "--save_strategy", "no"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert run.returncode == 0, run.stderr[-2000:]


def test_hostile_texts_are_shown_and_never_run(tmp_path, browser):
    path = tmp_path / "hostile.yaml"
    path.write_text(yaml.safe_dump({"question": "Which?", "task": "pair", "repeats": 0}))
    collection = create(path)
    hostile = [PreferenceGroup(text, (text, f"{text} again")) for text in HOSTILE]
    assert add_items(collection.store, collection.project, hostile).items == len(HOSTILE)
    server = Server(path)
    try:
        link = f"{server.base}/invite/{invite(collection.store, 'test', 'ann')}"
        context = browser.new_context()
        asked = []
        context.on("request", lambda request: asked.append(request.url))
        page = come(context, link)
        seen = 0
        while page.query_selector("form.work"):
            for view in ("text", "raw", "diff"):
                page.goto(f"{server.base}/work?view={view}")
                assert page.evaluate("window.hacked") is None
                assert not page.query_selector_all(
                    "main article script, main article img, main article svg, main article form"
                )
                hrefs = page.eval_on_selector_all("main a", "all => all.map(a => a.getAttribute('href'))")
                assert all(re.match(r"https?:|mailto:|/|#questions", href) for href in hrefs)
            seen += 1
            by_keyboard(page, "a")
        assert seen == len(HOSTILE)
        assert all(url.startswith(server.base) for url in asked)
    finally:
        server.stop()
        collection.close()


def both_ways(page):
    """Find no violation in light and dark, at desktop and phone width, and nothing that scrolls sideways."""
    for scheme in ("light", "dark"):
        for width in (1280, 390):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 844})
            clean(page)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture
def small(tmp_path):
    """A pair project with a practice item and two items."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({"question": "Which?", "task": "pair", "repeats": 0}))
    collection = create(path)
    practice = PreferenceGroup(
        "Practice?", ("yes", "no"), (Comparison(0, 1),), metadata={"feedback": "Yes is **kind**."}
    )
    add_items(collection.store, collection.project, [practice], "practice")
    add_items(collection.store, collection.project, groups(2, 2))
    yield path, collection
    collection.close()


def test_feedback_and_every_message_are_accessible(small, browser):
    path, collection = small
    server = Server(path)
    try:
        invitation = f"{server.base}/invite/{invite(collection.store, 'test', 'ann')}"
        context = browser.new_context()
        page = context.new_page()
        page.goto(invitation)
        both_ways(page)
        page.close()
        page = come(context, invitation)
        page.wait_for_selector("form.work")
        page.click("label:has(input[name='q0'][value='0'])")
        page.click("#save")
        page.wait_for_selector("a.main:has-text('Go on')")
        assert "You said" in page.inner_text("main")
        both_ways(page)
        page.click("text=Go on")
        page.wait_for_selector("form.work")
        late = context.new_page()
        late.goto(f"{server.base}/work")
        late.wait_for_selector("form.work")
        by_keyboard(page, "a")
        late.click("summary:has-text('Why?')")
        late.fill("[name=rationale]", "because")
        late.evaluate("document.querySelector('form.work input[name=key]').value = 'another key'")
        late.evaluate("document.querySelector('form.work input[name=q0]').checked = true")
        late.click("#save")
        late.wait_for_selector("h1:has-text('not saved')")
        assert "because" in late.inner_text("main")
        both_ways(late)
        for place, title in (("/owner", "Not possible"), ("/nothing", "Not possible"), (invitation, "")):
            page.goto(place if place.startswith("http") else server.base + place)
            assert title in page.inner_text("h1")
            both_ways(page)
    finally:
        server.stop()


def test_the_arena_is_accessible_and_says_what_it_needs(small, browser, endpoint):
    path, collection = small
    server = Server(path, "--endpoint", f"one={endpoint}", "--endpoint", f"two={endpoint}")
    try:
        page = come(browser.new_context(), f"{server.base}/invite/{invite(collection.store, 'test', 'ann')}")
        page.goto(f"{server.base}/arena")
        both_ways(page)
        page.fill("textarea[name=prompt]", "Why?")
        page.click("#ask button")
        page.wait_for_selector("#vote:not([hidden])")
        assert "I think Why?" in page.inner_text("#answer-0")
        both_ways(page)
        page.keyboard.press("b")
        page.wait_for_selector("#vote", state="hidden")
        (item,) = load_items(collection.store, ("live",))
        assert item.judgements[0].answer["answers"]["overall"]["order"] == [[1], [0]]
        page.fill("textarea[name=prompt]", "break")
        page.click("#ask button")
        page.wait_for_selector("text=That did not work. Ask again.")
        assert page.is_hidden("#vote")
        plain = browser.new_context(java_script_enabled=False)
        plain.add_cookies(page.context.cookies())
        bare = plain.new_page()
        bare.goto(f"{server.base}/arena")
        assert bare.is_disabled("#ask button")
        assert "The arena needs JavaScript" in bare.inner_text("main")
    finally:
        server.stop()
