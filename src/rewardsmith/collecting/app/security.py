"""What stands before every page: headers, body limit, origin check, rate limit, signed cookies."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from itsdangerous import BadSignature, Signer
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 256 * 1024
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Under "no-referrer" browsers send "Origin: null" with forms, and nothing could be told from it.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware: refuses foreign origins and large bodies, adds the headers."""

    def __init__(self, app: ASGIApp, is_https: bool = False) -> None:
        self.app, self.is_https = app, is_https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    kept.setdefault(name, value)
                kept.setdefault("cache-control", "no-store")
                if self.is_https:
                    kept.setdefault("strict-transport-security", "max-age=31536000")
            await send(message)

        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and not is_same_origin(headers):
            await PlainTextResponse("this request comes from another site", 403)(scope, receive, answer)
            return
        try:
            declared = int(headers.get("content-length") or 0)
        except ValueError:
            declared = MOST_BYTES + 1
        if declared > MOST_BYTES:
            await PlainTextResponse(f"the body is larger than {MOST_BYTES // 1024} KiB", 413)(scope, receive, answer)
            return
        await self.app(scope, _Limited(receive), answer)


class _Limited:
    """Receive a body piece by piece, and no more than allowed of it."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.size = receive, 0

    async def __call__(self) -> Message:
        message = await self.receive()
        self.size += len(message.get("body", b""))
        if self.size > MOST_BYTES:
            return {"type": "http.disconnect"}
        return message


def is_same_origin(headers: Headers) -> bool:
    """Whether a browser says that a request comes from our own pages; what is no browser says nothing."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


@dataclass
class RateLimit:
    """At most `most` events of a key within `seconds`; the memory is bounded by `keys`."""

    most: int
    seconds: float
    keys: int = 10_000
    _seen: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def allows(self, key: str, now: float | None = None) -> bool:
        """Count an event and say whether it is within the limit."""
        moment = time.monotonic() if now is None else now
        with self._lock:
            if len(self._seen) >= self.keys and key not in self._seen:
                self._seen.pop(next(iter(self._seen)))
            times = self._seen.setdefault(key, deque())
            while times and times[0] <= moment - self.seconds:
                times.popleft()
            if len(times) >= self.most:
                return False
            times.append(moment)
            return True


class Cookies:
    """Sign and read the session cookie, and the token of forms that come before a session."""

    def __init__(self, secret: str, is_https: bool) -> None:
        self._signer = Signer(secret, salt="session", digest_method=hashlib.sha256)
        self._secret = secret.encode()
        self.is_https = is_https
        self.name = "__Host-collect" if is_https else "collect"
        self.form_name = "__Host-collect-form" if is_https else "collect-form"

    def sign(self, token: str) -> str:
        """Return the cookie of a session's token."""
        return self._signer.sign(token).decode("ascii")

    def read(self, cookie: str | None) -> str | None:
        """Return the token of a cookie; None for none or a forged one."""
        try:
            return self._signer.unsign(cookie or "").decode("utf-8")
        except (BadSignature, UnicodeError):
            return None

    def form_token(self, nonce: str) -> str:
        """Return what a form must send along with the cookie `nonce`."""
        return hmac.new(self._secret, b"form" + nonce.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
