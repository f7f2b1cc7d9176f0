"""`POST /rerank`, `/v1/rerank`, `/v2/rerank`: the form of Cohere, Jina and vLLM; with `texts`, that of TEI.

For a reward model the query is the prompt and each document a completion. `relevance_score` is the raw reward.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from rewardsmith.records import ScoreRequest
from rewardsmith.scoring.scorer import probability
from rewardsmith.serving.limits import invalid
from rewardsmith.serving.protocols.inputs import Documents, Texts, document_text, new_router
from rewardsmith.serving.protocols.vllm import VllmOptions
from rewardsmith.serving.requests import Truncation
from rewardsmith.serving.service import Scored, Service


class RerankBody(VllmOptions):
    """A query with documents; `top_n` 0 or null gives all of them."""

    query: str
    documents: Documents | None = None
    top_n: Annotated[int, Field(ge=0)] | None = None
    return_documents: bool = True
    texts: Texts | None = None
    raw_scores: bool = True
    return_text: bool = False
    truncate: bool = False


def router(service: Service) -> APIRouter:
    """Build the routes."""
    routes = new_router("vLLM", "Cohere", "Jina", "TEI")

    @routes.post("/rerank")
    @routes.post("/v1/rerank")
    @routes.post("/v2/rerank")
    async def rerank(body: RerankBody, http: Request) -> Response:
        service.check_name(body.model)
        if (body.documents is None) == (body.texts is None):
            raise invalid("give exactly one of documents and texts")
        documents = [document_text(document) for document in body.documents or body.texts or []]
        if not documents:
            raise invalid("documents is empty; send at least one")
        truncation = Truncation("right") if body.truncate else body.truncation()
        scored = await service.score(http, lambda: [ScoreRequest(body.query, tuple(documents))], truncation)
        if body.texts is not None:
            return JSONResponse(_tei_ranks(body, documents, scored), headers=scored.headers())
        return JSONResponse(_cohere_answer(service, body, documents, scored), headers=scored.headers())

    return routes


def _best_first(values: list[float]) -> list[int]:
    """Give indices by falling reward; equal rewards keep their order."""
    return sorted(range(len(values)), key=lambda index: -values[index])


def _cohere_answer(service: Service, body: RerankBody, documents: list[str], scored: Scored) -> dict[str, Any]:
    values = body.values(scored)
    order = _best_first(values)[: body.top_n or None]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": values[index]} for index in order]
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


def _tei_ranks(body: RerankBody, documents: list[str], scored: Scored) -> list[dict[str, Any]]:
    values = scored.rewards()
    shown = values if body.raw_scores else [probability(value) for value in values]
    ranks: list[dict[str, Any]] = [{"index": index, "score": shown[index]} for index in _best_first(values)]
    return [{**rank, "text": documents[rank["index"]]} for rank in ranks] if body.return_text else ranks
