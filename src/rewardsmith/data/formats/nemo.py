"""NeMo-RL's rows: `context`, a conversation, and `completions: [{rank, completion}]`, where a lower rank is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_mapping, check_number, require
from rewardsmith.data.formats.format import Format, Target
from rewardsmith.data.formats.pairs import (
    ALL_COLUMNS,
    UNREAD,
    comparison_fields,
    conversations,
    group_fields,
    join_prompt,
    pair_columns,
    ranked_comparisons,
)
from rewardsmith.errors import row_error
from rewardsmith.records import PreferenceGroup, as_plain

NEMO_LEFT_OUT = {"tie", "chosen_model", "rejected_model", "chosen_ratings", "rejected_ratings"}


def read_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
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


def to_nemo_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Give NeMo-RL's `context, completions: [{rank, completion}]`, two completions a row, as its trainer reads."""
    prompt, completions = conversations(group)
    context = [message.to_dict() for message in prompt]
    return [
        {
            "context": context,
            "completions": [
                {"rank": 0, "completion": as_plain(completions[comparison.better])},
                {"rank": int(comparison.outcome != "tie"), "completion": as_plain(completions[comparison.worse])},
            ],
            **{k: v for k, v in pair_columns(group, comparison, ALL_COLUMNS).items() if k not in NEMO_LEFT_OUT},
        }
        for comparison in group.comparisons
    ]


FORMAT = Format(
    "nemo",
    read_row,
    ({"completions", "context"},),
    targets={
        "nemo": Target(
            to_nemo_rows,
            frozenset(ALL_COLUMNS) - {"tie", "models", "ratings"},
            UNREAD | {"margin", "tools", "chat_template_kwargs"},
            is_chat=True,
        )
    },
)
