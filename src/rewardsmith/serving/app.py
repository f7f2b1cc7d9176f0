"""Put the protocols, the error answers and the outer layer together into one ASGI application.

The page at /docs shows every route with its fields. It is written here and loads nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, PackageLoader
from starlette.exceptions import HTTPException

from rewardsmith._version import __version__
from rewardsmith.blocks.html import prose
from rewardsmith.serving.limits import Refusal, ServerSettings
from rewardsmith.serving.middleware import Gate, refusal_body
from rewardsmith.serving.protocols import PROTOCOLS
from rewardsmith.serving.requests import ServedModel
from rewardsmith.serving.service import Service

EXAMPLES = {
    "/v1/reward": '{"prompt": "What is 2 + 2?", "completions": ["4", "5"]}',
    "/classify": '{"input": ["What is 2 + 2?4"]}',
    "/pooling": '{"input": ["What is 2 + 2?4"]}',
    "/score": '{"queries": "What is 2 + 2?", "documents": ["4", "5"]}',
    "/rerank": '{"query": "What is 2 + 2?", "documents": ["4", "5"]}',
    "/get_reward": '{"query": ["What is 2 + 2?4"]}',
    "/v1/embeddings": '{"input": "What is 2 + 2?4"}',
    "/v1/score/evaluation": '{"model": "model", "messages": ["What is 2 + 2?4"]}',
    "/predict": '{"inputs": "What is 2 + 2?4"}',
}
logger = logging.getLogger("rewardsmith.serving")


def docs_page(openapi: Mapping[str, Any], model: str, address: str) -> str:
    """Write the page of an OpenAPI description.

    Args:
        openapi: as FastAPI makes it.
        model: the name that is served.
        address: of the server, without a slash at its end; stands in the examples.
    """
    environment = Environment(loader=PackageLoader("rewardsmith.serving"), autoescape=True, trim_blocks=True)
    info = openapi["info"]
    return environment.get_template("docs.html").render(
        title=info["title"],
        version=info["version"],
        summary=info.get("summary", ""),
        model=model,
        address=address,
        routes=list(_routes(openapi)),
        prose=prose,
    )


def _routes(openapi: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    schemas = openapi.get("components", {}).get("schemas", {})
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            content = route.get("requestBody", {}).get("content", {})
            schema = _resolved(content.get("application/json", {}).get("schema", {}), schemas)
            yield {
                "method": method.upper(),
                "path": path,
                "tags": route.get("tags", ()),
                "summary": schema.get("description") or route.get("description", ""),
                "fields": list(_fields(schema)),
                "example": EXAMPLES.get(path),
            }


def _fields(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        yield {
            "name": name,
            "type": _type(field),
            "required": name in required,
            "description": field.get("description", ""),
        }


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    return schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)


def _type(schema: Mapping[str, Any]) -> str:
    """Return a type in words: `string or list of integer`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(part) for part in schema["anyOf"]))
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    if schema.get("type") == "array":
        inner = _type(schema.get("items", {}))
        return f"list of ({inner})" if " or " in inner else f"list of {inner}"
    return str(
        schema.get("title") if schema.get("type") == "object" and "title" in schema else schema.get("type", "any")
    )


class RewardApp(Gate):
    """The ASGI application: the outer layer over all protocols. `service` is the model behind it."""

    service: Service


def build_app(model: ServedModel, settings: ServerSettings | None = None) -> RewardApp:
    """Build the application for one model.

    Args:
        model: a `rewardsmith.scoring.RewardModel`, or anything with its encode and score_encoded.
        settings: limits, names and keys; the defaults ask for no key, so bind them to this machine only.
    """
    service = Service(model, settings or ServerSettings())
    inner = FastAPI(
        title="Rewardsmith",
        version=__version__,
        summary="Rewards of a reward model, in the protocols of other tools. Raw unless asked otherwise.",
        lifespan=_lifespan(service),
        # FastAPI's own pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    for make_router in PROTOCOLS:
        inner.include_router(make_router(service))
    _add_docs(inner, service)
    _install_error_answers(inner)
    routes = {path: frozenset(name.upper() for name in methods) for path, methods in inner.openapi()["paths"].items()}
    routes |= dict.fromkeys(("/", "/docs", "/openapi.json"), frozenset({"GET"}))
    app = RewardApp(inner, service.settings, service.metrics, routes)
    app.service = service
    return app


def _add_docs(app: FastAPI, service: Service) -> None:
    @app.get("/", include_in_schema=False)
    async def start() -> RedirectResponse:
        # Without a slash: also right behind a proxy that serves it below a path.
        return RedirectResponse("docs")

    @app.get("/docs", include_in_schema=False)
    async def docs(http: Request) -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi(), service.name, str(http.base_url).rstrip("/")))


def _lifespan(service: Service) -> Any:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.engine.drain()
        try:
            async with asyncio.timeout(service.settings.shutdown_seconds):
                await service.engine.idle()
        except TimeoutError:
            logger.error("%d requests were not finished in time", service.engine.num_requests)
        service.close()

    return lifespan


def _install_error_answers(app: FastAPI) -> None:
    """Answer every error in one shape. No answer or log line holds a text that was sent."""

    @app.exception_handler(Refusal)
    async def refused(http: Request, refusal: Refusal) -> JSONResponse:
        if refusal.status >= 500 and refusal.status != 503:
            logger.error("%s answered %d: %s", http.url.path, refusal.status, refusal.kind)
        return JSONResponse(refusal_body(http.url.path, refusal), refusal.status, refusal.headers)

    @app.exception_handler(RequestValidationError)
    async def unreadable(http: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        is_json = not any(problem["type"] == "json_invalid" for problem in problems)
        listed = "; ".join(_problem(problem) for problem in problems[:5])
        refusal = Refusal(listed or "the body cannot be read", 422 if is_json else 400, "invalid_request")
        return JSONResponse(refusal_body(http.url.path, refusal), refusal.status)

    @app.exception_handler(Exception)
    async def unexpected(http: Request, error: Exception) -> JSONResponse:
        refusal = Refusal(f"unexpected {type(error).__name__} in the server", 500, "server_error")
        return JSONResponse(refusal_body(http.url.path, refusal), 500)

    @app.exception_handler(HTTPException)
    async def http_error(http: Request, error: HTTPException) -> JSONResponse:
        refusal = Refusal(str(error.detail), error.status_code, "http_error")
        return JSONResponse(refusal_body(http.url.path, refusal), error.status_code, error.headers)


def _problem(problem: Mapping[str, Any]) -> str:
    place = ".".join(str(part)[:40] for part in problem["loc"])
    return f"{place}: {problem['msg'][:200]}"
