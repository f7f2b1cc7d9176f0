"""`rewardsmith collect serve|demo|duel`: the commands that serve the web page of a project."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import threading
from itertools import combinations
from pathlib import Path

from rewardsmith.cli.collect_judgements import write_export
from rewardsmith.cli.collect_project import add_project_option, opened
from rewardsmith.cli.options import SCORER_HELP, add_model_options, open_scorer
from rewardsmith.collecting import Collection, create, export_groups
from rewardsmith.collecting.duel import (
    NARROW,
    RANDOM_SHARE,
    DuelPlan,
    DuelResult,
    add_duel,
    close_items,
    duel_result,
    plan_duel,
)
from rewardsmith.collecting.items import add_items, sub_group
from rewardsmith.collecting.reading import read_items
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Estimate, PreferenceGroup, ScoreRequest


def configure_serve(parser: argparse.ArgumentParser) -> None:
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


def run_serve(args: argparse.Namespace) -> int:
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


GUIDELINES = """\
Choose the answer that helps the person who asked.

- Steps that can be followed and reasons for them are good; flattery and filler are not.
- Advice that breaks things or hurts people is bad, however well it is written.
"""


def configure_demo(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--folder", type=Path, default=Path("collect-demo"), help="where the project lies")
    parser.add_argument("--task", choices=("pair", "ranking", "best"), default="ranking")
    parser.add_argument("--items", type=int, default=30)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--seed", type=int, default=0)


def run_demo(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C, then write the preference groups."""
    from rewardsmith.collecting.app.run import Address, serve

    if args.items < 1:
        raise ConfigError(f"--items must be 1 or more, not {args.items}")
    file = args.folder / "demo.yaml"
    is_new = not file.exists()
    settings = {"task": args.task, "title": "Demo of collecting", "question": "Which answer helps more?"}
    collection = create(file, **settings, seed=args.seed, guidelines=GUIDELINES)
    if is_new:
        size = (2, 2) if args.task == "pair" else (3, 4)
        config = SimulationConfig(
            prompts=args.items, answers=size, seed=args.seed, annotators=AnnotatorConfig(raters=0)
        )
        add_items(collection.store, collection.project, simulate(config))
    address = Address(port=args.port)
    print(f"page:  {address.base}", file=sys.stderr)
    print(f"owner: open once and set a password: {collection.owner_link(address.base)}", file=sys.stderr)
    print("Ctrl-C ends it and writes what was judged", file=sys.stderr, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        serve(collection, address)
    out = args.folder / "judgements.jsonl"
    report = write_export(collection, out, export_groups(collection.store, collection.project))
    print(f"{report.groups} preference groups in {out}")
    print(f"next: rewardsmith train from_scratch --dataset_name {out} --output_dir {args.folder}/model")
    return 0


WATCH_SECONDS = 5


def configure_duel(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("a", help=SCORER_HELP)
    parser.add_argument("b", help="the same")
    parser.add_argument(
        "--prompts", required=True, help="prompts with two or more answers each: file, folder or hub id"
    )
    parser.add_argument(
        "--project", "-p", type=Path, default=Path("duel.yaml"), help="project file (default duel.yaml)"
    )
    parser.add_argument("--labels", type=int, default=400, help="draw at most so many pairs (default 400)")
    parser.add_argument(
        "--narrow", type=float, default=NARROW, help="stop when the interval is this narrow, on either side"
    )
    parser.add_argument("--share", type=float, default=RANDOM_SHARE, help="share of draws from all pairs alike")
    parser.add_argument("--overlap", type=int, default=1, help="people who judge each pair, of a new project")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--report", action="store_true", help="only print what the votes so far say; serve nothing")
    add_model_options(parser, several=True)


def run_duel(args: argparse.Namespace) -> int:
    """Plan the duel, serve it until it is settled or Ctrl-C, and say who won."""
    from rewardsmith.collecting.app.run import Address, serve

    if not 0 < args.share <= 1 or args.labels < 1 or args.narrow <= 0:
        raise DataError("--share lies in (0, 1], --labels is 1 or more, --narrow above 0")
    pairs = pairs_of(read_items([args.prompts]))
    gaps = [_gaps(open_scorer(name, args), pairs) for name in (args.a, args.b)]
    plan = plan_duel(gaps[0], gaps[1], args.labels, args.share, args.seed)
    collection = create(args.project, overlap=args.overlap, title="Which answer is better?", seed=args.seed)
    add_duel(collection, plan, pairs)
    if not args.report:
        address = Address(port=args.port)
        print(f"page:  {address.base}", file=sys.stderr)
        print(f"owner: open once and set a password: {collection.owner_link(address.base)}", file=sys.stderr)
        stop = threading.Event()
        watch = (collection, plan, pairs, args.narrow, stop)
        threading.Thread(target=_watch, args=watch, daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            serve(collection, address)
        stop.set()
    print(describe_duel(args.a, args.b, duel_result(collection, plan, pairs, args.narrow), len(pairs)))
    return 0


def pairs_of(groups: list[PreferenceGroup]) -> list[PreferenceGroup]:
    """Return every pair of answers as a group of two, without judgements. Raises DataError where there is none."""
    pairs = []
    for group in groups:
        bare = PreferenceGroup(group.prompt, group.completions, models=group.models, group_id=group.group_id)
        pairs += [sub_group(bare, two) for two in combinations(range(len(group)), 2)]
    if not pairs:
        raise DataError("no prompt has two different answers; a duel needs pairs")
    return pairs


def _gaps(scorer, pairs: list[PreferenceGroup]) -> list[float]:  # type: ignore[no-untyped-def]
    rewards = scorer.score_requests([ScoreRequest.of_group(pair) for pair in pairs])
    return [first - second for first, second in rewards]


def _watch(
    collection: Collection, plan: DuelPlan, pairs: list[PreferenceGroup], narrow: float, stop: threading.Event
) -> None:
    """Close the duel once its interval is narrow."""
    while not stop.wait(WATCH_SECONDS):
        result = duel_result(collection, plan, pairs, narrow)
        if result.settled:
            close_items(collection)
            print(f"settled after {result.labels} labels; Ctrl-C ends it", file=sys.stderr)
            return


def describe_duel(a: str, b: str, result: DuelResult, number: int) -> str:
    """Say who agrees with people more, and how sure that is."""
    lines = [f"{result.labels} of {number} pairs labelled"]
    if math.isnan(result.difference.value):
        return f"{lines[0]}; nothing can be said yet"
    lines += [
        f"A ({a}) agrees with people on {_percent(result.accuracy_a)}",
        f"B ({b}) on {_percent(result.accuracy_b)}",
    ]
    lines.append(f"difference A - B: {_percent(result.difference)}")
    winner = {"A": a, "B": b}.get(result.winner or "")
    verdict = f"{winner} agrees with people more" if winner else "the interval holds 0: not decided"
    return "\n".join([*lines, verdict + ("" if result.settled else "; the interval is not yet narrow enough to stop")])


def _percent(value: Estimate) -> str:
    if math.isnan(value.low):
        return f"{value.value:.1%}"
    return f"{value.value:.1%} [{value.low:.1%}, {value.high:.1%}]"
