"""`rewardsmith collect serve`: the web page of a project."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rewardsmith.cli.collect_project import add_project_option, opened
from rewardsmith.errors import ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_project_option(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--behind-proxy", action="store_true", help="a reverse proxy in front speaks HTTPS")
    parser.add_argument("--certificate", type=Path, help="file of the certificate, for HTTPS without a proxy")
    parser.add_argument("--key", type=Path, help="file of the certificate's key")
    parser.add_argument("--plain-http", action="store_true", help="accept that passwords travel unencrypted")
    parser.add_argument(
        "--endpoint", action="append", default=[], metavar="NAME=URL", help="a model of the arena; give two or more"
    )
    parser.add_argument("--public-url", metavar="URL", help="where others open the page; links carry it")
    parser.add_argument("--owner-link", action="store_true", help="print a new link for an owner, which works once")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    from rewardsmith.collecting.app.run import Address, check_address, check_public_url, serve
    from rewardsmith.collecting.people import list_people

    endpoints = dict(_endpoint(text) for text in args.endpoint)
    if len(endpoints) == 1:
        raise ConfigError("an arena needs two or more endpoints; give --endpoint NAME=URL again")
    if (args.certificate is None) != (args.key is None):
        raise ConfigError("--certificate and --key belong together")
    url = None if args.public_url is None else check_public_url(args.public_url)
    way = {"behind_proxy": args.behind_proxy, "certificate": args.certificate, "key": args.key}
    address = Address(args.host, args.port, plain_http=args.plain_http, endpoints=endpoints, public_url=url, **way)
    check_address(address)
    collection = opened(args)
    print(f"serving {collection.project.title!r} on {address.base}", file=sys.stderr)
    # An owner who never came may have lost the link of an earlier start.
    owners = [row for row in list_people(collection.store) if row["role"] == "owner" and row["status"] != "invited"]
    if args.owner_link or not owners:
        print(f"owner: open once and set a password: {collection.owner_link(address.base)}", file=sys.stderr)
    if address.advice is not None:
        print(address.advice, file=sys.stderr)
    serve(collection, address)
    return 0


def _endpoint(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or not url.startswith(("http://", "https://")):
        raise ConfigError(f"--endpoint takes NAME=URL, such as small=http://127.0.0.1:8000/v1, not {text!r}")
    return name, url.rstrip("/")
