"""`rewardsmith collect COMMAND ...`: the table of its commands, which live in files of their kind."""

from __future__ import annotations

import argparse
from importlib import import_module
from importlib.util import find_spec

from rewardsmith.cli.main import CommandParser, declare_commands, parse_strictly, part_of
from rewardsmith.cli.options import check_outputs
from rewardsmith.errors import DataError, UsageError, missing_extra, nearest_or_known
from rewardsmith.files.standard import standard_streams

# Command -> (module, one-line summary).
COMMANDS = {
    "demo": ("collect_serving", "a project with built-in questions, on this machine, at once"),
    "init": ("collect_project", "make a project file and its database"),
    "import": ("collect_project", "bring in prompts with answers, or several models' outputs, joined by prompt"),
    "serve": ("collect_serving", "serve the web page"),
    "annotators": ("collect_project", "add, list, revoke people, forget who asks for it"),
    "status": ("collect_project", "how far the project is"),
    "agreement": ("collect_judgements", "how far people agree, with intervals; each annotator"),
    "order": ("collect_judgements", "which items come first: gap, uncertainty or fisher"),
    "duel": ("collect_serving", "which of two reward models agrees with people, with few labels"),
    "export": ("collect_judgements", "write the judgements as preference groups, TRL pairs or Parquet"),
    "panel": ("collect_project", "the link for a marketplace, its participants, release of those who returned"),
    "backup": ("collect_project", "copy the database while it is in use"),
    "restore": ("collect_project", "put a copy in the database's place"),
    "upgrade": ("collect_project", "bring the database to this version"),
}
PACKAGES = ("sqlalchemy", "alembic", "fastapi", "uvicorn", "nh3", "markdown_it", "argon2", "itsdangerous", "multipart")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-command; its own flags are declared in the file of its kind."""
    declare_commands(parser, "collect", "Collect human judgements.", COMMANDS)


def run(args: argparse.Namespace) -> int:
    """Run one command. Returns its exit code."""
    name = args.command
    if name not in COMMANDS:
        raise UsageError(f"unknown collect command {name!r}; {nearest_or_known(name, COMMANDS)}")
    for package in PACKAGES:
        if find_spec(package) is None:
            raise missing_extra(package, "collect")
    module, summary = COMMANDS[name]
    command = import_module(f"rewardsmith.cli.{module}")
    parser = CommandParser(prog=f"rewardsmith collect {name}", description=summary)
    parser.set_defaults(command=name)
    if module == "collect_project":
        command.configure(parser, name)
    else:
        part_of(command, "configure", name)(parser)
    given = parse_strictly(parser, args.arguments)
    check_outputs(given)

    from sqlalchemy.exc import SQLAlchemyError

    try:
        with standard_streams(f"collect {name}", vars(given)):
            return int(part_of(command, "run", name)(given) or 0)
    except SQLAlchemyError as error:
        # What the driver says, without the statement and its values.
        raise DataError(f"the database failed: {getattr(error, 'orig', None) or error}") from error
