"""`rewardsmith collect duel A B --prompts FILE`: which of two reward models agrees with people."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import threading
from itertools import combinations
from pathlib import Path

from rewardsmith.cli.options import SCORER_HELP, add_model_options, open_scorer
from rewardsmith.collecting import Collection, create
from rewardsmith.collecting.duel import NARROW, RANDOM_SHARE, DuelPlan, DuelResult, plan_duel
from rewardsmith.collecting.duelling import add_duel, close_items, duel_result
from rewardsmith.collecting.items import sub_group
from rewardsmith.collecting.reading import read_items
from rewardsmith.errors import DataError
from rewardsmith.records import Estimate, PreferenceGroup, ScoreRequest

WATCH_SECONDS = 5


def configure(parser: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace) -> int:
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
