"""`rewardsmith serve MODEL`: one model, one process, the protocols of other tools."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rewardsmith.cli.options import add_model_options, model_spec
from rewardsmith.errors import ConfigError, UsageError, missing_extra

if TYPE_CHECKING:
    from rewardsmith.scoring.scorer import RewardScorer
    from rewardsmith.serving.app import RewardApp
    from rewardsmith.serving.requests import ServedModel
    from rewardsmith.serving.run import Address

KEY_VARIABLE = "REWARDSMITH_API_KEY"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", nargs="?", help="hub id or folder of a reward model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one")
    parser.add_argument(
        "--served-model-name",
        "--served-name",
        dest="served_name",
        nargs="+",
        action="extend",
        metavar="NAME",
        default=[],
        help="accepted in 'model', the first is answered; several may follow",
    )
    add_model_options(parser)
    _add_key_flags(parser)
    group = parser.add_argument_group("limits")
    group.add_argument("--max-queued-requests", type=int, default=1024, help="more are answered 429")
    group.add_argument("--max-queued-tokens", type=int, default=1_000_000, help="more are answered 429")
    group.add_argument("--prefix-cache-tokens", type=int, default=0, help="kept for later requests (default: none)")
    group.add_argument("--deadline-seconds", type=float, default=120.0, help="later answers become 504")
    group.add_argument("--max-body-mib", type=float, default=16.0, help="larger bodies are answered 413")
    group.add_argument("--max-total-body-mib", type=float, default=64.0, help="of all bodies in work; then 429")
    group.add_argument("--max-connections", type=int, default=2048, help="open at once; idle ones make room")
    group.add_argument("--header-seconds", type=float, default=10.0, help="slower headers end the connection")
    group.add_argument("--write-seconds", type=float, default=60.0, help="so does an answer that is read more slowly")
    group.add_argument("--shutdown-seconds", type=float, default=60.0, help="time to finish accepted work at the end")


def _add_key_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("access")
    group.add_argument(
        "--key-file",
        type=Path,
        help="file of API key digests, read again when it changes; every route but /health asks for one",
    )
    group.add_argument("--new-key", type=Path, metavar="FILE", help="make a key, add its digest to FILE, print it, end")
    group.add_argument("--ssl-certfile", type=Path, metavar="FILE", help="certificate with its chain (PEM); speaks TLS")
    group.add_argument("--ssl-keyfile", type=Path, metavar="FILE", help="its key (PEM), where it is a file of its own")
    group.add_argument("--ssl-ca-certs", type=Path, metavar="FILE", help="who signs clients; each has to show one")
    group.add_argument(
        "--access-log", metavar="FILE", help="a line of JSON a request, without its texts; - for the terminal"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, or make a key."""
    for package in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
        if find_spec(package) is None:
            raise missing_extra(package, "serve")
    if args.new_key is not None:
        return _make_key(args.new_key)
    if args.model is None:
        raise UsageError("name a model to serve: rewardsmith serve MODEL")
    if args.truncate_prompt:
        raise UsageError("a server cuts what a request asks it to cut: send truncate='prompt' instead of the flag")
    from rewardsmith.serving.auth import KeyRing, require_keys_off_loopback
    from rewardsmith.serving.limits import require_limits
    from rewardsmith.serving.metrics import open_access_log
    from rewardsmith.serving.run import prepare_to_listen, serve

    require_limits(vars(args))
    address = _address(args)
    has_keys = bool(KeyRing(_environment_digests(), args.key_file))
    require_keys_off_loopback(args.host, has_keys)
    if args.access_log:
        open_access_log(args.access_log)
    prepare_to_listen(address)
    app = _app(args)
    print(f"serving {app.service.name} on {address.url} (description: /docs)", file=sys.stderr)
    if not has_keys:
        print(f"no API key is asked for; set --key-file or ${KEY_VARIABLE} to ask for one", file=sys.stderr)
    serve(app, address)
    return 0


def _address(args: argparse.Namespace) -> Address:
    """Read where to listen, and how. Raises ConfigError."""
    from rewardsmith.serving.run import Address, Tls

    if args.ssl_certfile is None and (args.ssl_keyfile or args.ssl_ca_certs):
        raise UsageError("--ssl-keyfile and --ssl-ca-certs go with --ssl-certfile FILE")
    tls = Tls(args.ssl_certfile, args.ssl_keyfile, args.ssl_ca_certs) if args.ssl_certfile else None
    if tls:
        tls.check()
    return Address(args.host, args.port, tls)


def _make_key(path: Path) -> int:
    from rewardsmith.serving.auth import add_key

    print(add_key(path))
    print(f"its digest was added to {path}; the key itself is stored nowhere, keep it", file=sys.stderr)
    return 0


def _environment_digests() -> tuple[str, ...]:
    """Return the digest of the key in the environment."""
    from rewardsmith.serving.auth import digest

    return tuple(map(digest, filter(None, [os.environ.get(KEY_VARIABLE)])))


def _choice(model: RewardScorer) -> int:
    """Return how many of the model's own budgets are put together at once; the model cuts again.

    A larger choice finds more shared prefixes and, where rows are padded, rows of like length.
    """
    return 2 if model.capabilities.shares_prefix else 8


def _app(args: argparse.Namespace) -> RewardApp:
    """Load the model and build the application."""
    from rewardsmith.serving.app import build_app
    from rewardsmith.serving.limits import EngineLimits, ServerSettings

    model = model_spec(args).open()
    if not model.capabilities.scores_ids:
        raise ConfigError(
            f"{model.name} cannot be served: it compares answers, or its members tokenise differently, so one text "
            "alone has no reward"
        )
    model.keep_prefixes(args.prefix_cache_tokens)
    limits = EngineLimits(
        tokens_per_batch=_choice(model) * model.tokens_per_batch,
        max_queued_requests=args.max_queued_requests,
        max_queued_tokens=args.max_queued_tokens,
        deadline_seconds=args.deadline_seconds,
    )
    settings = ServerSettings(
        limits=limits,
        served_names=tuple(args.served_name),
        key_digests=_environment_digests(),
        key_file=args.key_file,
        max_body_bytes=int(args.max_body_mib * 2**20),
        max_total_body_bytes=int(args.max_total_body_mib * 2**20),
        header_timeout_seconds=args.header_seconds,
        write_timeout_seconds=args.write_seconds,
        max_connections=args.max_connections,
        shutdown_seconds=args.shutdown_seconds,
    )
    return build_app(cast("ServedModel", model), settings)
