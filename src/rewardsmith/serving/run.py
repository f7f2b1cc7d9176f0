"""Run the application under uvicorn, and stop it without losing what was accepted.

Connections are uvicorn's, with a limit on open ones and on the time that headers and
the reading of an answer take.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import ssl
import threading
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast

import h11
import uvicorn
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from rewardsmith.errors import ConfigError, UsageError
from rewardsmith.serving.app import RewardApp
from rewardsmith.serving.auth import bare_host, require_keys_off_loopback

# One read of a socket. Small, so that a body in many tiny chunks leaves the event loop in between.
READ_BYTES = 2**15
FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
logger = logging.getLogger("rewardsmith.serving")
KEEP_ALIVE_SECONDS = 75
# Open files beside connections: the model, libraries, logs.
OTHER_FILES = 64


class BoundedConfig(Config):
    """uvicorn's configuration with the limits of `BoundedConnection`.

    Args:
        header_seconds: a connection that takes longer to send its headers is closed.
        write_seconds: so is one that takes longer to read what it is sent.
        max_open: connections at once.
    """

    def __init__(self, app: Any, *, header_seconds: float, write_seconds: float, max_open: int, **options: Any) -> None:
        super().__init__(app, http=BoundedConnection, ws="none", **options)
        self.header_seconds = header_seconds
        self.write_seconds = write_seconds
        self.max_open = max_open
        # In order of arrival: the first has waited longest.
        self.without_request: MutableMapping[BoundedConnection, None] = {}


class BoundedConnection(H11Protocol):
    """Close when headers or the reading of an answer are late, and when others need an idle connection's room."""

    config: BoundedConfig
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for the connection, or refuse it."""
        super().connection_made(transport)
        # No part of asyncio's interface; where it is absent, reads are only larger.
        if hasattr(transport, "max_size"):
            cast("Any", transport).max_size = READ_BYTES
        # Every byte that the system does not take is told by `pause_writing`, so that none waits without a limit.
        transport.set_write_buffer_limits(1)
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
        self._note_read()
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

    def pause_writing(self) -> None:
        """Bound how long the client may take to read what is sent."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.config.write_seconds, self._give_up)

    def resume_writing(self) -> None:
        """Note that the client has read all of it."""
        super().resume_writing()
        self._note_read()

    def _note_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up(self) -> None:
        logger.warning("a client did not read its answer within %g s; its connection ends", self.config.write_seconds)
        self.transport.abort()

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


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of a TLS server, in PEM.

    Args:
        certificate: with its chain.
        key: of the certificate; None where it stands in the same file.
        client_authorities: certificates of whoever signs clients; given, every client has to show one.
    """

    certificate: Path
    key: Path | None = None
    client_authorities: Path | None = None

    def check(self) -> None:
        """Raise ConfigError for files that cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for path in (self.certificate, self.key, self.client_authorities):
            if path is not None and not path.is_file():
                raise ConfigError(f"there is no file {path} for TLS")
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_authorities:
                context.load_verify_locations(self.client_authorities)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{self.certificate} and its key cannot be used for TLS: {error}") from error


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 takes a free one. An IPv6 host may stand in brackets."""

    host: str = "127.0.0.1"
    port: int = 8000
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"there is no port {self.port}; ports are 0 to 65535")

    @property
    def url(self) -> str:
        """The address as a client takes it."""
        host = bare_host(self.host)
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


class GracefulServer(uvicorn.Server):
    """uvicorn that, at the first signal, still listens: new work gets 503, accepted work is finished, then it ends.

    A second signal ends at once. SIGHUP reads the keys again.
    """

    def __init__(self, app: RewardApp, address: Address) -> None:
        settings, tls = app.settings, address.tls
        config = BoundedConfig(
            app,
            header_seconds=settings.header_timeout_seconds,
            write_seconds=settings.write_timeout_seconds,
            max_open=_room_for_connections(settings.max_connections),
            host=bare_host(address.host),
            port=address.port,
            lifespan="on",
            access_log=False,
            server_header=False,
            log_level="warning",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=int(settings.shutdown_seconds) + 1,
            backlog=2048,
            ssl_certfile=tls and tls.certificate,
            ssl_keyfile=tls and tls.key,
            ssl_ca_certs=str(tls.client_authorities) if tls and tls.client_authorities else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.client_authorities else ssl.CERT_NONE,
        )
        super().__init__(config)
        self.reward_app = app
        self.signal: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._finishing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remember the event loop that signals must reach."""
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
            self._loop.add_signal_handler(signal.SIGHUP, self.reward_app.keys.reload)
        await super().startup(sockets)

    @property
    def bound_port(self) -> int:
        """The port that is listened on."""
        return self.servers[0].sockets[0].getsockname()[1]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second."""
        self.signal = self.signal or sig
        engine = self.reward_app.service.engine
        if engine.is_draining or self._loop is None or not self.started:
            super().handle_exit(sig, frame)
            return
        engine.drain()
        self._loop.call_soon_threadsafe(self._begin_finishing)

    def _begin_finishing(self) -> None:
        self._finishing = asyncio.ensure_future(self._finish())

    async def _finish(self) -> None:
        """Wait for accepted work, at most `shutdown_seconds`, then let uvicorn end."""
        engine = self.reward_app.service.engine
        logger.warning("finishing %d accepted requests", engine.num_requests)
        try:
            async with asyncio.timeout(self.reward_app.settings.shutdown_seconds):
                await engine.idle()
        except TimeoutError:
            logger.error("%d requests were not finished in time", engine.num_requests)
        self.should_exit = True


def prepare_to_listen(address: Address) -> None:
    """Try the address before a model is loaded, and let no SIGHUP, which is about keys, end the loading.

    Raises:
        ConfigError: the port cannot be listened on.
        UsageError: the address is none of this machine.
    """
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    host = bare_host(address.host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host or None, address.port, family=family)
        socket.create_server((host, address.port), family=family).close()
    except (OSError, UnicodeError) as error:
        if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
            text = "is no address of this machine; give 127.0.0.1 (this machine only), 0.0.0.0 or :: (every network)"
            raise UsageError(f"--host {address.host} {text}") from error
        raise _cannot_listen(address) from error


def _cannot_listen(address: Address) -> ConfigError:
    place = f"{address.host}:{address.port}"
    return ConfigError(f"cannot listen on {place}; is the port in use? choose another with --port")


def serve(app: RewardApp, address: Address) -> None:
    """Serve until a signal.

    Raises:
        ConfigError: an open address without keys, or a port in use.
        KeyboardInterrupt: Ctrl-C ended it, and what was accepted is answered.
    """
    require_keys_off_loopback(address.host, bool(app.keys))
    if address.tls:
        address.tls.check()
    app.service.warm_up()
    server = GracefulServer(app, address)
    try:
        server.run()
    except SystemExit as error:
        raise _cannot_listen(address) from error
    if server.signal == signal.SIGINT:
        raise KeyboardInterrupt


def _room_for_connections(wanted: int) -> int:
    """Raise the limit of open files to hold `wanted` connections, and return how many it then holds."""
    try:
        import resource
    except ImportError:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= wanted + OTHER_FILES:
        need = wanted + OTHER_FILES
    else:
        need = hard
    if soft != resource.RLIM_INFINITY and soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
    return max(1, min(wanted, need - OTHER_FILES))
