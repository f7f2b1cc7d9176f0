"""Turn one row, in any of the usual forms, into a `PreferenceGroup`.

Forms without a tool's own layout live here: TRL pairs (text, messages, token ids), rankings, scores, NeMo
completions. Layouts of single tools are one file each under `rewardsmith.data.formats`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rewardsmith.data.formats import (
    argilla,
    axolotl,
    label_studio,
    llamafactory,
    potato,
    rewardsmith,
    swift,
    trl_labels,
)
from rewardsmith.data.merging import deduplicate
from rewardsmith.data.row_parts import (
    comparison_fields,
    group_fields,
    join_prompt,
    pair_group,
    ranked_comparisons,
    scored_comparisons,
)
from rewardsmith.data.row_values import check_ids, check_list, check_mapping, check_number, require
from rewardsmith.errors import ConfigError, DataError, row_error
from rewardsmith.records import Comparison, PreferenceGroup

PAIR_COLUMNS = {"prompt", "chosen", "rejected"}
LIST_COLUMNS = {"prompt", "completions", "ranks", "scores", "ratings", "models"}

Reader = Callable[[Mapping[str, Any], str], PreferenceGroup]


def parse_row(row: Mapping[str, Any], where: str = "row 0", format: str | None = None) -> PreferenceGroup:
    """Read one row as a group of completions with its comparisons.

    Columns that the format does not know are kept in `metadata`. Two identical sides are one completion with a
    comparison `better == worse`.

    Args:
        where: names the row in errors, such as "train.jsonl:row 12".
        format: a name from `FORMATS`; None chooses it from the columns.

    Raises:
        DataError: the row cannot be used; the message names row, column and remedy.
        ConfigError: `format` is unknown.
    """
    if not isinstance(row, Mapping):
        raise row_error(where, "wrong type", f"a row must be an object with named columns, not {type(row).__name__}")
    if format is None:
        try:
            format = detect_format(row)
        except DataError as error:
            raise row_error(where, "unknown columns", str(error)) from error
    return deduplicate(format_reader(format)(row, where))


def detect_format(columns: Iterable[str]) -> str:
    """Choose the format of rows from their column names.

    Token ids win over texts, as in TRL, since a tokenised data set often keeps its text columns. Otherwise, when
    two formats fit, nothing is guessed: the error names both.

    Raises:
        DataError: no format fits, or more than one.
    """
    names = {str(column) for column in columns}
    names |= argilla.nested_columns(names)
    fitting = [name for name, signatures in SIGNATURES.items() if any(s <= names for s in signatures)]
    if "tokens" in fitting:
        return "tokens"
    # A layout that names more of the columns is the better explanation: alpaca's instruction beside chosen and
    # rejected is not a TRL pair with an implicit prompt.
    fitting = [name for name in fitting if not any(other in MORE_SPECIFIC.get(name, ()) for other in fitting)]
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join(sorted(names)) or "none"
    if fitting:
        raise DataError(f"the columns ({shown}) fit several formats: {', '.join(fitting)}; name one with --reader")
    raise DataError(
        f"the columns ({shown}) fit no format; give chosen and rejected, or completions with ranks or scores, "
        f"or name one of: {', '.join(FORMATS)}"
    )


def format_reader(name: str) -> Reader:
    """Give the function that reads rows of a named format. Raises ConfigError with the nearest name."""
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(FORMATS)}"
        raise ConfigError(f"unknown format {name!r}; {hint}")
    return FORMATS[name]


def _read_pair(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read TRL's `chosen`, `rejected` and perhaps `prompt`; text or messages."""
    sides = [require(row, "chosen", where), require(row, "rejected", where)]
    prompt = require(row, "prompt", where) if "prompt" in row else None
    return pair_group(row, where, prompt, sides, PAIR_COLUMNS)


def _read_tokens(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read TRL's tokenised pairs. The ids hold the prompt, so the group's prompt is empty."""
    names = ("chosen_ids", "rejected_ids") if "chosen_ids" in row else ("chosen_input_ids", "rejected_input_ids")
    completions = tuple(check_ids(require(row, name, where), where, name) for name in names)
    comparison = Comparison(0, 1, **comparison_fields(row, where))
    return PreferenceGroup("", completions, (comparison,), **group_fields(row, where, {*names, *PAIR_COLUMNS}))


def _read_ranking(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read `completions` with `ranks`: lower is better, equal ranks are ties, every pair is a comparison."""
    prompt, completions = _read_completions(row, where)
    ranks = _read_numbers(row, "ranks", where, len(completions))
    fields = group_fields(row, where, LIST_COLUMNS - {"scores"})
    return PreferenceGroup(prompt, completions, ranked_comparisons(ranks), **_with_lists(fields, row, where))


def _read_scores(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read `completions` with `scores`: higher is better, the difference is the margin, equal scores are ties."""
    prompt, completions = _read_completions(row, where)
    scores = _read_numbers(row, "scores", where, len(completions))
    fields = _with_lists(group_fields(row, where, LIST_COLUMNS - {"ranks"}), row, where)
    fields["ratings"] = {"score": tuple(scores), **fields.get("ratings", {})}
    return PreferenceGroup(prompt, completions, scored_comparisons(scores), **fields)


def _read_nemo(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read NeMo-RL's `context` and `completions: [{rank, completion}]`; a lower rank is better."""
    entries = check_list(require(row, "completions", where), where, "completions")
    if len(entries) < 2:
        raise row_error(where, "too few completions", f"column 'completions' holds {len(entries)}; give two or more")
    entries = [check_mapping(entry, where, f"completions[{i}]") for i, entry in enumerate(entries)]
    sides = [require(entry, "completion", f"{where} completions[{i}]") for i, entry in enumerate(entries)]
    ranks = [
        check_number(require(entry, "rank", f"{where} completions[{i}]"), where, f"completions[{i}].rank")
        for i, entry in enumerate(entries)
    ]
    prompt, completions = join_prompt(require(row, "context", where), sides, where, "context", "completions")
    fields = group_fields(row, where, {"context", "completions"})
    return PreferenceGroup(prompt, completions, ranked_comparisons(ranks, **comparison_fields(row, where)), **fields)


def _read_completions(row: Mapping[str, Any], where: str) -> tuple[Any, tuple[Any, ...]]:
    """Read the prompt and at least two completions of a ranking or of scores."""
    completions = check_list(require(row, "completions", where), where, "completions")
    if len(completions) < 2:
        raise row_error(
            where, "too few completions", f"column 'completions' holds {len(completions)}; give two or more to compare"
        )
    prompt = require(row, "prompt", where) if "prompt" in row else None
    return join_prompt(prompt, completions, where, "prompt", "completions")


def _read_numbers(row: Mapping[str, Any], column: str, where: str, size: int) -> list[float]:
    """Read one finite number per completion."""
    values = check_list(require(row, column, where), where, column)
    if len(values) != size:
        raise row_error(
            where,
            "wrong length",
            f"column {column!r} has {len(values)} entries for {size} completions; give one for each",
        )
    return [check_number(value, where, f"{column}[{index}]") for index, value in enumerate(values)]


def _with_lists(fields: dict[str, Any], row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Add the optional `ratings` (attribute to scores) and `models`, one entry per completion."""
    if row.get("ratings") is not None:
        ratings = check_mapping(row["ratings"], where, "ratings")
        fields["ratings"] = {name: _optional_numbers(v, where, f"ratings.{name}") for name, v in ratings.items()}
    if row.get("models") is not None:
        fields["models"] = tuple(None if m is None else str(m) for m in check_list(row["models"], where, "models"))
    size = len(check_list(row["completions"], where, "completions"))
    lists = {"models": fields.get("models") or (None,) * size, **fields.get("ratings", {})}
    for name, values in lists.items():
        if len(values) != size:
            raise row_error(where, "wrong length", f"{name!r} has {len(values)} entries for {size} completions")
    return fields


def _optional_numbers(values: Any, where: str, column: str) -> tuple[float | None, ...]:
    items: Sequence[Any] = check_list(values, where, column)
    return tuple(None if v is None else check_number(v, where, f"{column}[{i}]") for i, v in enumerate(items))


FORMATS: dict[str, Reader] = {
    "pair": _read_pair,
    "tokens": _read_tokens,
    "ranking": _read_ranking,
    "scores": _read_scores,
    "nemo": _read_nemo,
    "rewardsmith": rewardsmith.read_row,
    "llamafactory": llamafactory.read_row,
    "swift": swift.read_row,
    "axolotl": axolotl.read_row,
    "label-studio": label_studio.read_row,
    "argilla": argilla.read_row,
    "potato": potato.read_row,
    "stepwise": trl_labels.read_stepwise,
    "unpaired": trl_labels.read_unpaired,
    # The same columns as TRL's pairs; the names are accepted so that --format may name the tool.
    "trl": _read_pair,
    "openrlhf": _read_pair,
    "open-instruct": _read_pair,
}

SIGNATURES: dict[str, tuple[set[str], ...]] = {
    "tokens": ({"chosen_ids", "rejected_ids"}, {"chosen_input_ids", "rejected_input_ids"}),
    "rewardsmith": ({"completions", "comparisons"},),
    "ranking": ({"completions", "ranks"},),
    "scores": ({"completions", "scores"},),
    "nemo": ({"completions", "context"},),
    "llamafactory": llamafactory.SIGNATURES,
    "swift": swift.SIGNATURES,
    "axolotl": axolotl.SIGNATURES,
    "label-studio": label_studio.SIGNATURES,
    "argilla": argilla.SIGNATURES,
    "potato": potato.SIGNATURES,
    "stepwise": trl_labels.STEPWISE,
    "unpaired": trl_labels.UNPAIRED,
    "pair": ({"chosen", "rejected"},),
}

MORE_SPECIFIC = {"pair": ("llamafactory", "axolotl"), "axolotl": ("llamafactory",)}
