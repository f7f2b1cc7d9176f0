"""The clients: rewards equal those in process, retries are patient, failures are loud."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from live_server import slow_down

from rewardsmith.clients import client as client_module
from rewardsmith.clients.client import AsyncRewardClient, ClientOptions, RewardClient
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import Message, Scorer, ScoreRequest, TokenIds
from rewardsmith.serving.auth import digest
from rewardsmith.serving.limits import ServerSettings

REQUESTS = [
    ScoreRequest("is maybe", (" fine", " awful", " nice")),
    ScoreRequest((Message("user", "is maybe"),), ((Message("assistant", "fine"),), "awful")),
    ScoreRequest("", ("good", TokenIds([5, 6, 7]))),
    ScoreRequest("nothing", ()),
]


@pytest.fixture
def pauses(monkeypatch):
    """Pauses are noted instead of waited for."""
    noted = []
    monkeypatch.setattr(client_module.time, "sleep", noted.append)
    return noted


@pytest.fixture
def scripted():
    """A server that answers with the given statuses, headers and bodies, one after another."""
    servers = []

    def start(*answers):
        script = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                status, headers, body = script.pop(0)
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *arguments):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


GOOD = '{"results": [{"rewards": [1.5]}], "normalized": false}'


@pytest.mark.parametrize("size", [1, 3, 64])
def test_both_clients_give_the_rewards_of_the_model(url, reward_model, size):
    options = ClientOptions(completions_per_call=size)
    expected = [pytest.approx(row, abs=1e-5) for row in reward_model.score_requests(REQUESTS)]
    with RewardClient(url, options=options) as client:
        assert isinstance(client, Scorer)
        assert client.score_requests(REQUESTS) == expected

    async def ask():
        async with AsyncRewardClient(url, options=options) as client:
            return await client.score_requests(REQUESTS)

    assert asyncio.run(ask()) == expected


def test_normalised_and_truncated_rewards_on_wish(url, reward_model):
    with RewardClient(url, options=ClientOptions(normalized=True)) as client:
        assert client.score("is maybe", [" fine"]) == pytest.approx(
            reward_model.score("is maybe", [" fine"], normalized=True), abs=1e-5
        )
    with RewardClient(url) as client, pytest.raises(ScoringError, match="the model reads 512"):
        client.score("", ["good " * 600])
    with RewardClient(url, options=ClientOptions(truncate="left")) as client:
        assert len(client.score("", ["good " * 600])) == 1


def test_the_card_and_the_key(reward_model, start_server):
    with start_server(reward_model, ServerSettings(key_digests=(digest("k"),))) as address:
        with RewardClient(address, api_key="k") as client:
            assert client.model_card()["rewardsmith"]["max_tokens"] == 512
        with RewardClient(address) as client, pytest.raises(ScoringError, match=r"401.*no known API key"):
            client.score("a", ["b"])


def test_retry_after_is_honoured_with_jitter(scripted, pauses):
    address = scripted((429, {"Retry-After": "7"}, "{}"), (503, {}, "{}"), (200, {}, GOOD))
    with RewardClient(address) as client:
        assert client.score("a", ["b"]) == [1.5]
    assert 7 <= pauses[0] <= 7 * 1.25
    assert 0.5 <= pauses[1] <= 1.0


def test_the_last_refusal_is_raised_with_the_servers_words(scripted, pauses):
    body = '{"error": {"message": "the queue is full"}}'
    address = scripted(*[(429, {}, body)] * 3)
    options = ClientOptions(max_attempts=3)
    with RewardClient(address, options=options) as client, pytest.raises(ScoringError, match="3 attempts: the queue"):
        client.score("a", ["b"])
    assert len(pauses) == 2


def test_an_error_of_the_model_is_not_tried_again(scripted, pauses):
    address = scripted((500, {}, '{"error": {"message": "no reward"}}'))
    with RewardClient(address) as client, pytest.raises(ScoringError, match="no reward"):
        client.score("a", ["b"])
    assert pauses == []


@pytest.mark.parametrize(
    "body",
    [
        '{"results": [{"rewards": []}], "normalized": false}',
        '{"results": [{"rewards": [null]}], "normalized": false}',
        '{"results": [{"rewards": [NaN]}], "normalized": false}',
        '{"results": [{"rewards": [1.0]}], "normalized": true}',
        '{"results": [{"rewards": [true]}], "normalized": false}',
        '{"results": [{"rewards": [1' + "0" * 400 + ']}], "normalized": false}',
        '{"results": [{"rewards": 3}], "normalized": false}',
        '{"results": [{}]}',
        '{"results": null}',
        "[]",
        "null",
        "[" * 100_000,
        "<html>",
    ],
)
def test_an_answer_that_is_no_reward_is_an_error(scripted, pauses, body):
    with RewardClient(scripted((200, {}, body))) as client, pytest.raises(ScoringError):
        client.score("a", ["b"])


def test_what_cannot_be_decoded_is_an_error_of_one_line(scripted, pauses):
    url = scripted((200, {"Content-Encoding": "gzip"}, "no gzip"))
    with RewardClient(url) as client, pytest.raises(ScoringError, match="cannot be decoded"):
        client.score("a", ["b"])


@pytest.mark.parametrize("kind", [RewardClient, AsyncRewardClient])
def test_a_key_that_no_header_can_carry_is_refused_unseen_and_one_of_a_file_is_taken(kind):
    for key in ("rs-secret\x00", "rs-secrét", "rs-secret\nX: y", "rs-secret\ud800"):
        with pytest.raises(ConfigError, match="no header can carry") as refused:
            kind("http://127.0.0.1:9", key)
        assert "secr" not in str(refused.value)
    kind("http://127.0.0.1:9", "rs-secret\n")


def test_nobody_there_is_an_error_after_the_attempts(pauses):
    with (
        RewardClient("http://127.0.0.1:9", options=ClientOptions(max_attempts=2)) as client,
        pytest.raises(ScoringError, match="cannot be reached after 2 attempts"),
    ):
        client.score("a", ["b"])


def test_replicas_are_asked_in_turn_and_a_pause_comes_after_each_was_asked(scripted, pauses):
    busy, gone = scripted((503, {}, "{}"), (200, {}, GOOD)), "http://127.0.0.1:9"
    with RewardClient(f"{busy}, {gone}") as client:
        assert client.score("a", ["b"]) == [1.5]
    assert len(pauses) == 1
    assert 0.25 <= pauses[0] <= 0.5
    other = scripted((200, {}, GOOD), (200, {}, GOOD))

    async def ask():
        async with AsyncRewardClient(f"{gone},{other}") as client:
            return [await client.score("a", ["b"]) for _ in range(2)]

    assert asyncio.run(ask()) == [[1.5], [1.5]]


def test_the_asyncio_client_fails_loudly_too(url):
    async def ask():
        async with AsyncRewardClient(url) as client:
            await client.score_requests([ScoreRequest("a", ("b",)), ScoreRequest("", ("good " * 600,))])

    with pytest.raises(ScoringError, match="the model reads 512"):
        asyncio.run(ask())


def test_one_asyncio_client_survives_a_change_of_event_loop(url):
    client = AsyncRewardClient(url)
    first, second = asyncio.run(client.score("a", ["b"])), asyncio.run(client.score("a", ["b"]))
    assert first == pytest.approx(second, abs=1e-6)


def test_wrong_use_is_an_error_at_once():
    with pytest.raises(ConfigError, match="http"):
        RewardClient("localhost:8000")
    with RewardClient("http://127.0.0.1:9") as client, pytest.raises(ConfigError, match="list"):
        client.score("a", "b")


def test_token_ids_are_completions_of_the_client_too(url, reward_model):
    ids = tuple(reward_model.encode(ScoreRequest("is maybe", (" fine",)))[0])
    with RewardClient(url) as client:
        assert client.score("", [ids]) == pytest.approx(reward_model.score("is maybe", [" fine"]), abs=1e-5)


def test_parts_that_are_missing_or_others_than_the_rewards_are_an_error(scripted):
    result = {"rewards": [1.0], "tokens": [3], "truncated": [False], "errors": {}}
    entry = {"reward": 2.0, "spread": None, "members": [], "attributes": {}, "steps": []}
    bodies = [{"normalized": False, "results": [{**result, "parts": parts}]} for parts in (None, [entry])]
    address = scripted(*[(200, {}, json.dumps(body)) for body in bodies])
    with RewardClient(address) as client:
        for _ in bodies:
            with pytest.raises(ScoringError, match="gave no parts, or others than its rewards"):
                client.score("q", ["a"], return_parts=True)


def test_a_prompt_is_cut_over_http_as_in_process(url, reward_model):
    long = " ".join(["maybe good is question"] * reward_model.max_length)
    prompts = [long, [{"role": "user", "content": long}]]
    answers = [[" fine"], [[{"role": "assistant", "content": "fine"}]]]
    with RewardClient(url) as plain, RewardClient(url, options=ClientOptions(truncate="prompt")) as cutting:
        for prompt, completions in zip(prompts, answers, strict=True):
            with pytest.raises(ScoringError, match="ask for truncation"):
                plain.score(prompt, completions)
            expected = reward_model.score(prompt, completions, truncation="truncate_prompt")
            assert cutting.score(prompt, completions) == pytest.approx(expected, abs=1e-5)
        with pytest.raises(ScoringError, match="the answer and its markup alone have"):
            cutting.score("is", [long])


def test_client_and_adapters_need_neither_torch_nor_the_packages_of_the_server():
    rooms = [f"rewardsmith.clients.{name}" for name in ("nemo", "openrlhf", "swift", "trl", "verl")]
    code = f"import sys, rewardsmith.clients.client, {', '.join(rooms)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "httpx" in loaded
    assert not {"torch", "transformers", "fastapi", "starlette", "pydantic", "numpy"} & set(loaded)


@pytest.fixture
def frozen():
    """A server that accepts connections and never answers, as a stopped process does."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_frozen_replica_costs_seconds_and_not_the_timeout(frozen, url, reward_model, monkeypatch):
    monkeypatch.setattr(client_module, "PROBE_SECONDS", 0.2)
    options = ClientOptions(patience_seconds=0.2)
    expected = pytest.approx(reward_model.score("is maybe", [" fine"]), abs=1e-5)
    with RewardClient(f"{frozen},{url}", options=options) as client:
        assert client.score("is maybe", [" fine"]) == expected

    async def ask():
        async with AsyncRewardClient(f"{frozen},{url}", options=options) as client:
            return await client.score("is maybe", [" fine"])

    assert asyncio.run(ask()) == expected
    once = ClientOptions(patience_seconds=0.2, max_attempts=1)
    with RewardClient(frozen, options=once) as client, pytest.raises(ScoringError, match="reached after 1 attempts"):
        client.score("is maybe", [" fine"])


def test_a_slow_server_that_lives_is_waited_for(start_server, reward_model, monkeypatch):
    slow_down(monkeypatch, reward_model, 0.5)
    with start_server(reward_model) as address, RewardClient(address, options=ClientOptions(patience_seconds=0.1)) as c:
        assert len(c.score("is maybe", [" fine"])) == 1


def test_no_message_shows_the_key_of_an_address(start_server, reward_model):
    settings = ServerSettings(key_digests=(digest("s3cret"),))
    with start_server(reward_model, settings) as address:
        place = address.removeprefix("http://")
        with RewardClient(f"http://any:s3cret@{place}") as client:
            assert len(client.score("is maybe", [" fine"])) == 1
            assert client.name == address
        with RewardClient(f"http://any:wr0ng@{place}") as client, pytest.raises(ScoringError) as refused:
            client.score("is maybe", [" fine"])
    options = ClientOptions(max_attempts=1)
    with RewardClient(f"http://any:s3cret@{place}", options=options) as client, pytest.raises(ScoringError) as gone:
        client.score("is maybe", [" fine"])
    with pytest.raises(ConfigError) as unread:
        RewardClient("any:s3cret@127.0.0.1:8000")
    for caught in (refused, gone, unread):
        assert "s3cret" not in str(caught.value)
        assert "wr0ng" not in str(caught.value)


def test_a_servers_message_cannot_write_to_the_terminal(scripted):
    url = scripted((400, {}, '{"error": {"message": "\\u001b[31mred\\u0007"}}'))
    with RewardClient(url) as client, pytest.raises(ScoringError) as caught:
        client.score("q", ["a"])
    assert "\x1b" not in str(caught.value)
    assert "\x07" not in str(caught.value)


def test_a_missing_answer_has_none_and_partial_asks_for_more(url, reward_model):
    with RewardClient(url) as client:
        assert client.score("is maybe", [" fine", None]) == [
            pytest.approx(reward_model.score("is maybe", " fine")),
            None,
        ]
        assert client.score("is maybe", [None, " fine"], return_parts=True)[0] is None
        with pytest.raises(ScoringError, match="vocabulary"):
            client.score("is maybe", [" fine", (10**6,)])
    with RewardClient(url, options=ClientOptions(partial=True)) as client:
        assert client.score("is maybe", [" fine", (10**6,)])[1] is None


def test_a_comparison_ends_over_http_as_it_does_in_process(url, reward_model):
    asked = ("is maybe", " fine", " awful")
    expected = reward_model.outcome_probabilities(*asked)
    with RewardClient(url) as client:
        assert client.outcome_probabilities(*asked) == (*map(pytest.approx, expected[:2]), None)
    found = asyncio.run(AsyncRewardClient(url).outcome_probabilities(*asked))
    assert found.preference == pytest.approx(expected.preference)
