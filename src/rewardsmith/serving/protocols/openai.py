"""`POST /v1/embeddings`: SGLang's way to serve a reward model, in OpenAI's shape; the embedding is `[reward]`."""

from __future__ import annotations

import base64
import struct
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from rewardsmith.serving.protocols.inputs import Label, ManyTexts, new_router, requests_of
from rewardsmith.serving.service import Service


class EmbeddingsBody(BaseModel):
    """OpenAI's body. `dimensions` can only be 1."""

    input: ManyTexts
    model: Label | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Literal[1] | None = None
    user: Label | None = None


def router(service: Service) -> APIRouter:
    """Build the route."""
    routes = new_router("SGLang", "OpenAI")

    @routes.post("/v1/embeddings")
    async def embeddings(body: EmbeddingsBody, http: Request) -> Response:
        service.check_name(body.model)
        scored = await service.score(http, lambda: requests_of(body.input))
        data = [
            {"object": "embedding", "index": index, "embedding": _encode(reward, body.encoding_format)}
            for index, reward in enumerate(scored.rewards())
        ]
        answer = {"object": "list", "data": data, "model": service.name, "usage": scored.usage()}
        return JSONResponse(answer, headers=scored.headers())

    return routes


def _encode(reward: float, encoding: str) -> Any:
    """Give a list of one number, or its little-endian float32 in base64, which the openai client asks for."""
    return [reward] if encoding == "float" else base64.b64encode(struct.pack("<f", reward)).decode()
