"""One connection of the server: uvicorn's, with a limit on open ones and on the time that headers take."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, cast

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

# One read of a socket. Small, so that a body in many tiny chunks leaves the event loop in between.
READ_BYTES = 2**15
FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedConfig(Config):
    """uvicorn's configuration with the limits of `BoundedConnection`.

    Args:
        header_seconds: a connection that takes longer to send its headers is closed.
        max_open: connections at once.
    """

    def __init__(self, app: Any, *, header_seconds: float, max_open: int, **options: Any) -> None:
        super().__init__(app, http=BoundedConnection, ws="none", **options)
        self.header_seconds = header_seconds
        self.max_open = max_open
        # In order of arrival: the first has waited longest.
        self.without_request: MutableMapping[BoundedConnection, None] = {}


class BoundedConnection(H11Protocol):
    """Close when headers are late, and when others need the room of a connection that asks for nothing."""

    config: BoundedConfig
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for the connection, or refuse it."""
        super().connection_made(transport)
        # No part of asyncio's interface; where it is absent, reads are only larger.
        if hasattr(transport, "max_size"):
            cast("Any", transport).max_size = READ_BYTES
        if len(self.connections) > self.config.max_open:
            oldest = next(iter(self.config.without_request), None)
            if oldest is None:
                self._end_with(FULL)
                return
            oldest._end_with(FULL)
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Watch how long headers take; a byte now and then does not put it off."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_in_headers():
            self._wait_for_headers()
        else:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Count the connection, which may be used again, among those that ask for nothing."""
        super().on_response_complete()
        if not self.transport.is_closing() and self._is_in_headers():
            self.config.without_request[self] = None

    def _is_in_headers(self) -> bool:
        return self.conn.their_state is h11.IDLE

    def _wait_for_headers(self) -> None:
        self.config.without_request.setdefault(self)
        if self._late is None:
            self._late = self.loop.call_later(self.config.header_seconds, self._end_with, LATE)

    def _stop_waiting(self) -> None:
        self.config.without_request.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end_with(self, answer: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            if self.cycle is None:
                # After a first request a client would take it for the answer to its next one.
                self.transport.write(answer)
            self.transport.close()
        # Gone from the count at once; the transport reports its end later.
        self.connections.discard(self)
