"""What every protocol calls: the client's patience is watched, and what failed is named."""

import asyncio

import httpx
import pytest
from live_server import slow_down

from rewardsmith.scoring.scorer import RewardParts
from rewardsmith.serving.limits import Failure, Refusal, ServerSettings
from rewardsmith.serving.service import Scored, Service


def test_a_client_that_leaves_is_dropped_and_counted(reward_model, start_server, monkeypatch):
    slow_down(monkeypatch, reward_model, 0.3)
    with start_server(reward_model) as address:

        async def leave():
            async with httpx.AsyncClient(base_url=address) as client:
                calls = [client.post("/classify", json={"input": f"a {n}"}, timeout=0.1) for n in range(10)]
                return await asyncio.gather(*calls, return_exceptions=True)

        assert all(isinstance(result, httpx.TimeoutException) for result in asyncio.run(leave()))
        assert httpx.post(f"{address}/classify", json={"input": "b"}, timeout=10).status_code == 200
        exposition = httpx.get(f"{address}/metrics").text
    assert "rewardsmith_disconnected_total 10.0" in exposition
    assert "rewardsmith_queued_requests 0.0" in exposition
    assert "rewardsmith_queued_tokens 0.0" in exposition


def scored(*outcomes, truncated=()):
    return Scored(list(outcomes), [2] * len(outcomes), [i in truncated for i in range(len(outcomes))], [len(outcomes)])


def test_rewards_are_given_whole_or_the_failed_sequences_are_named():
    assert scored(RewardParts(1.0), RewardParts(2.0)).rewards() == [1.0, 2.0]
    with pytest.raises(Refusal, match="no reward for sequence 1, 2 of 3: it broke") as caught:
        scored(RewardParts(1.0), Failure("it broke"), Failure("so did it")).rewards()
    assert caught.value.status == 500


def test_what_was_cut_stands_in_a_header_and_tokens_in_the_usage():
    found = scored(RewardParts(1.0), RewardParts(2.0), RewardParts(3.0), truncated=(0, 2))
    assert found.headers() == {"X-Rewardsmith-Truncated": "0,2"}
    assert found.usage() == {"prompt_tokens": 6, "total_tokens": 6}
    assert scored(RewardParts(1.0)).headers() == {}


def test_a_model_answers_to_its_path_and_its_last_part_alone(reward_model):
    service = Service(reward_model, ServerSettings())
    try:
        assert service.names == (reward_model.name, "tiny-rm")
        for name in (None, "", *service.names):
            service.check_name(name)
        with pytest.raises(Refusal, match="'other' is not served here; served: ") as caught:
            service.check_name("other")
        assert caught.value.status == 404
        service.require_scale()
        found = scored(RewardParts(2.25, 1.0), Failure("it broke")).normalised(service.model).outcomes
        assert found == [RewardParts(1.0, 0.5), Failure("it broke")]
        assert (service.card()["id"], service.card()["has_contract"]) == (reward_model.name, True)
    finally:
        service.close()
