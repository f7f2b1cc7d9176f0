"""`rewardsmith data list`: the published data sets that can be read by name."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rewardsmith.data.formats import FORMATS
from rewardsmith.data.sets import CATALOGUE
from rewardsmith.data.sets.entry import Entry


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the output."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON list instead of a table")
    form.add_argument("--markdown", action="store_true", help="print the table of docs/data-sets.md")


def run(args: argparse.Namespace) -> int:
    """Print name, content, licence, paper and place of every entry."""
    if args.json:
        print(json.dumps([describe(entry) for entry in CATALOGUE.values()], indent=2))
        return 0
    if args.markdown:
        print(markdown_table())
        return 0
    table = Table(title="rewardsmith data inspect PATH_OR_HUB_ID --reader NAME")
    table.add_column("name", no_wrap=True)
    table.add_column("what, licence, paper, hub id or homepage", overflow="fold")
    for entry in CATALOGUE.values():
        variants = (
            [f"variants: {', '.join(f'{entry.name}:{name}' for name in entry.variants)}"] if entry.variants else []
        )
        terms = f"licence: {entry.licence}; labels: {entry.labels}"
        about = [entry.summary, *variants, terms, entry.paper_url, entry.hub_place or entry.url]
        table.add_row(entry.name, escape("\n".join(about)), end_section=True)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"--reader also takes the name of a row format: {', '.join(FORMATS)}", soft_wrap=True)
    return 0


def markdown_table() -> str:
    """Give the table of all entries that docs/data-sets.md holds; a test keeps the two equal."""
    lines = ["| `--reader` | what | labels | licence | paper, data |", "|---|---|---|---|---|"]
    for entry in CATALOGUE.values():
        names = [f"`{entry.name}`", *(f"`{entry.name}:{name}`" for name in entry.variants)]
        where = f"hub: `{entry.hub_place}`" if entry.hub_id else "published"
        links = f"[paper]({entry.paper_url}), [{where}]({entry.url})"
        cells = ("<br>".join(names), entry.summary, entry.labels, entry.licence, links)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def describe(entry: Entry) -> dict[str, Any]:
    """Give what is known of an entry, for JSON."""
    return {
        "name": entry.name,
        "variants": list(entry.variants),
        "summary": entry.summary,
        "labels": entry.labels,
        "licence": entry.licence,
        "paper": entry.paper_url,
        "hub_id": entry.hub_id,
        "subset": entry.subset,
        "url": entry.url,
        "columns": sorted(entry.columns),
    }
