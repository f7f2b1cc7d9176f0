"""The outermost layer, plain ASGI: keys, body limits, and one metric line a request. Bodies are never logged."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rewardsmith.serving.auth import is_known
from rewardsmith.serving.metrics import Metrics
from rewardsmith.serving.refusals import Refusal, too_large
from rewardsmith.serving.settings import ServerSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
logger = logging.getLogger("rewardsmith.serving")
LIVENESS = ("/health", "/livez")


class Gate:
    """Check each request before anything is parsed, and count it after it is answered.

    Args:
        app: the application behind.
        settings: keys and limits.
        metrics: where requests are counted.
        routes: known paths; others are counted as "other" so that strangers cannot grow the metrics.
    """

    def __init__(self, app: Any, settings: ServerSettings, metrics: Metrics, routes: frozenset[str]) -> None:
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route = scope["path"] if scope["path"] in self.routes else "other"
        started, codes = time.monotonic(), [499]

        async def observed_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                codes[0] = message["status"]
            await send(message)

        try:
            await self._guarded(scope, receive, observed_send)
        except Exception as error:
            # The answer was sent by the inner handler; a traceback in the log could quote a text.
            logger.error("%s failed with %s", route, type(error).__name__)
        finally:
            self.metrics.requests.labels(route, str(codes[0])).inc()
            self.metrics.request_seconds.labels(route).observe(time.monotonic() - started)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        try:
            self._check_key(scope["path"], headers)
            body = await self._read_body(headers, receive)
        except Refusal as refusal:
            await send_refusal(send, scope["path"], refusal)
            return
        if body is not None:
            await self.app(scope, _replay(body, receive), send)

    def _check_key(self, path: str, headers: dict[str, str]) -> None:
        digests = self.settings.key_digests
        if digests and path not in LIVENESS and not is_known(headers, digests):
            message = "no known API key; send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            raise Refusal(message, 401, "unauthorized", {"WWW-Authenticate": "Bearer"})

    async def _read_body(self, headers: dict[str, str], receive: Receive) -> bytes | None:
        """Read the whole body within its limits; None when the client left. Raises Refusal 413 or 408."""
        limit = self.settings.max_body_bytes
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise too_large(f"the body has {declared} bytes and the limit is {limit}; split the request")
        try:
            async with asyncio.timeout(self.settings.body_timeout_seconds):
                return await _collect(receive, limit)
        except TimeoutError:
            seconds = self.settings.body_timeout_seconds
            raise Refusal(f"the body did not arrive within {seconds:g} s", 408, "slow_body") from None


async def _collect(receive: Receive, limit: int) -> bytes | None:
    chunks = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks += message.get("body", b"")
        if len(chunks) > limit:
            raise too_large(f"the body is larger than {limit} bytes; split the request")
        if not message.get("more_body", False):
            return bytes(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once, then pass on what the server says (a disconnect)."""
    pending = [body]

    async def replayed() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replayed


def refusal_body(path: str, refusal: Refusal) -> dict[str, Any]:
    """Give the error's JSON: TEI's shape on its route, the shape of OpenAI and vLLM elsewhere."""
    message = str(refusal)
    if path == "/predict":
        names = {422: "validation", 413: "validation", 429: "overloaded", 503: "unhealthy"}
        return {"error": message, "error_type": names.get(refusal.status, "backend")}
    return {"error": {"message": message, "type": refusal.kind, "param": None, "code": refusal.status}}


async def send_refusal(send: Send, path: str, refusal: Refusal) -> None:
    """Answer with a refusal, from plain ASGI. The connection closes: an unread body may still be on it."""
    body = json.dumps(refusal_body(path, refusal)).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    headers |= {name.lower(): value for name, value in refusal.headers.items()}
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
