"""`rewardsmith collect demo`: a project with built-in questions, served at once; what was judged is there after."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from rewardsmith.cli.collect_export import write_export
from rewardsmith.collecting import create, export_groups
from rewardsmith.collecting.items import add_items
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate
from rewardsmith.errors import ConfigError

GUIDELINES = """\
Choose the answer that helps the person who asked.

- Steps that can be followed and reasons for them are good; flattery and filler are not.
- Advice that breaks things or hurts people is bad, however well it is written.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--folder", type=Path, default=Path("collect-demo"), help="where the project lies")
    parser.add_argument("--task", choices=("pair", "ranking", "best"), default="ranking")
    parser.add_argument("--items", type=int, default=30)
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
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
