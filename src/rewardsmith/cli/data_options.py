"""Options that the data commands share."""

from __future__ import annotations

import argparse
import re
from typing import Any

from rewardsmith.data.loading import LoadReport

# Control characters and marks of writing direction: they would colour a terminal or turn the words after them round.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add which rows are read: reader, split and limit."""
    parser.add_argument("--reader", help="data set or row format (see: rewardsmith data list); default: by the columns")
    parser.add_argument("--split", help="which split of a folder or hub data set")
    parser.add_argument("--limit", type=int, help="read at most so many groups")


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add how the input is read: reader, split, limit and what happens to bad rows."""
    add_source_options(parser)
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave bad rows out and count them by reason; default: stop at the first",
    )


def source_options(args: argparse.Namespace) -> dict[str, Any]:
    """Give the keyword arguments of `iter_preferences` for a command that counts bad rows and never stops at one."""
    return {"reader": args.reader, "split": args.split, "limit": args.limit, "on_error": "count"}


def input_options(args: argparse.Namespace) -> dict[str, Any]:
    """Give the keyword arguments of `iter_preferences` that the flags ask for."""
    on_error = "count" if args.skip_bad else "raise"
    return {"reader": args.reader, "split": args.split, "limit": args.limit, "on_error": on_error}


def visible(text: str) -> str:
    """Show the characters of a text that act on a terminal or a page instead of standing in it.

    Example:
        >>> visible("x\x1b[31m")
        'x<U+001B>[31m'
    """
    return _HIDDEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def drop_lines(report: LoadReport) -> list[str]:
    """Give one line for the reader that was used, each note, and each reason of dropped rows with the first of them."""
    lines = [f"read as {report.reader}"] if report.reader else []
    lines += [f"note: {note}" for note in dict.fromkeys(report.notes)]
    drops = report.dropped.items()
    return lines + [f"dropped {count} ({reason}), first: {report.examples[reason]}" for reason, count in drops]
