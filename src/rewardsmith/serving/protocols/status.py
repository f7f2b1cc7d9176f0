"""Liveness, readiness, the model's card and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from rewardsmith.serving.limits import Refusal, draining, hung
from rewardsmith.serving.protocols.inputs import new_router
from rewardsmith.serving.service import Service


def router(service: Service) -> APIRouter:
    """Build the routes."""
    routes = new_router("status")

    @routes.get("/health")
    @routes.get("/livez")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/ready")
    async def ready() -> dict[str, str]:
        if service.engine.is_draining:
            raise draining()
        if not service.engine.is_alive():
            raise Refusal("the model thread is gone", 503, "not_ready")
        if service.engine.is_hung:
            raise hung(service.engine.busy_seconds)
        if service.engine.is_full:
            raise Refusal("the queue is full", 503, "not_ready", {"Retry-After": "1"})
        return {"status": "ready"}

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        common = {"object": "model", "created": service.created, "owned_by": "rewardsmith"}
        cards = [{**common, "id": name, "root": service.name, "rewardsmith": service.card()} for name in service.names]
        return {"object": "list", "data": cards}

    @routes.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes
