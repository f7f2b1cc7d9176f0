"""Build the web application of an open project."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

import anyio.to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError, SQLAlchemyError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from rewardsmith.collecting.app import arena, entry, owner, work
from rewardsmith.collecting.app.context import FOLDER, Context, NotLoggedIn
from rewardsmith.collecting.app.security import Cookies, Guard
from rewardsmith.collecting.collection import Collection

logger = logging.getLogger("uvicorn.error")
# More threads than this only wait for each other, at the interpreter's lock and at the database's.
THREADS = 4


@contextlib.asynccontextmanager
async def _few_threads(app: FastAPI) -> AsyncIterator[None]:
    """Let requests queue in front of a few threads."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


def build_app(
    collection: Collection,
    *,
    is_https: bool = False,
    endpoints: Mapping[str, str] | None = None,
    public_url: str | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        is_https: whether browsers come by HTTPS: cookies are then sent over nothing else.
        endpoints: name to URL of the models of the arena.
        public_url: address for the links that the owner's pages show; that of the request when None.
    """
    secret = collection.secret()
    app = FastAPI(title="Rewardsmith collect", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_few_threads)
    app.state.context = Context(collection, secret, Cookies(secret, is_https), dict(endpoints or {}), public_url)
    for router in (entry.router, work.router, owner.router, arena.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.add_middleware(Guard, is_https=is_https)  # type: ignore[arg-type]

    @app.get("/health")
    def health() -> JSONResponse:
        """Say that the database answers."""
        return JSONResponse({"version": collection.store.version()})

    @app.exception_handler(OperationalError)
    @app.exception_handler(TimeoutError)
    def no_database(request: Request, error: SQLAlchemyError) -> Response:
        logger.error("the database failed: %s", error)
        text = (
            "The database cannot be reached, or its disk is full. Nothing of this page was saved: go back and send it "
        )
        return app.state.context.message("Not saved", f"{text}again, or tell the owner.", 503)

    @app.exception_handler(NotLoggedIn)
    def to_login(request: Request, error: NotLoggedIn) -> Response:
        return RedirectResponse("/login", 303)

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        text = str(error.detail)
        page = app.state.context.message("Not possible", f"{text[:1].upper()}{text[1:]}.", error.status_code)
        page.headers.update(error.headers or {})
        return page

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Response:
        return app.state.context.message("Not possible", "This address is not complete.", 422)

    return app
