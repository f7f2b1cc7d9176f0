"""`POST /pooling`: vLLM's pooling route with the task "classify"."""

from __future__ import annotations

from typing import Literal
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from rewardsmith.serving.protocols.classify import VllmClassify, vllm_requests
from rewardsmith.serving.protocols.vllm_options import envelope
from rewardsmith.serving.service import Service


class PoolingBody(VllmClassify):
    """vLLM's body. A sequence reward model has no reward per token, so "classify" is the only task."""

    task: Literal["classify"] | None = None
    encoding_format: Literal["float"] = "float"


def router(service: Service) -> APIRouter:
    """Build the route."""
    routes = APIRouter(tags=["vLLM"])

    @routes.post("/pooling")
    async def pooling(body: PoolingBody, http: Request) -> Response:
        service.check_name(body.model)
        scored = await service.score(http, vllm_requests(body), body.truncation())
        data = [
            {"index": index, "object": "pooling", "data": [value]} for index, value in enumerate(body.values(scored))
        ]
        answer = envelope(service, f"pool-{body.request_id or uuid4().hex}", data, scored)
        return JSONResponse(answer, headers=scored.headers())

    return routes
