"""Take the pictures of docs/collect.md: pages of a small simulated project, desktop and phone width, light and dark.

    python benchmarks/collect_screenshots.py docs/images/collect

Needs playwright and a Chromium ($CHROMIUM, else /usr/bin/chromium).
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from rewardsmith.collecting import Collection, create
from rewardsmith.collecting.app.application import build_app
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.people import add_person, invite
from rewardsmith.collecting.saving import Submission, submit
from rewardsmith.data.gold import gold_reward
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate
from rewardsmith.records import Comparison, PreferenceGroup

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PORT = 8765
BASE = f"http://127.0.0.1:{PORT}"
PASSWORD = "a long enough password"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
SIZES = (("desktop", DESKTOP), ("phone", PHONE))
ASKED = "How do I get a coffee stain out of a cotton shirt?"
ANSWERS = {
    "small": "Rinse it with **cold water** from the back, then soap it and wash it as usual.",
    "large": "Act before it dries:\n\n1. Hold the back of the stain under cold water for two minutes.\n"
    "2. Rub in dish soap and wait for ten minutes.\n3. Wash at 40 degrees, and dry it in the air.\n\n"
    "Heat sets coffee, so do not tumble dry before the stain is gone.",
}
PRACTICE = PreferenceGroup(
    "My bike chain squeaks. What should I do?",
    (
        "Clean the chain with a rag, put one drop of chain oil on every link, turn the pedals, and wipe the rest off: "
        "oil on the outside only picks up dirt.",
        "Great question! Squeaking can have many causes. I would recommend that you look into it.",
    ),
    (Comparison(0, 1),),
    metadata={
        "feedback": "The answer about the rag says **what to do and why**. The other is friendly and says nothing."
    },
)


class Endpoint(BaseHTTPRequestHandler):
    """An endpoint of the chat-completions protocol that knows one answer a model."""

    def do_POST(self) -> None:
        """Stream the answer of the model that is asked."""
        model = json.loads(self.rfile.read(int(self.headers["content-length"])))["model"]
        self.send_response(200)
        self.end_headers()
        event = {"choices": [{"delta": {"content": ANSWERS[model]}, "finish_reason": "stop"}]}
        self.wfile.write(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def make_project(folder: Path, task: str) -> Collection:
    """Make a project with ranked answers, judged by simulated people of different care."""
    file = folder / f"{task}.yaml"
    collection = create(file, task=task, title="Helpful answers", question="Which answer helps more?", overlap=3)
    size = (2, 2) if task == "pair" else (4, 4)
    config = SimulationConfig(prompts=30, answers=size, annotators=AnnotatorConfig(raters=0), seed=4)
    groups = list(simulate(config))
    add_items(collection.store, collection.project, groups)
    for number, noise in enumerate((0.4, 0.8, 1.2, 4.0)):
        judge(collection, f"person {number}", noise, 18)
    return collection


def judge(collection: Collection, name: str, noise: float, number: int) -> None:
    """Let a simulated person rank items by gold reward and noise."""
    with collection.store.transaction() as connection:
        person = add_person(connection, name, "annotator", "active")
    generator = random.Random(name)
    for _ in range(number):
        one = claim(collection.store, collection.project, person)
        if one is None:
            return
        felt = [gold_reward(one.prompt, text) + generator.gauss(0, noise) for text in one.completions]
        order = [[n] for n in sorted(range(len(felt)), key=lambda n, felt=felt: -felt[n])]
        given = {"answers": {"overall": {"order": order}}}
        sent = Submission(one.slot_id, one.token, one.token, "answer", given, generator.randint(6000, 40000))
        submit(collection.store, collection.settings_id, collection.project, person, sent)


def serve(collection: Collection, endpoints: Mapping[str, str] | None = None) -> uvicorn.Server:
    """Serve a project from a thread of this process."""
    app = build_app(collection, endpoints=endpoints)
    server = uvicorn.Server(uvicorn.Config(app, port=PORT, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        pass
    return server


def come(page: Page, collection: Collection, name: str, role: str) -> None:
    """Let a browser in by an invitation."""
    page.goto(f"{BASE}/invite/{invite(collection.store, 'pictures', name, role)}")
    page.fill("input[name=password]", PASSWORD)
    page.fill("input[name=again]", PASSWORD)
    page.click("button.main")


def take(browser: Browser, collection: Collection, folder: Path, task: str) -> None:
    """Take the pictures of one project."""
    for scheme in ("light", "dark"):
        for width, size in SIZES:
            context = browser.new_context(viewport=size, color_scheme=scheme)
            page = context.new_page()
            come(page, collection, f"{task} {scheme} {width}", "annotator")
            page.wait_for_selector("form.work")
            page.wait_for_timeout(200)
            if task == "ranking":
                page.keyboard.type("2144" if width == "desktop" else "12")
            else:
                page.keyboard.press("a")
            page.wait_for_timeout(900)
            page.screenshot(path=folder / f"{task}-{width}-{scheme}.png", full_page=True)
            if task == "ranking":
                come(page, collection, f"owner {scheme} {width}", "owner")
                page.wait_for_selector("h1")
                page.screenshot(path=folder / f"owner-{width}-{scheme}.png", full_page=True)
            context.close()


def take_practice_and_arena(browser: Browser, collection: Collection, folder: Path) -> None:
    """Take the pictures of the feedback after a practice item, and of two live answers."""
    for scheme in ("light", "dark"):
        for width, size in SIZES:
            context = browser.new_context(viewport=size, color_scheme=scheme)
            page = context.new_page()
            come(page, collection, f"practice {scheme} {width}", "annotator")
            page.wait_for_selector("form.work")
            first = page.inner_text("article.card >> nth=0").find("drop of chain oil") >= 0
            page.keyboard.press("a" if first else "b")
            page.keyboard.press("Enter")
            page.wait_for_selector("a.main:has-text('Go on')")
            page.screenshot(path=folder / f"practice-{width}-{scheme}.png", full_page=True)
            page.goto(f"{BASE}/arena")
            page.fill("textarea[name=prompt]", ASKED)
            page.click("#ask button")
            page.wait_for_selector("#vote:not([hidden])")
            page.screenshot(path=folder / f"arena-{width}-{scheme}.png", full_page=True)
            context.close()


def stop(server: uvicorn.Server) -> None:
    """Let go of the port before the next project is served."""
    server.should_exit = True
    threading.Event().wait(1.5)


def main(folder: Path) -> None:
    """Take every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for task in ("pair", "ranking"):
            collection = make_project(Path(place), task)
            server = serve(collection)
            take(browser, collection, folder, task)
            stop(server)
        collection = create(Path(place) / "practice.yaml", title="Helpful answers", question="Which answer helps more?")
        add_items(collection.store, collection.project, [PRACTICE], "practice")
        with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as models:
            threading.Thread(target=models.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{models.server_address[1]}/v1"
            server = serve(collection, dict.fromkeys(ANSWERS, url))
            take_practice_and_arena(browser, collection, folder)
            stop(server)
            models.shutdown()
        browser.close()
    for file in folder.glob("*.png"):
        Image.open(file).convert("RGB").quantize(96).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
