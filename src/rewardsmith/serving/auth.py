"""API keys: made, stored as SHA-256, compared in constant time, each with limits of its own."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rewardsmith.errors import ConfigError, UsageError
from rewardsmith.serving.limits import Refusal

logger = logging.getLogger("rewardsmith.serving")
LINE = re.compile(r"sha256:(?P<digest>[0-9a-f]{64})(?:\s+(?P<label>[^\s=]+))?(?P<limits>(?:\s+\w+=\S+)*)")
LIMITS = ("requests_per_minute", "concurrent")
MAX_DIGITS = 9
# How often a key file is looked at, in seconds.
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is asked for.

    Args:
        digest: SHA-256 in hex of the key.
        label: names the key in the access log.
        requests_per_minute: more are answered 429; None is no limit. A quiet minute may be made up for at once.
        concurrent: requests of this key in work at once; None is no limit.
    """

    digest: str
    label: str = ""
    requests_per_minute: int | None = None
    concurrent: int | None = None

    @property
    def name(self) -> str:
        """What stands in the access log: the label, else the start of the digest."""
        return self.label or self.digest[:8]


@dataclass(slots=True)
class _Use:
    """How a key is used: requests it may still make now, when that was counted, and requests in work."""

    left: float
    counted: float
    running: int = 0


class KeyRing:
    """The keys of one server. A key file that changes is read again; what cannot be read leaves the keys as they are.

    Args:
        digests: of keys without limits.
        path: a key file.

    Raises:
        ConfigError: the file cannot be read, or holds no key.
    """

    def __init__(self, digests: Iterable[str] = (), path: Path | None = None) -> None:
        self._fixed = tuple(Key(value) for value in digests)
        self._path = path
        self._uses: dict[str, _Use] = {}
        self._seen = _stamp(path)
        self._looked = time.monotonic()
        self._keys = self._fixed + (read_keys(path) if path else ())

    def __bool__(self) -> bool:
        return bool(self._keys)

    def find(self, headers: Mapping[str, str]) -> Key | None:
        """Return the key that lower-case headers hold: Bearer, X-API-Key, or the password of Basic.

        Basic is there for clients that take nothing but a URL: `http://any:KEY@host/get_reward`. Every stored digest
        is compared, so that the time does not tell which one matched.
        """
        self._look()
        presented = digest(_presented_key(headers) or "")
        matches = [key for key in self._keys if hmac.compare_digest(presented, key.digest)]
        return matches[0] if matches else None

    def begin(self, key: Key) -> None:
        """Count a request of a key; `end` follows. Raises Refusal 429 above the key's limits."""
        now, rate = time.monotonic(), key.requests_per_minute
        use = self._uses.setdefault(key.digest, _Use(float(rate or 0), now))
        if key.concurrent is not None and use.running >= key.concurrent:
            raise _limited(f"this key has {use.running} requests in work, its limit", 1)
        if rate is not None:
            use.left = min(float(rate), use.left + (now - use.counted) * rate / 60)
            use.counted = now
            if use.left < 1:
                raise _limited(f"this key may make {rate} requests a minute", (1 - use.left) * 60 / rate)
            use.left -= 1
        use.running += 1

    def end(self, key: Key) -> None:
        """Count a request of a key as answered."""
        self._uses[key.digest].running -= 1

    def reload(self) -> None:
        """Read the key file again, and log the outcome."""
        if self._path is None:
            return
        self._seen = _stamp(self._path)
        try:
            self._keys = self._fixed + read_keys(self._path)
        except ConfigError as error:
            logger.error("the keys stay as they are: %s", error)
            return
        logger.warning("read %s again: %d keys", self._path, len(self._keys))

    def _look(self) -> None:
        if self._path is None or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        if _stamp(self._path) != self._seen:
            self.reload()


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file does."""
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


def _limited(why: str, seconds: float) -> Refusal:
    wait = str(max(1, min(60, round(seconds + 0.5))))
    return Refusal(f"{why}; retry after {wait} s", 429, "key_limit", {"Retry-After": wait})


def new_key() -> str:
    """Make a random key of 256 bits."""
    return "rs-" + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """Return the SHA-256 hex digest under which `key` is stored. Random keys need no salt or slow hash."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read lines `sha256:<hex> [label] [requests_per_minute=N] [concurrent=N]`; blank lines and `#` are skipped.

    Raises ConfigError that names the line, also for a key in plain text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read the key file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the key file {path} is no text in UTF-8") from error
    keys = [
        _read_line(line.strip(), f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]
    if not keys:
        raise ConfigError(f"{path} holds no key; make one with --new-key {path}")
    return tuple(keys)


def _read_line(line: str, where: str) -> Key:
    match = LINE.fullmatch(line)
    if match is None:
        raise ConfigError(
            f"{where} is not 'sha256:<64 hex digits> [label] [requests_per_minute=N] [concurrent=N]'; make keys with "
            "--new-key"
        )
    limits: dict[str, int] = {}
    for word in match["limits"].split():
        name, _, value = word.partition("=")
        # Of more digits, `int` and `float` raise errors of their own.
        if name not in LIMITS or not value.isdecimal() or len(value) > MAX_DIGITS or int(value) < 1:
            raise ConfigError(
                f"{where}: limits are {' and '.join(f'{n}=N' for n in LIMITS)} with N of 1 or more and at most "
                f"{MAX_DIGITS} digits"
            )
        limits[name] = int(value)
    return Key(match["digest"], match["label"] or "", **limits)


def add_key(path: Path) -> str:
    """Make a key, append its digest to `path` (mode 600) and return the key, which is stored nowhere."""
    key = new_key()
    path.touch(mode=0o600, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"sha256:{digest(key)}\n")
    return key


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


def require_keys_off_loopback(host: str, has_keys: bool) -> None:
    """Raise UsageError when `host` can be reached from elsewhere and no key is set."""
    if not has_keys and not is_loopback(host):
        raise UsageError(
            f"--host {host} is reachable from other machines and no API key is set; "
            "give --key-file FILE (make one with --new-key FILE) or bind 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether every address that a host's name or spelling (127.1, ::ffff:127.0.0.1) stands for is this machine's."""
    try:
        found = socket.getaddrinfo(bare_host(host) or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(_is_local(str(address[0])) for *_, address in found)


def bare_host(host: str) -> str:
    """Return a host without the brackets that an IPv6 address has in a URL."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _is_local(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped.is_loopback
    return parsed.is_loopback
