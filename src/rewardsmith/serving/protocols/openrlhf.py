"""`POST /get_reward`: the remote reward of OpenRLHF. Requests of one sample each are batched by the engine.

`rewards` are raw; OpenRLHF clips them, by default to (-10, 10). `scores` lie in (0, 1) for its dynamic filtering:
the probability of beating an average answer, by the contract's mean, or 0 without one.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel

from rewardsmith.scoring.scorer import probability
from rewardsmith.serving.protocols.inputs import Texts, new_router
from rewardsmith.serving.service import Service, text_request


class GetRewardBody(BaseModel):
    """Full texts with their special tokens; prompts and labels are not needed for a reward."""

    query: str | Texts
    prompts: object = None
    labels: object = None


class GetRewardAnswer(BaseModel):
    """One entry per query; all empty for an empty shard."""

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


def router(service: Service) -> APIRouter:
    """Build the route."""
    routes = new_router("OpenRLHF")

    @routes.post("/get_reward")
    async def get_reward(body: GetRewardBody, http: Request) -> GetRewardAnswer:
        queries = [body.query] if isinstance(body.query, str) else body.query
        scored = await service.score(http, lambda: list(map(text_request, queries)))
        rewards = scored.rewards()
        centre = service.reward_scale()[0] or 0.0
        scores = [probability(reward - centre) for reward in rewards]
        return GetRewardAnswer(rewards=rewards, scores=scores, extra_logs={"raw_reward": rewards})

    return routes
