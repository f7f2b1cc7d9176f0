"""LLaMA-Factory's ranking data: alpaca rows and sharegpt rows (`dataset_info.json` with `"ranking": true`).

LLaMA-Factory puts every row through the model's chat template, so rows are read as messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_mapping, check_text, require
from rewardsmith.data.formats.format import Format, Target
from rewardsmith.data.formats.pairs import (
    answer_group,
    conversations,
    group_fields,
    join_prompt,
    pair_columns,
    single_message,
)
from rewardsmith.data.formats.rankings import ranked_comparisons
from rewardsmith.errors import DataError, describe, one_line, row_error
from rewardsmith.files.reading import read_rows
from rewardsmith.files.tables import OnBroken, Row
from rewardsmith.files.writing import write_json
from rewardsmith.records import Message, PreferenceGroup

TAGS = {"human": "user", "gpt": "assistant", "observation": "tool", "function_call": "assistant", "system": "system"}
ROLE_TAGS = {"user": "human", "assistant": "gpt", "tool": "observation", "system": "system"}
COLUMNS = {"instruction", "input", "history", "conversations", "system", "chosen", "rejected", "output"}
# What a data set of ours needs in dataset_info.json.
INFO = {
    "ranking": True,
    "formatting": "sharegpt",
    "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "system": "system"},
}
# LLaMA-Factory's name of a column -> the name that our reader of its rows knows.
ALPACA = {"prompt": "instruction", "query": "input", "history": "history"}
SHAREGPT = {"messages": "conversations"}
COMMON = {"chosen": "chosen", "rejected": "rejected", "system": "system", "tools": "tools"}
REGISTRY_ROLES = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "assistant",
    "system_tag": "system",
}


def read_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read an alpaca or a sharegpt ranking row."""
    prompt: list[Mapping[str, Any]] = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    if "conversations" in row:
        turns = check_list(require(row, "conversations", where), where, "conversations")
        prompt += [_read_turn(turn, where, f"conversations[{index}]") for index, turn in enumerate(turns)]
        sides = {name: _read_side(require(row, name, where), where, name) for name in ("chosen", "rejected")}
        return answer_group({**row, **sides}, where, prompt, COLUMNS)
    for index, turn in enumerate(check_list(row.get("history") or [], where, "history")):
        pair = check_list(turn, where, f"history[{index}]")
        if len(pair) != 2:
            raise row_error(
                where, "wrong length", f"history[{index}] must be [question, answer]; it has {len(pair)} parts"
            )
        prompt += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    question = _question(row, where)
    prompt += [{"role": "user", "content": question}] if question else []
    if "chosen" not in row:
        return _read_ranking(row, where, prompt)
    return answer_group(row, where, prompt, COLUMNS)


def _question(row: Mapping[str, Any], where: str) -> str:
    question = check_text(require(row, "instruction", where), where, "instruction", empty=True)
    return f"{question}\n{check_text(row['input'], where, 'input')}" if row.get("input") else question


def _read_ranking(row: Mapping[str, Any], where: str, prompt: list[Mapping[str, Any]]) -> PreferenceGroup:
    """Read the older layout: `output` lists the answers, best first."""
    answers = require(row, "output", where)
    if not isinstance(answers, list | tuple) or len(answers) < 2:
        message = f"column 'output' is {describe(answers)}: one answer compares nothing; give a list, best first"
        raise row_error(where, "one answer", message)
    sides = [[{"role": "assistant", "content": answer}] for answer in answers]
    joined, completions = join_prompt(prompt or "", sides, where, "instruction", "output")
    return PreferenceGroup(
        joined, completions, ranked_comparisons(range(len(answers))), **group_fields(row, where, COLUMNS)
    )


def write_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Return sharegpt rows, one a comparison.

    Raises:
        DataError: a completion has several messages, or the turns do not alternate: LLaMA-Factory leaves such rows
            out while it loads, with no more than a warning.
    """
    prompt, completions = conversations(group)
    system = [m for m in prompt if m.role == "system"]
    asks = [m.role in ("user", "tool") for m in prompt if m.role != "system"]
    if asks != [index % 2 == 0 for index in range(len(asks))] or len(asks) % 2 == 0:
        raise row_error("group", "turns do not alternate", "LLaMA-Factory needs user and assistant in turn, user last")
    turns = [_write_turn(message) for message in prompt if message.role != "system"]
    return [
        {
            "conversations": turns,
            "chosen": _write_turn(single_message(completions[comparison.better])),
            "rejected": _write_turn(single_message(completions[comparison.worse])),
            "system": "\n".join(str(message.content) for message in system),
            **pair_columns(group, comparison, ("tools",)),
        }
        for comparison in group.comparisons
    ]


def _read_side(side: object, where: str, name: str) -> list[Any]:
    """Read the turn of a side, or a list of turns, each an answer."""
    if not isinstance(side, list | tuple):
        return [_read_turn(side, where, name)]
    return [[_read_turn(turn, where, f"{name}[{index}]")] for index, turn in enumerate(side)]


def _read_turn(turn: object, where: str, place: str) -> Mapping[str, Any]:
    """Read `{"from", "value"}`; the OpenAI form `{"role", "content"}` passes through."""
    message = check_mapping(turn, where, place)
    if "role" in message:
        return message
    tag = message.get("from")
    if not isinstance(tag, str) or tag not in TAGS:
        raise row_error(where, "unknown role", f"{place} is from {tag!r}; allowed: {', '.join(TAGS)}")
    return {"role": TAGS[tag], "content": check_text(message.get("value"), where, f"{place}.value", empty=True)}


def _write_turn(message: Message) -> dict[str, str]:
    """Write one message with LLaMA-Factory's tags."""
    if message.role not in ROLE_TAGS or not isinstance(message.content, str) or message.extra:
        raise row_error("group", "message form", f"LLaMA-Factory cannot hold this {message.role!r} message")
    return {"from": ROLE_TAGS[message.role], "value": message.content}


def read_folder(folder: Path, split: str | None, on_broken: OnBroken | None) -> Iterator[Row] | None:
    """Read one data set of the folder's registry, its columns renamed; None where the folder has no registry.

    Raises:
        DataError: a broken registry, or several ranking sets and none named as `split`.
    """
    path = folder / "dataset_info.json"
    entries = _registry(path) if path.exists() and not (folder / "state.json").exists() else {}
    return _read_entry(folder, entries, split, on_broken) if entries else None


def _read_entry(
    folder: Path, entries: dict[str, dict[str, Any]], split: str | None, on_broken: OnBroken | None
) -> Iterator[Row]:
    if (split is None and len(entries) > 1) or (split is not None and split not in entries):
        raise DataError(f"{folder}: the registry holds the ranking sets {', '.join(entries)}; name one as split")
    entry = entries[split or next(iter(entries))]
    for where, row in read_rows(folder / entry["file_name"], on_broken=on_broken):
        yield where, rename_row(row, entry)


def _registry(path: Path) -> dict[str, dict[str, Any]]:
    """Return the ranking data sets of a dataset_info.json; none where it is not LLaMA-Factory's."""
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name}: broken JSON: {one_line(error)}") from error
    is_registry = isinstance(info, dict) and any(isinstance(v, dict) and "file_name" in v for v in info.values())
    return ranking_entries(info, path) if is_registry else {}


def ranking_entries(info: object, path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of a registry that hold ranking data in local files. Raises DataError for a broken one."""
    if not isinstance(info, Mapping) or not all(isinstance(entry, Mapping) for entry in info.values()):
        raise DataError(f"{path.name}: a registry maps names to objects; see LLaMA-Factory's data/README")
    return {str(k): dict(v) for k, v in info.items() if v.get("ranking") and isinstance(v.get("file_name"), str)}


def rename_row(row: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with the columns and tags that the reader of LLaMA-Factory's rows knows."""
    is_chat = entry.get("formatting", "alpaca") in ("sharegpt", "openai")
    known = {**(SHAREGPT if is_chat else ALPACA), **COMMON}
    columns = entry.get("columns") or {}
    names = {str(columns.get(theirs, ours)): ours for theirs, ours in known.items() if columns.get(theirs, ours)}
    renamed = {names.get(column, column): value for column, value in row.items()}
    tags = entry.get("tags")
    if is_chat and isinstance(tags, Mapping):
        for name in ("conversations", "chosen", "rejected"):
            value = renamed.get(name)
            renamed[name] = [_retag(v, tags) for v in value] if isinstance(value, list) else _retag(value, tags)
    return renamed


def _retag(turn: object, tags: Mapping[str, Any]) -> Any:
    """Turn one message with a registry's own tags into `{"role", "content"}`; what is no message stays."""
    if not isinstance(turn, Mapping):
        return turn
    role = turn.get(str(tags.get("role_tag", "from")))
    roles = {str(tags[tag]): name for tag, name in REGISTRY_ROLES.items() if tag in tags}
    roles = {**{"human": "user", "gpt": "assistant"}, **roles}
    return {"role": roles.get(str(role), role), "content": turn.get(str(tags.get("content_tag", "value")))}


FORMAT = Format(
    "llamafactory",
    read_row,
    ({"instruction", "chosen", "rejected"}, {"conversations", "chosen", "rejected"}, {"instruction", "output"}),
    # Beside a prompt, such a column is something else: the pair is meant.
    unless=frozenset({"prompt"}),
    system_place="system",
    read_folder=read_folder,
    targets={"llamafactory": Target(write_rows, frozenset({"tools"}), is_chat=True)},
)


def register(path: Path) -> tuple[str, Path]:
    """Enter a file into dataset_info.json beside it, as LLaMA-Factory needs; other entries stay. Returns its name."""
    info_path = path.parent / "dataset_info.json"
    known: dict[str, Any] = json.loads(info_path.read_text(encoding="utf-8")) if info_path.exists() else {}
    name = path.name.split(".")[0]
    write_json(info_path, {**known, name: {"file_name": path.name, **INFO}})
    return name, info_path
