"""Planted faults: bad weights, a dead thread, overload, and the end of the process. Nothing accepted is lost."""

import asyncio
import json
import re
import signal
import socket
import threading
import time
from contextlib import ExitStack
from urllib.parse import urlparse

import httpx
import pytest
import torch
from live_server import free_port, slow_down

from rewardsmith.clients.client import RewardClient
from rewardsmith.records import ScoreRequest
from rewardsmith.serving.limits import EngineLimits, ServerSettings


@pytest.fixture
def poisoned(reward_model):
    """The embedding of one token becomes NaN, so that texts with it have no reward and all others do."""
    token = reward_model.tokenizer("Z", add_special_tokens=False)["input_ids"][0]
    weight = reward_model.model.get_input_embeddings().weight
    before = weight.data[token].clone()
    with torch.no_grad():
        weight.data[token] = float("nan")
    yield reward_model
    with torch.no_grad():
        weight.data[token] = before


def test_nan_fails_its_own_text_and_no_other(poisoned, start_server):
    texts = ["good", "bad Z", "fine", "Z"]
    with start_server(poisoned) as address, httpx.Client(base_url=address) as client:
        partial = client.post("/v1/reward", json={"inputs": [{"text": t} for t in texts], "partial": True})
        whole = client.post("/classify", json={"input": texts})

        async def together():
            async with httpx.AsyncClient(base_url=address) as each:
                return await asyncio.gather(*(each.post("/get_reward", json={"query": [t]}) for t in texts * 5))

        answers = asyncio.run(together())
        assert client.get("/ready").status_code == 200
    rewards = [result["rewards"][0] for result in partial.json()["results"]]
    good = poisoned.score_texts(["good", "fine"])
    assert rewards == [pytest.approx(good[0], abs=1e-5), None, pytest.approx(good[1], abs=1e-5), None]
    assert partial.json()["results"][1]["errors"]["0"]
    assert "NaN" not in partial.text
    assert whole.status_code == 500
    assert "sequence 1, 3 of 4" in whole.json()["error"]["message"]
    assert [answer.status_code for answer in answers] == [200, 500, 200, 500] * 5


def test_a_killed_model_thread_is_an_error_once_and_the_server_goes_on(reward_model, start_server, monkeypatch):
    score = reward_model.read_encoded
    killers = [SystemExit(1)]

    def deadly(groups):
        if killers:
            raise killers.pop()
        return score(groups)

    monkeypatch.setattr(reward_model, "read_encoded", deadly)
    with start_server(reward_model) as address:
        first = httpx.post(f"{address}/classify", json={"input": "good"})
        second = httpx.post(f"{address}/classify", json={"input": "good"})
        exposition = httpx.get(f"{address}/metrics").text
    assert first.status_code == 500
    assert second.json()["data"][0]["probs"] == [pytest.approx(reward_model.score_texts(["good"])[0], abs=1e-5)]
    assert "rewardsmith_worker_restarts_total 1.0" in exposition


@pytest.fixture
def hanging(reward_model, monkeypatch):
    """A model that does not come back while the event is unset."""
    score, going = reward_model.read_encoded, threading.Event()

    def waiting(groups):
        going.wait(30)
        return score(groups)

    monkeypatch.setattr(reward_model, "read_encoded", waiting)
    yield reward_model, going
    going.set()


IMPATIENT = ServerSettings(EngineLimits(deadline_seconds=0.2))


def test_a_hung_model_is_not_ready_answers_in_time_and_recovers(hanging, start_server):
    model, going = hanging
    with start_server(model, IMPATIENT) as address, httpx.Client(base_url=address) as client:
        assert client.get("/ready").status_code == 200
        assert client.post("/classify", json={"input": "good"}).status_code == 504
        time.sleep(0.1)
        ready, later = client.get("/ready"), client.post("/get_reward", json={"query": ["good"]})
        assert [ready.status_code, later.status_code] == [503, 503]
        assert later.headers["retry-after"]
        assert "has not come back" in ready.json()["error"]["message"]
        assert client.get("/health").status_code == 200
        busy = re.search(r"^rewardsmith_model_busy_seconds (\S+)", client.get("/metrics").text, re.M)
        assert float(busy[1]) > 0.2
        going.set()
        until = time.monotonic() + 10
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < until
        answer = client.post("/classify", json={"input": "good"})
    assert answer.json()["data"][0]["probs"] == [pytest.approx(model.score_texts(["good"])[0], abs=1e-5)]


def test_a_server_with_a_hung_model_still_ends(hanging, start_server):
    model, _ = hanging
    with start_server(model, IMPATIENT) as address:
        assert httpx.post(f"{address}/classify", json={"input": "good"}).status_code == 504


class Same:
    """A working replica of a model whose scoring another test hangs."""

    def __init__(self, model):
        self.name, self.tokenizer, self.contract, self.max_length = model.name, model.tokenizer, None, model.max_length
        self.encode, self.model, self.capabilities = model.encode, model.model, model.capabilities
        self.read_encoded = type(model).read_encoded.__get__(model)

    def score_encoded(self, groups):
        return [[part.reward for part in row] for row in self.read_encoded(groups)]


def test_a_client_of_two_replicas_gets_its_rewards_from_the_one_that_works(hanging, start_server):
    model, going = hanging
    with ExitStack() as stack:
        hung = stack.enter_context(start_server(model, IMPATIENT))
        good = stack.enter_context(start_server(Same(model)))
        gone = f"http://127.0.0.1:{free_port()}"
        with RewardClient(f"{gone},{hung},{good}") as client:
            expected = Same(model).score_encoded([Same(model).encode(_request(" fine"))])[0]
            for _ in range(3):
                assert client.score("is maybe", [" fine"]) == pytest.approx(expected, abs=1e-5)
        going.set()


def _request(completion):
    return ScoreRequest("is maybe", (completion,))


def test_clients_that_break_off_in_every_way_leave_a_working_server(reward_model, start_server):
    body = json.dumps({"input": "good"}).encode()
    head = b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    pieces = [
        b"",
        b"POST",
        b"POST /classify HTTP/1.1\r\nHost",
        head % 500,
        head % 500 + body,
        b"\x16\x03\x01\x00",
        b"G" * 9000,
    ]
    pieces += [head % len(body) + body, b"GET /health HTTP/9.9\r\n\r\n", head % len(body) + body[:-1] + b"\x00"]
    with start_server(reward_model) as address, httpx.Client(base_url=address) as client:
        place = urlparse(address)
        for piece in pieces * 5:
            with socket.create_connection((place.hostname, place.port), timeout=10) as link:
                link.sendall(piece)
                # A reset instead of a goodbye, as a killed process leaves it.
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        answer = client.post("/classify", json={"input": "good"})
        assert answer.json()["data"][0]["probs"] == [pytest.approx(reward_model.score_texts(["good"])[0], abs=1e-5)]
        until = time.monotonic() + 10
        while "rewardsmith_queued_requests 0.0" not in client.get("/metrics").text:
            assert time.monotonic() < until


def test_overload_gives_right_rewards_or_clean_429s(reward_model, start_server, monkeypatch):
    expected = {f"good {n}": reward_model.score_texts([f"good {n}"])[0] for n in range(20)}
    slow_down(monkeypatch, reward_model, 0.02)
    settings = ServerSettings(EngineLimits(max_queued_requests=8, tokens_per_batch=32))

    async def flood(address):
        counts = {200: 0, 429: 0}
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:

            async def one(number):
                text = f"good {number % 20}"
                answer = await client.post("/v1/embeddings", json={"input": text})
                counts[answer.status_code] += 1
                if answer.status_code == 200:
                    assert answer.json()["data"][0]["embedding"] == [pytest.approx(expected[text], abs=1e-5)]
                else:
                    assert int(answer.headers["retry-after"]) >= 1

            for start in range(0, 200, 40):
                await asyncio.gather(*(one(start + offset) for offset in range(40)))
        return counts

    with start_server(reward_model, settings) as address:
        counts = asyncio.run(flood(address))
        assert httpx.get(f"{address}/ready").status_code == 200
    assert counts[200] > 0
    assert counts[429] > 0
    assert sum(counts.values()) == 200


@pytest.mark.slow
def test_sigterm_finishes_what_was_accepted_and_the_command_ends_well(process):
    child, address = process
    headers = {"Authorization": "Bearer k"}
    assert httpx.post(f"{address}/classify", json={"input": "a"}).status_code == 401

    async def scenario():
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as client:
            body = {"input": [f"good {n} " * 40 for n in range(300)]}
            accepted = [asyncio.create_task(client.post("/classify", json=body)) for _ in range(4)]
            while True:
                exposition = (await client.get("/metrics")).text
                if float(re.search(r"^rewardsmith_queued_requests (\S+)", exposition, re.M)[1]) == 4:
                    break
                await asyncio.sleep(0.01)
            child.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.05)
            late = await asyncio.gather(client.post("/classify", json={"input": "a"}), return_exceptions=True)
            return await asyncio.gather(*accepted), late[0]

    answers, late = asyncio.run(scenario())
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all(len(json.loads(answer.text)["data"]) == 300 for answer in answers)
    assert isinstance(late, httpx.TransportError) or late.status_code == 503
    assert child.wait(timeout=20) == 0
