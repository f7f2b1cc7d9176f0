"""API keys: made, stored as SHA-256, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from rewardsmith.errors import ConfigError

DIGEST = re.compile(r"sha256:([0-9a-f]{64})(\s+\S+)?")


def new_key() -> str:
    """Make a random key of 256 bits."""
    return "rs-" + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """Give the SHA-256 hex digest under which `key` is stored. Random keys need no salt or slow hash."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_key_file(path: Path) -> tuple[str, ...]:
    """Read digests from lines `sha256:<hex> [label]`; blank lines and `#` comments are skipped.

    Raises ConfigError that names the line, also for a key in plain text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read the key file {path}: {error.strerror}") from error
    digests = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = DIGEST.fullmatch(line.strip())
        if match is None:
            raise ConfigError(f"{path}:{number} is not 'sha256:<64 hex digits> [label]'; make keys with --new-key")
        digests.append(match[1])
    if not digests:
        raise ConfigError(f"{path} holds no key; make one with --new-key {path}")
    return tuple(digests)


def add_key(path: Path) -> str:
    """Make a key, append its digest to `path` (mode 600) and give the key, which is stored nowhere."""
    key = new_key()
    path.touch(mode=0o600, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"sha256:{digest(key)}\n")
    return key


def is_known(headers: Mapping[str, str], digests: Iterable[str]) -> bool:
    """Whether the headers hold a known key: Bearer, X-API-Key, or the password of Basic.

    Basic is there for clients that take nothing but a URL: `http://any:KEY@host/get_reward`. Every stored digest
    is compared, so that the time does not tell which one matched.
    """
    presented = digest(_presented_key(headers) or "")
    matches = [hmac.compare_digest(presented, known) for known in digests]
    return any(matches)


def _presented_key(headers: Mapping[str, str]) -> str | None:
    """Read the key from lower-case headers."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
    return headers.get("x-api-key")


def require_keys_off_loopback(host: str, digests: Iterable[str]) -> None:
    """Raise ConfigError when `host` can be reached from elsewhere and no key is set."""
    if not is_loopback(host) and not tuple(digests):
        raise ConfigError(
            f"--host {host} is reachable from other machines and no API key is set; "
            "give --key-file FILE (make one with --new-key FILE) or bind 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether an address or name only reaches this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
