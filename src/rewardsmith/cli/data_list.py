"""`rewardsmith data list`: the published data sets that can be read by name."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from rewardsmith.preferences.readers.catalogue import CATALOGUE


def configure(parser: argparse.ArgumentParser) -> None:
    """Take no arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Print name, licence, source and summary of every entry."""
    table = Table(title="data sets: rewardsmith train --reader NAME --dataset_name PATH")
    for column in ("name", "licence", "source", "what"):
        table.add_column(column)
    for name, entry in CATALOGUE.items():
        table.add_row(name, entry.licence, entry.source, entry.summary)
    Console().print(table)
    return 0
