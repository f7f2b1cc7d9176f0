"""`rewardsmith serve MODEL`: one model, one process, the protocols of other tools."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rewardsmith.cli.options import add_model_options, model_spec
from rewardsmith.errors import ConfigError, missing_extra

if TYPE_CHECKING:
    from rewardsmith.scoring.scorer import RewardScorer
    from rewardsmith.serving.requests import ServedModel

KEY_VARIABLE = "REWARDSMITH_API_KEY"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("model", nargs="?", help="hub id or folder of a reward model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one")
    parser.add_argument("--key-file", type=Path, help="file of API key digests; every route but /health asks for one")
    parser.add_argument(
        "--new-key", type=Path, metavar="FILE", help="make a key, add its digest to FILE, print it, end"
    )
    parser.add_argument("--served-name", action="append", default=[], help="accepted in 'model'; may be repeated")
    add_model_options(parser)
    parser.add_argument("--max-queued-requests", type=int, default=1024, help="more are answered 429")
    parser.add_argument("--max-queued-tokens", type=int, default=1_000_000, help="more are answered 429")
    parser.add_argument("--deadline-seconds", type=float, default=120.0, help="later answers become 504")
    parser.add_argument("--max-body-mib", type=float, default=16.0, help="larger bodies are answered 413")
    parser.add_argument("--shutdown-seconds", type=float, default=60.0, help="time to finish accepted work at the end")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, or make a key."""
    for package in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
        if find_spec(package) is None:
            raise missing_extra(package, "serve")
    if args.new_key is not None:
        return _make_key(args.new_key)
    if args.model is None:
        raise ConfigError("name a model to serve: rewardsmith serve MODEL")
    from rewardsmith.serving.auth import require_keys_off_loopback
    from rewardsmith.serving.run import Address, serve

    digests = _digests(args.key_file)
    require_keys_off_loopback(args.host, digests)
    app = _app(args, digests)
    address = Address(args.host, args.port)
    print(f"serving {app.service.name} on http://{args.host}:{args.port} (description: /docs)", file=sys.stderr)
    if not digests:
        print(f"no API key is asked for; set --key-file or ${KEY_VARIABLE} to ask for one", file=sys.stderr)
    serve(app, address)
    return 0


def _make_key(path: Path) -> int:
    from rewardsmith.serving.auth import add_key

    print(add_key(path))
    print(f"its digest was added to {path}; the key itself is stored nowhere, keep it", file=sys.stderr)
    return 0


def _digests(path: Path | None) -> tuple[str, ...]:
    """Read the key file and the environment variable."""
    from rewardsmith.serving.auth import digest, read_key_file

    digests = read_key_file(path) if path else ()
    key = os.environ.get(KEY_VARIABLE)
    return (*digests, digest(key)) if key else digests


def _choice(model: RewardScorer) -> int:
    """Return how many of the model's own budgets are put together at once; the model cuts again.

    A larger choice finds more shared prefixes and, where rows are padded, rows of like length.
    """
    return 2 if model.capabilities.shares_prefix else 8


def _app(args: argparse.Namespace, digests: tuple[str, ...]):  # type: ignore[no-untyped-def]
    """Load the model and build the application."""
    from rewardsmith.serving.app import build_app
    from rewardsmith.serving.settings import EngineLimits, ServerSettings

    model = model_spec(args).open()
    if not model.capabilities.scores_ids:
        raise ConfigError(
            f"{model.name} cannot be served: it compares answers, or its members tokenise differently, so one text "
            "alone has no reward"
        )
    limits = EngineLimits(
        tokens_per_batch=_choice(model) * model.tokens_per_batch,
        max_queued_requests=args.max_queued_requests,
        max_queued_tokens=args.max_queued_tokens,
        deadline_seconds=args.deadline_seconds,
    )
    settings = ServerSettings(
        limits=limits,
        served_names=tuple(args.served_name),
        key_digests=digests,
        max_body_bytes=int(args.max_body_mib * 2**20),
        shutdown_seconds=args.shutdown_seconds,
    )
    return build_app(cast("ServedModel", model), settings)
