"""`POST /rerank` in the form of Cohere, Jina and vLLM, or of TEI; and `/predict`, TEI's classification.

For a reward model the query is the prompt and each document a completion. `relevance_score` is the raw reward.
`/predict`, which the text classification of huggingface_hub calls too, takes as `inputs` a text, a pair
[prompt, completion], or a list of [text] and [prompt, completion]. Its scores are raw unless `raw_scores` is false,
which asks for the logistic function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from rewardsmith.records import Completion, ScoreRequest
from rewardsmith.scoring.scorer import probability
from rewardsmith.serving.limits import invalid
from rewardsmith.serving.protocols.engines import VllmOptions
from rewardsmith.serving.protocols.inputs import FIRST_ERROR, Documents, new_router, to_document
from rewardsmith.serving.requests import Truncation
from rewardsmith.serving.service import Scored, Service, text_request


class RerankBody(VllmOptions):
    """A query with documents; `top_n` 0 or null gives all of them."""

    query: str
    documents: Documents | None = None
    top_n: Annotated[int, Field(ge=0)] | None = None
    return_documents: bool = True
    texts: Documents | None = None
    raw_scores: bool = True
    return_text: bool = False
    truncate: bool = False


def rerank_routes(service: Service) -> APIRouter:
    """Build the routes."""
    routes = new_router("vLLM", "Cohere", "Jina", "TEI")

    @routes.post("/rerank")
    @routes.post("/v1/rerank")
    @routes.post("/v2/rerank")
    async def rerank(body: RerankBody, http: Request) -> Response:
        service.check_name(body.model)
        if (body.documents is None) == (body.texts is None):
            raise invalid("give exactly one of documents and texts")
        documents = [to_document(document) for document in body.documents or body.texts or []]
        if not documents:
            raise invalid("documents is empty; send at least one")
        truncation = Truncation("right") if body.truncate else body.truncation()
        scored = await service.score(http, lambda: [ScoreRequest(body.query, tuple(documents))], truncation)
        if body.texts is not None:
            return JSONResponse(_tei_ranks(body, documents, scored), headers=scored.headers())
        return JSONResponse(_cohere_answer(service, body, documents, scored), headers=scored.headers())

    return routes


def _best_first(values: Sequence[float | None]) -> list[tuple[int, float]]:
    """Return index and value by falling reward, without nulls; equal rewards keep their order."""
    return sorted(((i, value) for i, value in enumerate(values) if value is not None), key=lambda found: -found[1])


def _cohere_answer(service: Service, body: RerankBody, documents: list[Completion], scored: Scored) -> dict[str, Any]:
    best = _best_first(body.values(scored))[: body.top_n or None]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": value} for index, value in best]
    if body.return_documents:
        for result in results:
            result["document"] = {"text": documents[result["index"]]}
    return {
        "id": f"rerank-{body.request_id or uuid4().hex}",
        "model": service.name,
        "usage": {**scored.usage(), "completion_tokens": 0, "prompt_tokens_details": None},
        "results": results,
        "meta": {"api_version": {"version": "2"}},
    }


def _tei_ranks(body: RerankBody, documents: list[Completion], scored: Scored) -> list[dict[str, Any]]:
    best = _best_first(scored.rewards_or_null())
    ranks: list[dict[str, Any]] = [
        {"index": index, "score": value if body.raw_scores else probability(value)} for index, value in best
    ]
    return [{**rank, "text": documents[rank["index"]]} for rank in ranks] if body.return_text else ranks


Single = Annotated[list[str], Field(min_length=1, max_length=2, fail_fast=True)]
Pair = Annotated[list[str], Field(min_length=2, max_length=2, fail_fast=True)]


class PredictBody(BaseModel):
    """TEI's body; `parameters` is what huggingface_hub adds."""

    inputs: str | Pair | Annotated[list[Single], FIRST_ERROR]
    raw_scores: bool = True
    truncate: bool | None = False
    truncation_direction: Literal["Left", "Right", "left", "right"] = "Right"
    parameters: dict[str, Any] | None = None


def tei(service: Service) -> APIRouter:
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
