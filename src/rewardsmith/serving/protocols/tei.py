"""`POST /predict`: text-embeddings-inference, and through it the text classification of huggingface_hub.

`inputs` is a text, a pair [prompt, completion], or a list of [text] and [prompt, completion]. Scores are raw unless
`raw_scores` is false, which asks for the logistic function.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from rewardsmith.records import ScoreRequest
from rewardsmith.scoring.scorer import probability
from rewardsmith.serving.limits import invalid
from rewardsmith.serving.protocols.inputs import FIRST_ERROR, new_router
from rewardsmith.serving.requests import Truncation
from rewardsmith.serving.service import Service, text_request

Single = Annotated[list[str], Field(min_length=1, max_length=2, fail_fast=True)]
Pair = Annotated[list[str], Field(min_length=2, max_length=2, fail_fast=True)]


class PredictBody(BaseModel):
    """TEI's body; `parameters` is what huggingface_hub adds."""

    inputs: str | Pair | Annotated[list[Single], FIRST_ERROR]
    raw_scores: bool = True
    truncate: bool | None = False
    truncation_direction: Literal["Left", "Right", "left", "right"] = "Right"
    parameters: dict[str, Any] | None = None


def router(service: Service) -> APIRouter:
    """Build the route."""
    routes = new_router("TEI")

    @routes.post("/predict")
    async def predict(body: PredictBody, http: Request) -> Response:
        side: Any = body.truncation_direction.lower()
        truncation = Truncation(side) if body.truncate else None
        scored = await service.score(http, lambda: _requests(body.inputs), truncation)
        values = scored.rewards() if body.raw_scores else [probability(value) for value in scored.rewards()]
        answers = [[{"score": value, "label": "LABEL_0"}] for value in values]
        # huggingface_hub, told apart by its parameters, reads a batch of one; TEI answers one text without the batch.
        is_single = isinstance(body.inputs, str) or isinstance(body.inputs[0], str)
        is_flat = is_single and body.parameters is None
        return JSONResponse(answers[0] if is_flat else answers, headers=scored.headers())

    return routes


def _requests(inputs: str | list[str] | list[list[str]]) -> list[ScoreRequest]:
    if isinstance(inputs, str):
        return [text_request(inputs)]
    if not inputs:
        raise invalid("inputs is empty; send at least one text")
    items: Any = [inputs] if isinstance(inputs[0], str) else inputs
    return [text_request(item[0]) if len(item) == 1 else ScoreRequest(item[0], (item[1],)) for item in items]
