"""Run the application under uvicorn, and stop it without losing what was accepted."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from types import FrameType

import uvicorn

from rewardsmith.errors import ConfigError
from rewardsmith.serving.app import RewardApp
from rewardsmith.serving.auth import require_keys_off_loopback

logger = logging.getLogger("rewardsmith.serving")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 8000


class GracefulServer(uvicorn.Server):
    """uvicorn that, at the first signal, still listens: new work gets 503, accepted work is finished, then it ends.

    A second signal ends at once.
    """

    def __init__(self, app: RewardApp, address: Address) -> None:
        keep_alive = 75
        config = uvicorn.Config(
            app,
            address.host,
            address.port,
            lifespan="on",
            access_log=False,
            log_level="warning",
            timeout_keep_alive=keep_alive,
            timeout_graceful_shutdown=int(app.settings.shutdown_seconds) + 1,
            backlog=2048,
        )
        super().__init__(config)
        self.reward_app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._finishing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remember the event loop that signals must reach."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    @property
    def bound_port(self) -> int:
        """The port that is listened on."""
        return self.servers[0].sockets[0].getsockname()[1]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second."""
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


def serve(app: RewardApp, address: Address) -> None:
    """Serve until a signal. Raises ConfigError for an open address without keys or a port in use."""
    require_keys_off_loopback(address.host, app.settings.key_digests)
    app.service.warm_up()
    try:
        GracefulServer(app, address).run()
    except SystemExit as error:
        raise ConfigError(
            f"cannot listen on {address.host}:{address.port}; is the port in use? choose another with --port"
        ) from error
