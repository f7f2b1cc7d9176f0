"""Serve a project: where to listen, and what must be said before it is open to others."""

from __future__ import annotations

import ipaddress
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from rewardsmith.collecting.app.application import build_app
from rewardsmith.collecting.collection import SECRET_VARIABLE, Collection
from rewardsmith.collecting.panels import release_late
from rewardsmith.errors import ConfigError

CLOCK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how to listen.

    Args:
        behind_proxy: a reverse proxy in front speaks HTTPS; X-Forwarded-For is believed from 127.0.0.1 or from
            $FORWARDED_ALLOW_IPS.
        plain_http: the operator accepts that passwords travel unencrypted.
        certificate: file of a certificate, with `key`, for HTTPS without a proxy.
    """

    host: str = "127.0.0.1"
    port: int = 8001
    behind_proxy: bool = False
    plain_http: bool = False
    certificate: Path | None = None
    key: Path | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_https(self) -> bool:
        """Whether browsers come by HTTPS."""
        return self.behind_proxy or self.certificate is not None

    @property
    def base(self) -> str:
        """The address as a browser on this machine would write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"


def check_address(address: Address) -> None:
    """Refuse to serve openly without a secret, or over plain HTTP without saying so. Raises ConfigError."""
    if not 0 <= address.port <= 65535:
        raise ConfigError(f"--port is {address.port}; ports go from 0 to 65535")
    if is_loopback(address.host):
        return
    if not os.environ.get(SECRET_VARIABLE):
        raise ConfigError(
            f"{address.host} is open to others: set ${SECRET_VARIABLE} to 32 random characters or more, "
            "so that sessions outlive this machine's files"
        )
    if not address.is_https and not address.plain_http:
        raise ConfigError(
            f"{address.host} is open to others and passwords would travel unencrypted: give --behind-proxy where a "
            "proxy speaks HTTPS, --certificate and --key, or --plain-http to accept it"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(collection: Collection, address: Address) -> None:
    """Serve until a signal."""
    check_address(address)
    app = build_app(collection, is_https=address.is_https, endpoints=address.endpoints)
    stop = threading.Event()
    clock = threading.Thread(target=_watch_panels, args=(collection, stop), daemon=True)
    clock.start()
    config = uvicorn.Config(
        app,
        address.host,
        address.port,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=address.behind_proxy,
        ssl_certfile=str(address.certificate) if address.certificate else None,
        ssl_keyfile=str(address.key) if address.key else None,
        timeout_graceful_shutdown=10,
    )
    try:
        uvicorn.Server(config).run()
    finally:
        stop.set()


def _watch_panels(collection: Collection, stop: threading.Event) -> None:
    """Release participants who ran out of time, once a minute."""
    while not stop.wait(CLOCK_SECONDS):
        if collection.project.panels:
            release_late(collection.store, collection.project, time.time())
