"""kill -9 of the server under simulated annotators: nothing acknowledged is lost or doubled, no item above overlap."""

import contextlib
import os
import random
import re
import socket
import threading
import time
import uuid
from collections import Counter
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

import httpx
import pytest
import sqlalchemy as sa
import yaml
from collecting_people import annotator, answer, answer_at_once, groups

from rewardsmith.cli.main import main
from rewardsmith.collecting import create
from rewardsmith.collecting import tables as t
from rewardsmith.collecting.app.security import Cookies
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.people import start_session
from rewardsmith.collecting.saving import undo

OVERLAP = 3
ANNOTATORS = 20
servers = get_context("forkserver")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Annotator(threading.Thread):
    """Somebody who judges, and who sends again what got no answer."""

    def __init__(self, base, cookie, stop, pause):
        super().__init__(daemon=True)
        self.base, self.cookie, self.stop, self.pause = base, cookie, stop, pause
        self.acknowledged, self.seconds, self.refused = {}, [], Counter()

    def run(self):
        with httpx.Client(base_url=self.base, cookies={"collect": self.cookie}, timeout=10) as client:
            page = None
            while not self.stop.is_set():
                page = page or self.ask(client, "GET", "/work")
                if page is None:
                    return
                form = self.form(page.text)
                if form is None:
                    return
                page = self.save(client, *form)
                time.sleep(self.pause * random.random() * 2)

    def form(self, text):
        slot = re.search(r'action="/work/(\d+)"', text)
        if slot is None:
            return None
        part = text[text.index('<form class="work"') :]
        fields = {name: re.search(rf'name="{name}" value="([^"]*)"', part)[1] for name in ("csrf", "token")}
        return slot[1], {**fields, "key": uuid.uuid4().hex, "action": "save", "q0": random.choice("01")}

    def save(self, client, slot, data):
        started = time.perf_counter()
        answer = self.ask(client, "POST", f"/work/{slot}", data)
        if answer is None:
            return None
        if answer.status_code != 303:
            self.refused[answer.status_code] += 1
            return None
        # The acknowledgement is the redirect: from here on the judgement must never be lost.
        self.acknowledged[data["key"]] = int(re.search(r"saved=(\d+)", answer.headers["location"])[1])
        page = self.ask(client, "GET", answer.headers["location"])
        self.seconds.append((started, time.perf_counter() - started))
        return page

    def ask(self, client, method, path, data=None):
        while not self.stop.is_set():
            try:
                return client.request(method, path, data=data)
            except httpx.TransportError:
                time.sleep(0.05)
        return None


def prepare(tmp_path, database, items):
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump({"question": "Which?", "overlap": OVERLAP, "database": database}))
    collection = create(path)
    add_items(collection.store, collection.project, groups(items))
    cookies = Cookies(collection.secret(), False)
    signed = []
    for number in range(ANNOTATORS):
        person = annotator(collection, f"person {number}")
        with collection.store.transaction() as connection:
            signed.append(cookies.sign(start_session(connection, person)))
    return path, collection, signed


def start(path, port) -> BaseProcess:
    """Serve in a process of its own, forked from one that has imported the package: a start is then no import."""
    servers.set_forkserver_preload(["pytest", "rewardsmith.cli.collect_serving", "rewardsmith.collecting.app.run"])
    command = ["collect", "serve", "--project", str(path), "--port", str(port)]
    process = servers.Process(target=main, args=(command,), daemon=True)
    process.start()
    for _ in range(6000):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process
        time.sleep(0.02)
    raise AssertionError("the server did not start")


def check(collection, annotators):
    with collection.store.transaction() as connection:
        rows = connection.execute(sa.select(t.judgement.c.id, t.judgement.c.key, t.judgement.c.slot_id)).all()
        seats = connection.execute(
            sa.select(t.slot.c.item_id, t.slot.c.person_id).where(t.slot.c.state == "done", t.slot.c.again.is_(False))
        ).all()
    stored = {row.key: row.id for row in rows}
    acknowledged = {key: number for one in annotators for key, number in one.acknowledged.items()}
    assert acknowledged.items() <= stored.items()
    assert len(stored) == len(rows)
    assert max(Counter(row.slot_id for row in rows).values()) == 1
    assert max(Counter(seat.item_id for seat in seats).values()) <= OVERLAP
    assert max(Counter(tuple(seat) for seat in seats).values()) == 1
    return len(acknowledged)


def storm(tmp_path, database, kills, items):
    started = time.monotonic()
    path, collection, signed = prepare(tmp_path, database, items)
    port, stop, generator = free_port(), threading.Event(), random.Random(0)
    process = start(path, port)
    annotators = [Annotator(f"http://127.0.0.1:{port}", cookie, stop, 0.1) for cookie in signed]
    for one in annotators:
        one.start()
    for _ in range(kills):
        # A random number of judgements, then a random moment: on a slow machine, too, every server has work to lose.
        wanted = sum(len(one.acknowledged) for one in annotators) + generator.randint(1, 25)
        waited = time.monotonic() + 60
        while sum(len(one.acknowledged) for one in annotators) < wanted and time.monotonic() < waited:
            time.sleep(0.01)
        time.sleep(0.2 * generator.random())
        process.kill()
        process.join()
        process = start(path, port)
    time.sleep(2)
    stop.set()
    for one in annotators:
        one.join(30)
    process.kill()
    process.join()
    count = check(collection, annotators)
    assert count > 3 * kills
    assert not sum((one.refused for one in annotators), Counter())
    print(f"{kills} kills, {count} acknowledged judgements in {time.monotonic() - started:.0f} s, none lost or doubled")
    collection.close()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_kills_at_random_moments_lose_and_double_nothing(tmp_path, database):
    """A hundred kills take half an hour on two cores: KILLS=100 runs them, CI runs a few."""
    storm(tmp_path, database, kills=int(os.environ.get("KILLS", "20")), items=6000)


def test_a_kill_loses_and_doubles_nothing(tmp_path):
    storm(tmp_path, None, kills=1, items=400)


def test_twelve_threads_on_either_engine_leave_every_item_at_its_overlap(tmp_path, database):
    path = tmp_path / "project.yaml"
    path.write_text(yaml.safe_dump({"question": "Which?", "overlap": 3, "database": database, "repeats": 0}))
    collection = create(path)
    add_items(collection.store, collection.project, groups(15))
    people = [annotator(collection, f"p{n}") for n in range(12)]
    # Two threads a person are two tabs.
    rows = answer_at_once(collection, people * 2, exhaust)
    assert undo(collection.store, collection.settings_id, collection.project, rows[0].person_id) is not None
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), collection.store.transaction() as connection:
        connection.execute(sa.delete(t.judgement))
    collection.close()


def exhaust(collection, person):
    from rewardsmith.collecting.saving import LeaseLost

    while True:
        try:
            if answer(collection, person) is None:
                return
        except LeaseLost:
            continue
