"""The outermost layer, plain ASGI: key, method and route first, then the body within its limits."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from rewardsmith.serving.auth import KeyRing
from rewardsmith.serving.bodies import BodyRoom, Held, Receive, Unread, is_json, parse_body, read_body
from rewardsmith.serving.limits import Refusal, ServerSettings
from rewardsmith.serving.metrics import VISIT, Metrics, Visit, request_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Routes = Mapping[str, frozenset[str]]
logger = logging.getLogger("rewardsmith.serving")
LIVENESS = ("/health", "/livez")
# In place of a body that was parsed already.
PARSED = b"parsed"
MAX_MESSAGE = 1000
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Gate:
    """Check each request before its body is read, bound and parse the body, and count the request when answered.

    Args:
        app: the application behind.
        settings: limits.
        metrics: where requests are counted.
        routes: known paths with their methods; others are counted as "other" so that strangers cannot grow the
            metrics.
    """

    def __init__(self, app: Application, settings: ServerSettings, metrics: Metrics, routes: Routes) -> None:
        self.app = app
        self.settings = settings
        self.metrics = metrics
        self.routes = routes
        self.keys = KeyRing(settings.key_digests, settings.key_file)
        self.room = BodyRoom(max(settings.max_total_body_bytes, settings.max_body_bytes))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._visited(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _visited(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        route = scope["path"] if scope["path"] in self.routes else "other"
        visit = Visit(request_id(headers), scope["method"], route, Held(self.room))
        visit.client = str(scope["client"][0]) if scope.get("client") else ""
        scope[VISIT] = visit
        try:
            await self._guarded(scope, headers, receive, _observed(send, visit, _closes(scope["method"], headers)))
        except Exception as error:
            # The answer was sent by the inner handler; a traceback in the log could quote a text.
            logger.error("%s failed with %s (request %s)", route, type(error).__name__, visit.request_id)
        finally:
            visit.held.release()
            if visit.key is not None:
                self.keys.end(visit.key)
            self.metrics.requests.labels(route, str(visit.status)).inc()
            self.metrics.request_seconds.labels(route).observe(time.monotonic() - visit.started)
            visit.log()

    async def _guarded(self, scope: Scope, headers: dict[str, str], receive: Receive, send: Send) -> None:
        visit: Visit = scope[VISIT]
        unread = Unread(receive)
        try:
            self._check_key(visit, headers)
            self._check_route(scope["path"], visit.method)
            body: bytes | None = b""
            if visit.method == "POST":
                body = await self._body(visit, headers, unread.receive)
        except Refusal as refusal:
            # A connection that ends with half a body on it is reset, and the answer with it.
            if refusal.status in (413, 429) and "expect" not in headers:
                visit.held.release()
                await unread.drop()
            await send_refusal(send, scope["path"], refusal)
            return
        if body is not None:
            await self.app(scope, _replay(body, receive), send)

    def _check_key(self, visit: Visit, headers: dict[str, str]) -> None:
        if not self.keys or visit.route in LIVENESS:
            return
        key = self.keys.find(headers)
        if key is None:
            message = "no known API key; send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            raise Refusal(message, 401, "unauthorized", {"WWW-Authenticate": "Bearer"})
        self.keys.begin(key)
        visit.key = key

    def _check_route(self, path: str, method: str) -> None:
        methods = self.routes.get(path)
        if methods is None:
            raise Refusal("there is no such route; the routes are listed at /docs", 404, "not_found")
        if method not in methods:
            allowed = ", ".join(sorted(methods))
            raise Refusal(f"this route takes {allowed}", 405, "method_not_allowed", {"Allow": allowed})

    async def _body(self, visit: Visit, headers: dict[str, str], receive: Receive) -> bytes | None:
        """Read and parse; return what stands for the body, or None when the client left."""
        body = await read_body(headers, receive, visit.held, self.settings)
        if not body:
            return None if body is None else b""
        visit.body_bytes = len(body)
        if not is_json(headers.get("content-type", "")):
            # Not read as JSON by any route; its first bytes are as good as all for the refusal.
            return bytes(body[:100])
        visit.body = await parse_body(body, visit.held, self.settings)
        return PARSED


def _closes(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a request carries a body that nobody will read, so that its connection has to end with the answer."""
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    return has_body and method != "POST"


def _observed(send: Send, visit: Visit, closes: bool) -> Send:
    """Pass an answer on with its request id, and note its status and size."""

    async def observed(message: Message) -> None:
        if message["type"] == "http.response.start":
            visit.status = message["status"]
            extra = [(b"x-request-id", visit.request_id.encode())]
            if closes:
                extra.append((b"connection", b"close"))
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        else:
            visit.answer_bytes += len(message.get("body", b""))
        await send(message)

    return observed


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return the body once, then pass on what the server says (a disconnect)."""
    pending = [body]

    async def replayed() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replayed


def refusal_body(path: str, refusal: Refusal) -> dict[str, Any]:
    """Return the error's JSON: TEI's shape on its route, the shape of OpenAI and vLLM elsewhere.

    Control characters are gone and a long message is cut: it may quote what was sent, and ends in terminals.
    """
    message = CONTROL.sub(" ", str(refusal))
    message = message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + " ..."
    message = message.encode("utf-8", "replace").decode()
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
