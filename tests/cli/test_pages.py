"""What the pages say is typed is what the commands take: flags, their values, recipes and the flags of benchmarks."""

import argparse
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from rewardsmith.cli.completion import whole_parser
from rewardsmith.cli.main import parse_strictly
from rewardsmith.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted(ROOT.glob("recipes/*.yaml"))
# Flags of other programs that pages name.
FOREIGN = {"--accelerate_config", "--config_file", "--num_processes", "--dynamo_backend", "--external_plugins"}
FOREIGN |= {"--reward_funcs", "--reward", "--nnodes", "--user", "--local-dir", "--repo-type", "--pooler-config"}
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*[a-z0-9]")
# What a page may leave out of a command that it names in a sentence.
SHORTENED = re.compile(r"arguments are required|expected (at least )?one argument|choice: '[A-Z]+'")


@cache
def parser():
    pytest.importorskip("trl")
    return whole_parser()


def commands_below(parser):
    return next((a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})


@cache
def known_flags():
    """Return every flag of a command, and every one of a benchmark."""

    def of(parser):
        return flags_of(parser).union(*map(of, commands_below(parser).values()))

    scripts = [path.read_text() for path in (ROOT / "benchmarks").glob("*.py")]
    return of(parser()) | {*re.findall(r'"(--[\w-]+)"', "\n".join(scripts))}


def lines_of(page):
    """Return the commands of a page, in blocks and in sentences, without what their shell does with the output."""
    text = page.read_text().replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text, re.DOTALL))
    found = re.findall(r"^[#$ ]*(rewardsmith .*)$", blocks if page.suffix == ".md" else text, re.MULTILINE)
    found += re.findall(r"`(rewardsmith [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [re.split(r" (?:>|\||&&) |\s{3,}", line)[0] for line in found]


def flags_of(parser):
    return {flag for action in parser._actions for flag in action.option_strings}


def understood(place, words):
    """Parse a command as the CLI does; None where a sentence names it without all that it needs."""
    try:
        return parse_strictly(place, words)
    except UsageError as error:
        if SHORTENED.search(str(error)):
            return None
        raise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_flags_that_exist_and_commands_that_are_understood(page):
    named = {flag.replace("-", "_") for flag in FLAG.findall(page.read_text())}
    assert named - {flag.replace("-", "_") for flag in (*known_flags(), *FOREIGN)} == set()
    for line in lines_of(page):
        words, place = shlex.split(line.replace(" [flags]", "").replace(" ...", ""), comments=True)[1:], parser()
        while words and words[0] in commands_below(place):
            place = commands_below(place)[words.pop(0)]
        if words in ([], ["--help"]):
            continue
        if "[" in line or "|" in line:
            assert set(FLAG.findall(line)) <= flags_of(place), line
            continue
        assert place is not parser(), f"no command: {line}"
        given = understood(place, words)
        if place.prog == "rewardsmith train" and getattr(given, "recipe", None):
            assert given.recipe == "RECIPE" or (ROOT / "recipes" / f"{given.recipe}.yaml").exists(), line
