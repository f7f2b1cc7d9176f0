"""Read what people are to judge: any format that `load_preferences` reads, and rows that nobody judged yet.

Rows without a judgement are lists of answers, two answers side by side, one answer a row in files of several models,
and records of Argilla, Label Studio and Potato that nobody has annotated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.data.detecting import choose_for_path, detect_format, parse_row
from rewardsmith.data.detecting import read_rows as read_any_rows
from rewardsmith.data.formats.cells import check_list
from rewardsmith.data.formats.pairs import group_fields, join_prompt
from rewardsmith.data.loading import load_preferences
from rewardsmith.data.merging import deduplicate, merge_groups
from rewardsmith.errors import DataError, RowError
from rewardsmith.files.reading import read_rows
from rewardsmith.records import PreferenceGroup, as_text, text_key

PROMPTS = ("prompt", "question", "instruction", "input", "messages")
LISTS = ("completions", "responses", "answers", "outputs", "generations")
SIDES = (("left", "right"), ("response_a", "response_b"), ("response_1", "response_2"), ("answer_a", "answer_b"))
OUTPUTS = ("completion", "response", "output", "answer", "generation", "text")
# Their projects hold items that nobody has judged, which are the ones to ask about.
TOOLS = ("argilla", "label-studio", "potato")


def read_items(
    paths: Sequence[str | Path],
    reader: str | None = None,
    dropped: Counter[str] | None = None,
    skip_bad: bool = False,
) -> list[PreferenceGroup]:
    """Read groups from files, or join several models' outputs by prompt.

    Outputs have a prompt and one answer a row; the model is the column "model" or else the file's name. Rows of a
    prompt with a list of answers, or with two side by side, need no judgement, unlike those that train a model.

    Args:
        dropped: counts, by reason, the rows that are left out.
        skip_bad: leave rows out that cannot be used, instead of raising.
    """
    lost = Counter[str]() if dropped is None else dropped
    places = [Path(path) for path in paths]
    if all(path.exists() for path in places):
        if reader in TOOLS or (reader is None and all(map(is_tool_project, places))):
            rows = (entry for path in places for entry in read_any_rows(path))
            return merge_groups(_read_records(rows, reader, lost, skip_bad))
        if reader is None and all(path.is_file() for path in places):
            for fits, read in ((is_output_file, join_outputs), (is_unjudged_file, _read_unjudged_files)):
                if all(map(fits, places)):
                    return read(places, lost if skip_bad else None)
    source: Any = paths[0] if len(paths) == 1 else list(paths)
    groups = load_preferences(source, reader=reader, on_error="count" if skip_bad else "raise")
    lost.update(groups.report.dropped)
    return list(groups)


def is_tool_project(path: Path) -> bool:
    """Whether a file or folder is a project of an annotation tool."""
    first = next(iter(read_any_rows(path)), None)
    try:
        return first is not None and detect_format(first[1]) in TOOLS
    except DataError:
        return False


def _read_records(
    rows: Iterator[tuple[str, dict[str, Any]]], reader: str | None, lost: Counter[str], skip_bad: bool
) -> Iterator[PreferenceGroup]:
    """Read records of annotation tools, those that nobody judged as well."""
    for where, row in rows:
        try:
            yield parse_row(row, where, reader)
        except RowError as error:
            if isinstance(error.unjudged, PreferenceGroup):
                yield deduplicate(error.unjudged)
            elif skip_bad:
                lost[error.reason] += 1
            else:
                raise


def _rows(path: Path, lost: Counter[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a file; those that are broken are counted in `lost`, without which they raise."""

    def count(error: RowError) -> None:
        if lost is not None:
            lost[error.reason] += 1

    yield from read_rows(path, on_broken=None if lost is None else count)


def _first(path: Path) -> tuple[str, dict[str, Any]] | None:
    """Return the first row that can be read."""
    return next(_rows(path, Counter()), None)


def is_output_file(path: Path) -> bool:
    """Whether the rows of a file are one model's answers, and no published data set, which has a reader of its own."""
    first = _first(path)
    if first is None or not any(name in first[1] for name in OUTPUTS) or choose_for_path(path, None) is not None:
        return False
    try:
        return detect_format(first[1]) in ("unpaired",) and "label" not in first[1]
    except DataError:
        return any(name in first[1] for name in PROMPTS)


def is_unjudged_file(path: Path) -> bool:
    """Whether the rows of a file have a prompt and several answers, and no layout that brings judgements."""
    first = _first(path)
    if first is None or not (any(name in first[1] for name in LISTS) or _sides(first[1])):
        return False
    if choose_for_path(path, None) is not None:
        return False
    try:
        detect_format(first[1])
    except DataError:
        return any(name in first[1] for name in PROMPTS)
    return False


def _sides(row: Mapping[str, Any]) -> tuple[str, ...]:
    return next((names for names in SIDES if all(row.get(name) is not None for name in names)), ())


def _read_unjudged_files(paths: Sequence[Path], lost: Counter[str] | None = None) -> list[PreferenceGroup]:
    """Read rows of a prompt with its answers; `lost` counts those that cannot be used, which raise without it."""
    groups = []
    for path in paths:
        for where, row in _rows(path, lost):
            try:
                groups.append(_read_unjudged(row, where))
            except DataError as error:
                if lost is None:
                    raise
                lost[error.reason if isinstance(error, RowError) else "no prompt with answers"] += 1
    return groups


def _read_unjudged(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    asked, listed = (next((name for name in names if name in row), "") for names in (PROMPTS, LISTS))
    names = (listed,) if listed else _sides(row)
    if not asked or not names:
        pairs = ", ".join(" and ".join(pair) for pair in SIDES)
        raise DataError(f"{where}: needs a prompt ({', '.join(PROMPTS)}) and answers ({', '.join(LISTS)}; {pairs})")
    answers = check_list(row[listed], where, listed) if listed else [row[name] for name in names]
    prompt, completions = join_prompt(row[asked], answers, where, asked, listed or list(names))
    models = row.get("models")
    if models is not None and len(check_list(models, where, "models")) != len(completions):
        raise DataError(f"{where}: {len(models)} models for {len(completions)} answers; give one name an answer")
    named = tuple(map(str, models)) if models is not None else ()
    return PreferenceGroup(prompt, completions, models=named, **group_fields(row, where, {asked, *names, "models"}))


def join_outputs(paths: Sequence[Path], lost: Counter[str] | None = None) -> list[PreferenceGroup]:
    """Join the answers of several models to groups, by prompt.

    `lost` counts the rows without a prompt or an answer. Raises DataError for them where it is None.
    """
    found: dict[str, list[tuple[Any, Any, str]]] = {}
    for path in paths:
        for where, row in _rows(path, lost):
            prompt, output = (
                next((row[name] for name in names if row.get(name) not in (None, "")), None)
                for names in (PROMPTS, OUTPUTS)
            )
            if lost is not None and (prompt is None or output is None):
                lost["no prompt or no answer"] += 1
                continue
            if prompt is None or output is None:
                raise DataError(f"{where}: needs a prompt ({', '.join(PROMPTS)}) and an answer ({', '.join(OUTPUTS)})")
            asked = as_text(prompt, f"{where} prompt")
            model = str(row.get("model") or row.get("generator") or path.name.split(".")[0])
            found.setdefault(text_key(asked), []).append((asked, as_text(output, f"{where} answer"), model))
    return [_joined(entries) for entries in found.values()]


def _joined(entries: Sequence[tuple[Any, Any, str]]) -> PreferenceGroup:
    completions = tuple(completion for _, completion, _ in entries)
    return deduplicate(PreferenceGroup(entries[0][0], completions, models=tuple(model for *_, model in entries)))
