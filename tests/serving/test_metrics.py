"""What a server tells of itself: a log line a request, and counters."""

import json
import logging
import re

import httpx
import pytest

from rewardsmith.scoring.scorer import RewardParts
from rewardsmith.serving.auth import digest
from rewardsmith.serving.limits import Failure, ServerSettings
from rewardsmith.serving.metrics import Metrics, request_id


def test_every_answer_has_a_request_id_and_the_log_a_line_without_texts(reward_model, start_server, caplog):
    secret = "xyzzy-plugh"
    with (
        caplog.at_level(logging.INFO, logger="rewardsmith.access"),
        start_server(reward_model, ServerSettings(key_digests=(digest("k"),))) as address,
        httpx.Client(base_url=address, headers={"X-API-Key": "k"}) as client,
    ):
        answers = [
            client.post(f"/classify?q={secret}", json={"input": secret}, headers={"X-Request-Id": "mine-1"}),
            client.post("/classify", json={"input": {secret: 1}}, headers={"X-Request-Id": "two words"}),
            client.get(f"/{secret}", headers={"X-API-Key": secret}),
        ]
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "rewardsmith.access"]
    # A request of the test before may be logged late.
    lines = lines[-3:]
    assert [line["request_id"] for line in lines] == [answer.headers["x-request-id"] for answer in answers]
    assert lines[0]["request_id"] == "mine-1"
    assert "two words" not in str(lines)
    assert [(line["route"], line["status"]) for line in lines] == [
        ("/classify", 200),
        ("/classify", 422),
        ("other", 401),
    ]
    assert (lines[0]["sequences"], lines[0]["key"], lines[2]["key"]) == (1, digest("k")[:8], None)
    assert lines[0]["tokens"] > 1
    assert secret not in str(lines)


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "a\nb"])
def test_an_id_that_could_break_a_log_line_is_replaced(given):
    assert re.fullmatch(r"[0-9a-f]{32}", request_id({"x-request-id": given}))


def test_rewards_and_failures_are_counted_apart():
    metrics = Metrics()
    metrics.observe_outcomes([RewardParts(1.5), Failure("bad"), RewardParts(-1.0)])
    metrics.observe_batch(3, 30, 0.2, [0.01, -0.5])
    text = metrics.exposition().decode()
    for line in (
        "rewardsmith_failed_sequences_total 1.0",
        "rewardsmith_reward_count 2.0",
        'rewardsmith_reward_bucket{le="0.0"} 1.0',
        "rewardsmith_tokens_total 30.0",
        "rewardsmith_wait_seconds_count 2.0",
        "rewardsmith_wait_seconds_sum 0.01",
    ):
        assert line in text
