"""`POST /score`: vLLM's pairs. For a reward model the query is the prompt and the document the completion."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AliasChoices, ConfigDict, Field

from rewardsmith.records import ScoreRequest
from rewardsmith.serving.protocols.inputs import document_text
from rewardsmith.serving.protocols.vllm_options import VllmOptions, envelope
from rewardsmith.serving.refusals import invalid
from rewardsmith.serving.service import Service

Side = str | dict[str, Any] | list[str | dict[str, Any]]


class ScoreBody(VllmOptions):
    """One query against each document, or as many queries as documents, pairwise."""

    model_config = ConfigDict(populate_by_name=True)
    queries: Side = Field(validation_alias=AliasChoices("queries", "text_1", "data_1", "query"))
    documents: Side = Field(validation_alias=AliasChoices("documents", "items", "text_2", "data_2"))


def router(service: Service) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["vLLM"])

    @routes.post("/score")
    @routes.post("/v1/score")
    async def score(body: ScoreBody, http: Request) -> Response:
        service.check_name(body.model)
        scored = await service.score(http, _pairs(body), body.truncation())
        data = [{"index": i, "object": "score", "score": value} for i, value in enumerate(body.values(scored))]
        answer = envelope(service, f"score-{body.request_id or uuid4().hex}", data, scored)
        return JSONResponse(answer, headers=scored.headers())

    return routes


def _pairs(body: ScoreBody) -> list[ScoreRequest]:
    queries, documents = _texts(body.queries), _texts(body.documents)
    if not queries or not documents:
        raise invalid("queries and documents need at least one text each")
    if len(queries) == 1:
        return [ScoreRequest(queries[0], tuple(documents))]
    if len(queries) != len(documents):
        raise invalid(f"{len(queries)} queries and {len(documents)} documents; give one query or as many as documents")
    return [ScoreRequest(query, (document,)) for query, document in zip(queries, documents, strict=True)]


def _texts(side: Side) -> list[str]:
    return [document_text(value) for value in (side if isinstance(side, list) else [side])]
