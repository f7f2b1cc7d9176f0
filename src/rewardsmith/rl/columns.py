"""Rows of prompts and their other columns, such as a known answer, for reward functions of TRL's form."""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.files.reading import read_rows
from rewardsmith.files.tables import read_hub
from rewardsmith.records import as_text, text_key

logger = logging.getLogger(__name__)
Columns = Mapping[str, Mapping[str, object]]
# What TRL names itself, and rows of judgements, which have no such columns.
OWN, JUDGED = {"prompt", "prompts", "completion", "completions", "completion_ids"}, {"chosen", "completions"}


def read_prompt_rows(source: str, split: str | None = None) -> Iterator[tuple[str, Mapping[str, Any]]] | None:
    """Return the rows of prompts in a file, a folder or a data set of the hub; None where they are something else."""
    path = Path(source)
    if source.startswith("simulator:") or not (path.exists() or "/" in source):
        return None
    rows = read_rows(path, split=split) if path.exists() else read_hub(source, split)
    first = next(rows, None)
    if first is None or "prompt" not in first[1] or JUDGED & set(first[1]):
        return None
    return itertools.chain([first], rows)


def load_columns(source: str, split: str | None = None) -> Columns:
    """Return the other columns of each prompt's row, by the prompt; nothing where `source` holds no rows of prompts.

    A prompt that stands in several rows has those of the first; where the others differ, one line counts them.
    """
    found: dict[str, Mapping[str, object]] = {}
    num_others = 0
    for _, row in read_prompt_rows(source, split) or ():
        others = {name: value for name, value in row.items() if name not in OWN}
        if row.get("prompt") and others:
            num_others += found.setdefault(_key(row["prompt"]), others) != others
    if num_others:
        logger.warning("%s: %d rows repeat a prompt with other columns; the first row's are read", source, num_others)
    return found


def columns_of(columns: Columns, prompts: Sequence[Any]) -> dict[str, list[object]]:
    """Return columns of a batch, one value a prompt, None where its row has none."""
    rows = [columns.get(_key(prompt)) or {} for prompt in prompts]
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def _key(prompt: object) -> str:
    """Return the key of a prompt, of a single turn of the user that of its text, as it stood in the file."""
    text = as_text(prompt)
    if not isinstance(text, str) and len(text) == 1 and text[0].role == "user" and isinstance(text[0].content, str):
        text = text[0].content
    return text_key(text)


def is_of_trl(function: Callable[..., Any]) -> bool:
    """Whether a function is called by keyword with a batch, as TRL does: it takes `prompts`, or any keyword."""
    taken = _parameters(function)
    return "prompts" in taken or _takes_any(taken)


def taken_by(function: Callable[..., Any], columns: Mapping[str, object]) -> dict[str, object]:
    """Return the columns that a function takes; all where it takes any keyword, or does not say."""
    taken = _parameters(function)
    if not taken or _takes_any(taken):
        return dict(columns)
    return {name: value for name, value in columns.items() if name in taken}


def _takes_any(taken: Mapping[str, inspect.Parameter]) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in taken.values())


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
