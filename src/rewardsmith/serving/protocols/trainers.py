"""What trainers call: `/get_reward` of OpenRLHF and `/v1/score/evaluation`, LLaMA-Factory's reward API.

OpenRLHF's requests of one sample each are batched by the engine. Its `rewards` are raw; it clips them, by default to
(-10, 10). `scores` lie in (0, 1) for its dynamic filtering: the probability of beating an average answer, by the
contract's mean, or 0 without one. LLaMA-Factory calls with `reward_model_type: api` of its PPO.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from rewardsmith.scoring.scorer import probability
from rewardsmith.serving.limits import invalid
from rewardsmith.serving.protocols.inputs import Label, Texts, new_router
from rewardsmith.serving.requests import Truncation
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


def openrlhf(service: Service) -> APIRouter:
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


class ScoreEvaluationBody(BaseModel):
    """Full texts. `model` is not compared, since LLaMA-Factory sends the word "model"."""

    model: Label
    messages: Texts
    max_length: Annotated[int, Field(ge=1)] | None = None


def llamafactory(service: Service) -> APIRouter:
    """Build the route."""
    routes = new_router("LLaMA-Factory")

    @routes.post("/v1/score/evaluation")
    async def evaluation(body: ScoreEvaluationBody, http: Request) -> Response:
        if not body.messages:
            raise invalid("messages is empty; send at least one text")
        truncation = None if body.max_length is None else Truncation("right", body.max_length)
        scored = await service.score(http, lambda: list(map(text_request, body.messages)), truncation)
        answer: dict[str, Any] = {
            "id": f"scoreval-{uuid4().hex}",
            "object": "score.evaluation",
            "model": body.model,
            "scores": scored.rewards(),
        }
        return JSONResponse(answer, headers=scored.headers())

    return routes
