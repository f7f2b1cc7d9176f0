"""Take the pictures of docs/collect.md: pages of a small simulated project, desktop and phone width, light and dark.

    python benchmarks/collect_screenshots.py docs/images/collect

Needs playwright and a Chromium ($CHROMIUM, else /usr/bin/chromium).
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
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
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate
from rewardsmith.data.simulate.gold import gold_reward

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PORT = 8765
BASE = f"http://127.0.0.1:{PORT}"
PASSWORD = "a long enough password"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


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


def serve(collection: Collection) -> uvicorn.Server:
    """Serve a project from a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(build_app(collection), port=PORT, log_level="error"))
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
        for width, size in (("desktop", DESKTOP), ("phone", PHONE)):
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


def main(folder: Path) -> None:
    """Take every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for task in ("pair", "ranking"):
            collection = make_project(Path(place), task)
            server = serve(collection)
            take(browser, collection, folder, task)
            server.should_exit = True
            while server.started and not server.should_exit:
                pass
            threading.Event().wait(1.5)
        browser.close()
    for file in folder.glob("*.png"):
        Image.open(file).convert("RGB").quantize(96).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
