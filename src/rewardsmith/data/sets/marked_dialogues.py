"""Dialogues in one text with marked turns, compared in pairs or ranked.

Anthropic HH-RLHF (Bai et al. 2022, arXiv 2204.05862): two dialogues that differ from some turn on.

Rows with identical sides are kept as a comparison that prefers none. Dialogues whose turns do not alternate, or whose
judged answer is empty, are left out and counted: a chat template refuses them.

Nectar (Zhu et al. 2023, Starling): seven answers to a chat prompt, ranked by GPT-4; rank 1 is best.
"""

from __future__ import annotations

from collections.abc import Iterator

from rewardsmith.data.formats.cells import check_number, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each, split_shared, split_turns, subset_of
from rewardsmith.data.sets.published import answer, check_prompt, compare, kept, name_of, records
from rewardsmith.errors import RowError, row_error
from rewardsmith.records import Comparison, PreferenceGroup

MARKS = {"\n\nHuman:": "user", "\n\nAssistant:": "assistant"}


def read_hh_rlhf(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a row, its text turned into messages."""
    return read_each(rows, _read_pair)


def _read_pair(row: Row, where: str) -> PreferenceGroup:
    sides = [split_turns(require(row, name, where), MARKS, where, name) for name in ("chosen", "rejected")]
    prompt, completions = split_shared(sides)
    subset = subset_of(where)
    metadata = {"subset": subset} if subset else {}
    return PreferenceGroup(prompt, completions, (Comparison(0, 1),), group_id=where, metadata=metadata)


HH_RLHF_ENTRY = Entry(
    name="hh-rlhf",
    summary="Anthropic HH-RLHF: the more helpful or less harmful of two dialogues; a subset is a folder of it",
    licence="MIT",
    paper="2204.05862",
    hub_id="Anthropic/hh-rlhf",
    read=read_hh_rlhf,
    # The folder red-team-attempts holds transcripts without a pair.
    files=("train*", "test*", "*-train*", "*-test*"),
)


def read_nectar(rows: Rows) -> Read:
    """Give one group a row: the prompt as messages, every pair of answers compared by rank, equal ranks as ties."""
    return read_each(rows, _group)


def _group(row: Row, where: str) -> PreferenceGroup:
    asked = check_prompt(require(row, "prompt", where), where, "prompt")
    # The published prompts end with the name of the assistant, whose turn the answers are.
    prompt = split_turns(f"{asked} answer", MARKS, where, "prompt")[:-1]
    items = records(require(row, "answers", where), where, "answers")
    if len(items) < 2:
        raise row_error(where, "too few completions", f"column 'answers' holds {len(items)}; two can be compared")
    ranks = [
        check_number(require(item, "rank", f"{where} answers[{i}]"), where, f"answers[{i}].rank")
        for i, item in enumerate(items)
    ]
    return PreferenceGroup(
        prompt=prompt,
        completions=tuple(answer(item.get("answer"), where, f"answers[{i}].answer") for i, item in enumerate(items)),
        comparisons=compare(ranks, lower_is_better=True),
        ratings={"rank": tuple(ranks)},
        models=tuple(name_of(item.get("model")) for item in items),
        source="nectar",
        group_id=where,
        metadata=kept(row, "source", "good_natured", "turns"),
    )


NECTAR_ENTRY = Entry(
    name="nectar",
    summary="Nectar: seven answers to a chat prompt, ranked by GPT-4",
    licence="Apache-2.0, not to be used to compete with OpenAI",
    paper="https://starling.cs.berkeley.edu",
    hub_id="berkeley-nest/Nectar",
    read=read_nectar,
    columns=frozenset({"prompt", "answers", "good_natured"}),
    labels="AI",
)


ENTRIES = (
    HH_RLHF_ENTRY,
    NECTAR_ENTRY,
)
