"""`rewardsmith collect init|import|annotators|status|panel|backup|restore|upgrade`: the small commands of a project."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from rewardsmith.blocks.words import clean
from rewardsmith.collecting import Collection, create, open_collection, panels, people
from rewardsmith.collecting.app.run import check_public_url
from rewardsmith.collecting.forgetting import forget
from rewardsmith.collecting.project import Task, database_url, find_project, load_project
from rewardsmith.collecting.status import status_counts
from rewardsmith.collecting.store import Store, log_event
from rewardsmith.errors import ConfigError

# Flags of `init` that go into a new file.
NEW_FILE = ("task", "question", "overlap", "database")
DEFAULT_URL = "http://127.0.0.1:8001"


def add_project_option(parser: argparse.ArgumentParser) -> None:
    """Add --project, which may be left out where the folder has one project."""
    parser.add_argument("--project", "-p", type=Path, help="project file (default: the only one in this folder)")


def _add_public_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--public-url", default=DEFAULT_URL, metavar="URL", help=f"where others open the page (default {DEFAULT_URL})"
    )


def opened(args: argparse.Namespace) -> Collection:
    """Open the project that the arguments name."""
    return open_collection(find_project(args.project))


def configure(parser: argparse.ArgumentParser, name: str) -> None:
    """Declare the flags of one command."""
    if name == "init":
        parser.add_argument("file", type=Path, metavar="PROJECT.yaml", help="made when it does not exist")
        parser.add_argument("--task", choices=get_args(Task), help="of a new file (default pair)")
        parser.add_argument("--question", help="of a new file (default: Which answer is better?)")
        parser.add_argument("--overlap", type=int, help="people who judge each item, of a new file (default 1)")
        parser.add_argument("--database", help="of a new file: an SQLite file beside it (default), or postgresql://...")
        return
    add_project_option(parser)
    if name == "import":
        parser.add_argument("files", nargs="+", help="preferences in any known format, or one file of outputs a model")
        parser.add_argument(
            "--kind",
            choices=("real", "gold", "practice"),
            default="real",
            help="gold and practice need a right answer in the comparisons",
        )
        parser.add_argument("--reader", help="format or data set, where the columns do not say it")
        parser.add_argument("--skip-bad", action="store_true", help="leave bad rows out and count them by reason")
    elif name == "annotators":
        parser.add_argument("action", choices=("add", "list", "reset", "revoke", "forget"))
        parser.add_argument("names", nargs="*", help="who; for forget also a pseudonym")
        parser.add_argument("--judgements", action="store_true", help="with forget: delete what they judged, too")
        parser.add_argument("--role", choices=people.ROLES, default="annotator")
        _add_public_url(parser)
    elif name == "panel":
        parser.add_argument("action", choices=("link", "participants", "release"))
        parser.add_argument("panel", help="name of the panel in the project file")
        parser.add_argument("participant", nargs="?", help="whose seats to open again, for release")
        parser.add_argument("--keep", action="store_true", help="keep the judgements of whom you release")
        _add_public_url(parser)
    elif name == "backup":
        parser.add_argument("file", type=Path, help="new file for the copy")
    elif name == "restore":
        parser.add_argument("file", type=Path, help="copy that `backup` or `upgrade` made")
    elif name == "status":
        parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    """Run one command."""
    return COMMANDS[args.command](args)


def _init(args: argparse.Namespace) -> int:
    is_new = not args.file.exists()
    given = {name: value for name in NEW_FILE if (value := getattr(args, name)) is not None}
    if given and not is_new:
        flags = " and ".join(f"--{name}" for name in given)
        raise ConfigError(f"{args.file} exists, and {flags} would change nothing in it; edit it, or name a new file")
    collection = create(args.file, **given)
    print(f"{'wrote' if is_new else 'read'} {args.file}; database {collection.store.url.render_as_string()}")
    print(f"next: edit {args.file}, then")
    print(f"  rewardsmith collect import answers.jsonl --project {args.file}")
    print(f"  rewardsmith collect serve --project {args.file}")
    collection.close()
    return 0


def _import(args: argparse.Namespace) -> int:
    collection = opened(args)
    print(f"imported {collection.add(args.files, args.kind, args.reader, args.skip_bad)}")
    return 0


def _annotators(args: argparse.Namespace) -> int:
    collection = opened(args)
    if args.action == "list":
        for row in people.list_people(collection.store):
            print(f"{clean(row['name'])}  {row['role']}  {row['status']}  {row['done']} judged  {row['alias']}")
        return 0
    if not args.names:
        raise ConfigError(f"name somebody: rewardsmith collect annotators {args.action} NAME")
    for name in args.names:
        if args.action == "revoke":
            people.revoke(collection.store, "command line", name)
            print(f"{name}: shut out; the judgements stay")
            continue
        if args.action == "forget":
            count = forget(collection.store, "command line", name, args.judgements)
            what = f"{count} judgements deleted" if args.judgements else "the judgements stay under the pseudonym"
            print(f"{name}: forgotten, {what}; copies and exports that were made before still hold it")
            continue
        if args.action == "add":
            token = people.invite(collection.store, "command line", name, args.role)
        else:
            token = people.reset(collection.store, "command line", name)
        print(f"{name}: {check_public_url(args.public_url)}/invite/{token}")
    return 0


def _status(args: argparse.Namespace) -> int:
    counts = status_counts(opened(args).store)
    if args.json:
        print(json.dumps(counts))
        return 0
    print(f"{counts['done']} of {counts['seats']} judgements, {counts['items']} items, {counts['held']} at work")
    print(", ".join(f"{counts[name]} {name}" for name in ("annotators", "skips", "gold", "practice")))
    return 0


def _panel(args: argparse.Namespace) -> int:
    collection = opened(args)
    panel = collection.project.panel(args.panel)
    if panel is None:
        names = ", ".join(one.name for one in collection.project.panels) or "none"
        raise ConfigError(f"the project has no panel {args.panel!r}; it has: {names}")
    if args.action == "link":
        print(panels.panel_link(collection.secret(), panel, check_public_url(args.public_url)))
    elif args.action == "participants":
        for row in panels.list_participants(collection.store, panel.name):
            print(json.dumps(row))
    else:
        if args.participant is None:
            raise ConfigError("name the participant: rewardsmith collect panel release PANEL PARTICIPANT")
        who = (panel.name, args.participant)
        seats = panels.release(collection.store, collection.project, "command line", who, not args.keep)
        print(f"{args.participant}: given up, {seats} seats open again")
    return 0


def _backup(args: argparse.Namespace) -> int:
    collection = opened(args)
    path = collection.store.backup(args.file)
    with collection.store.transaction() as connection:
        log_event(connection, "command line", "backup", path.name)
    print(f"copied to {path}; to restore, stop the server, then: rewardsmith collect restore {path}")
    return 0


def _restore(args: argparse.Namespace) -> int:
    path = find_project(args.project)
    store = Store(database_url(load_project(path), path))
    kept = store.restore(args.file)
    store.upgrade()
    store.check()
    with store.transaction() as connection:
        log_event(connection, "command line", "restore", args.file.name)
    before = "" if kept is None else f"; what was there before is in {kept}"
    print(f"restored {args.file} to {store.path}{before}")
    return 0


def _upgrade(args: argparse.Namespace) -> int:
    path = find_project(args.project)
    store = Store(database_url(load_project(path), path))
    if store.is_sqlite and not store.path.exists():
        raise ConfigError(f"{store.path} does not exist; make it with: rewardsmith collect init {path}")
    if store.is_sqlite:
        print(f"copied to {store.keep_copy()} first")
    before = store.upgrade()
    store.check()
    print(f"database: version {before or 'none'} to {store.version()}")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "init": _init,
    "import": _import,
    "annotators": _annotators,
    "status": _status,
    "panel": _panel,
    "backup": _backup,
    "restore": _restore,
    "upgrade": _upgrade,
}
