"""Nectar (Zhu et al. 2023, Starling): seven answers to a chat prompt, ranked by GPT-4; rank 1 is best."""

from __future__ import annotations

from rewardsmith.data.formats.cells import check_number, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.layouts import split_turns
from rewardsmith.data.sets.published import answer, check_prompt, compare, kept, name_of, records
from rewardsmith.errors import row_error
from rewardsmith.records import PreferenceGroup

MARKS = {"\n\nHuman:": "user", "\n\nAssistant:": "assistant"}


def read(rows: Rows) -> Read:
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


ENTRY = Entry(
    name="nectar",
    summary="Nectar: seven answers to a chat prompt, ranked by GPT-4",
    licence="Apache-2.0, not to be used to compete with OpenAI",
    paper="https://starling.cs.berkeley.edu",
    hub_id="berkeley-nest/Nectar",
    read=read,
    columns=frozenset({"prompt", "answers", "good_natured"}),
    labels="AI",
)
