"""Blocks as sections of a model card.

Each section stands between two markers that name it, so a second run replaces it and touches nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from rewardsmith._version import __version__
from rewardsmith.blocks.html import spread, write_cell
from rewardsmith.blocks.kinds import Block, Cell, Facts, Findings, Paragraph, Table, Value, Verdict
from rewardsmith.errors import ConfigError

CARD = "README.md"
MEASURED = f"Measured by Rewardsmith {__version__}; intervals are clustered by prompt."


def require_folder(model: str | None) -> Path:
    """Return the folder of a local model. Raises ConfigError for anything else: nothing can be written there."""
    if model is None or not Path(model).is_dir():
        raise ConfigError(f"{model or 'a file of scores'}: is no folder of a model, so nothing can be written into it")
    return Path(model)


def new_card(title: str, blocks: Sequence[Block], **metadata: Any) -> str:
    """Return a whole model card: its metadata as YAML, a title and blocks as Markdown."""
    head = ModelCardData(**metadata).to_yaml()
    return str(ModelCard(f"---\n{head}\n---\n\n# {title}\n\n{to_markdown(blocks)}\n").content)


def write_section(folder: Path, title: str, name: str, blocks: Sequence[Block]) -> Path:
    """Put blocks under a heading into the folder's model card: in place of an older section of `name`, else at the end.

    Args:
        folder: of the model; a card is begun where there is none.
        title: the heading.
        name: what the markers call the section, such as "evaluation of test.jsonl".
        blocks: what it holds; pictures and examples are left out.
    """
    path = folder / CARD
    content = path.read_text(encoding="utf-8") if path.is_file() else f"# Reward model: {folder.resolve().name}\n"
    begin, end = f"<!-- rewardsmith: {plain(name)} -->", f"<!-- rewardsmith: end of {plain(name)} -->"
    section = "\n".join([begin, f"## {title}", "", to_markdown(blocks), "", MEASURED, end])
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(content):
        content = pattern.sub(lambda _: section, content, count=1)
    else:
        content = content.rstrip("\n") + "\n\n" + section + "\n"
    path.write_text(content, encoding="utf-8")
    return path


def to_markdown(blocks: Sequence[Block]) -> str:
    """Return blocks as Markdown."""
    return "\n\n".join("\n".join(lines) for block in blocks if (lines := list(_lines(block))))


def plain(text: str) -> str:
    """Return a name without what would break a table, a marker or the page."""
    return " ".join(re.sub(r"[`|<>]|--+", " ", text).split())


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Verdict() | Paragraph():
            yield block.text
        case Facts():
            for fact in block.items:
                yield f"- {plain(fact.label)}: {plain(fact.value)}" + (f" ({plain(fact.note)})" if fact.note else "")
        case Table():
            yield from _table(spread(block))
        case Findings():
            for item in block.items:
                yield f"- {item.level}: {plain(item.text)}"


def _table(block: Table) -> Iterator[str]:
    """Return the lines of a table; the first column is left, the others are right."""
    yield f"| {' | '.join(map(plain, block.header))} |"
    yield f"|---|{'---:|' * (len(block.header) - 1)}"
    for row in block.rows:
        yield f"| {' | '.join(_cell(value) for value in row)} |"


def _cell(value: Value | Cell) -> str:
    written = write_cell(value)
    return plain(f"{written.text} {written.sub}")
