"""Serve a project: where to listen, and what must be said before it is open to others."""

from __future__ import annotations

import ipaddress
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from rewardsmith.collecting.app.application import build_app
from rewardsmith.collecting.collection import SECRET_VARIABLE, Collection
from rewardsmith.collecting.panels import release_late
from rewardsmith.errors import ConfigError

CLOCK_SECONDS = 60
# Addresses that mean "every interface" are for listening: no browser opens them.
LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how to listen.

    Args:
        behind_proxy: a reverse proxy in front speaks HTTPS; X-Forwarded-For is believed from 127.0.0.1 or from
            $FORWARDED_ALLOW_IPS.
        plain_http: the operator accepts that passwords travel unencrypted.
        certificate: file of a certificate, with `key`, for HTTPS without a proxy.
        public_url: where others open the page, such as https://label.example.org; links carry it.
    """

    host: str = "127.0.0.1"
    port: int = 8001
    behind_proxy: bool = False
    plain_http: bool = False
    certificate: Path | None = None
    key: Path | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)
    public_url: str | None = None

    @property
    def is_https(self) -> bool:
        """Whether browsers come by HTTPS."""
        return self.behind_proxy or self.certificate is not None

    @property
    def base(self) -> str:
        """The address that opens in a browser: the public one where it is known, else that of this machine."""
        if self.public_url is not None:
            return self.public_url
        host = LOCAL.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"

    @property
    def advice(self) -> str | None:
        """What to say where the address is not the one that others open."""
        if self.public_url is not None or not (self.host in LOCAL or self.behind_proxy):
            return None
        return (
            "this link opens on this machine; give --public-url https://... so that links carry the address of others"
        )


def check_address(address: Address) -> None:
    """Refuse to serve openly without a secret, or over plain HTTP without saying so. Raises ConfigError."""
    if not 0 <= address.port <= 65535:
        raise ConfigError(f"--port is {address.port}; ports go from 0 to 65535")
    if address.public_url is not None and (urlsplit(address.public_url).scheme == "https") != address.is_https:
        raise ConfigError(
            f"--public-url {address.public_url}: give --behind-proxy or --certificate with https://, and neither "
            "with http://"
        )
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


def check_public_url(text: str) -> str:
    """Return the address of a page without its last slash. Raises ConfigError for anything but scheme and host."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query:
        raise ConfigError(f"--public-url takes an address such as https://label.example.org, not {text!r}")
    return f"{parts.scheme}://{parts.netloc}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(collection: Collection, address: Address) -> None:
    """Serve until a signal."""
    check_address(address)
    app = build_app(collection, is_https=address.is_https, endpoints=address.endpoints, public_url=address.public_url)
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
