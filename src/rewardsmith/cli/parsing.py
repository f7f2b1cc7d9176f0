"""A parser whose complaints are errors: one line that names the nearest flag, and exit code 2."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NoReturn

from rewardsmith.errors import ConfigError, nearest


class UsageError(ConfigError):
    """A command line that cannot be used; the CLI prints it and exits with 2."""


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Raise `message`."""
        raise UsageError(f"{message}; see {self.prog} --help")


def parse_strictly(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """Parse `arguments`; the namespace also holds them as `given`.

    Raises:
        UsageError: a flag that is not known; the message names the nearest.
    """
    namespace, unknown = parser.parse_known_args(arguments)
    namespace.given = list(arguments)
    if not unknown:
        return namespace
    flag = unknown[0].split("=")[0]
    if not flag.startswith("-"):
        raise UsageError(f"unexpected argument {flag!r}; see {parser.prog} --help")
    near = nearest(flag, _flags(parser))
    raise UsageError(f"unknown flag {flag}; {f'did you mean {near}?' if near else f'see {parser.prog} --help'}")


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    """List the long flags of a parser and of its subcommands."""
    return [flag for action in _actions(parser) for flag in action.option_strings if flag.startswith("--")]


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
