"""`POST /v1/score/evaluation`: LLaMA-Factory's reward API (`reward_model_type: api` of its PPO)."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from rewardsmith.serving.limits import invalid
from rewardsmith.serving.protocols.inputs import Label, Texts, new_router
from rewardsmith.serving.requests import Truncation
from rewardsmith.serving.service import Service, text_request


class ScoreEvaluationBody(BaseModel):
    """Full texts. `model` is not compared, since LLaMA-Factory sends the word "model"."""

    model: Label
    messages: Texts
    max_length: Annotated[int, Field(ge=1)] | None = None


def router(service: Service) -> APIRouter:
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
