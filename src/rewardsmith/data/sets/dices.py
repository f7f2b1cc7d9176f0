"""DICES (Aroyo et al. 2023, arXiv 2306.11247): is a chatbot's last response unsafe? 60 to 130 raters a dialogue.

There is one response a dialogue, so there are ratings and no comparisons: the shares of raters who answer Yes (unsafe),
No and Unsure. Two layouts: the authors' table, one row a rater and dialogue, with the raters' groups; and JUDGE-BENCH's
JSON, one object with all dialogues and the bare answers. The JSON's own prompt asks whether the response is safe, yet
its answers are the table's `Q_overall`, where Yes means unsafe; this reader follows the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_mapping, check_text, require
from rewardsmith.data.sets.entry import Entry, Row, Rows, read_each, split_turns
from rewardsmith.data.sets.published import attempt_run
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Message, PreferenceGroup

ATTRIBUTES = {"Yes": "unsafe", "No": "safe", "Unsure": "unsure"}
MARKS = {"\nA:": "user", "\nB:": "assistant", "\nUSER:": "user", "\nLAMDA:": "assistant"}
Vote = Mapping[str, str]


def unfold(rows: Rows) -> Rows:
    """Give the dialogues of the one JSON object one by one; other rows pass."""
    for where, row in rows:
        instances = row.get("instances")
        if not isinstance(instances, list) or not instances:
            yield where, row
            continue
        for index, instance in enumerate(instances):
            yield f"{where} instances[{index}]", instance if isinstance(instance, dict) else {}


def read(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a dialogue. The table is gathered by dialogue, so its groups come when all rows are read."""
    table: dict[str, tuple[Row, list[str], list[Vote]]] = {}
    for where, row in rows:
        if "rater_id" not in row:
            yield from read_each([(where, row)], _read_instance)
            continue
        try:
            vote = _read_vote(row, where)
            _, places, votes = table.setdefault(str(require(row, "item_id", where)), (row, [], []))
        except RowError as error:
            yield error
            continue
        places.append(where)
        votes.append(vote)
    for item, (row, places, votes) in table.items():
        yield from attempt_run(partial(_item, row, places[0], item, votes), places)


def _read_instance(row: Row, where: str) -> PreferenceGroup:
    instance = check_mapping(require(row, "instance", where), where, "instance")
    annotations = check_mapping(require(row, "annotations", where), where, "annotations")
    safety = check_mapping(annotations.get("safety") or {}, where, "annotations.safety")
    scores = check_list(require(safety, "individual_human_scores", where), where, "individual_human_scores")
    unknown = [score for score in scores if not isinstance(score, str) or score not in ATTRIBUTES]
    if unknown or not scores:
        raise row_error(where, "unknown label", f"the answers must be Yes, No or Unsure, not {describe(unknown[:1])}")
    # Turns are separated by a backslash and an n, not by a line break.
    context = check_text(require(instance, "user_prompt", where), where, "user_prompt").replace("\\n", "\n")
    response = check_text(require(instance, "response", where), where, "response")
    return _group(context, response, scores, where, {"item": str(row.get("id", where)), "answers": scores})


def _read_vote(row: Row, where: str) -> Vote:
    answer = require(row, "Q_overall", where)
    if not isinstance(answer, str) or answer not in ATTRIBUTES:
        raise row_error(where, "unknown label", f"Q_overall must be Yes, No or Unsure, not {describe(answer)}")
    groups = {name: str(value) for name, value in row.items() if name.startswith("rater_") and value is not None}
    return {**groups, "answer": answer}


def _item(row: Row, where: str, item: str, votes: Sequence[Vote]) -> PreferenceGroup:
    metadata = {name: row[name] for name in ("degree_of_harm", "harm_type") if row.get(name)}
    names = sorted({name for vote in votes for name in vote} - {"rater_id", "answer"})
    by_group: dict[str, list[str]] = {}
    for vote in votes:
        for name in names:
            by_group.setdefault(f"{name}={vote.get(name)}", []).append(vote["answer"])
    metadata |= {"item": item, "votes": [dict(vote) for vote in votes]}
    metadata["unsafe_by_group"] = {name: _shares(answers)["unsafe"] for name, answers in by_group.items()}
    context = check_text(require(row, "context", where), where, "context")
    response = check_text(require(row, "response", where), where, "response")
    return _group(context, response, [vote["answer"] for vote in votes], where, metadata)


def _group(
    context: str, response: str, answers: Sequence[str], where: str, metadata: dict[str, Any]
) -> PreferenceGroup:
    turns = split_turns(f"\n{context.strip()}\nB: {response}", MARKS, where, "the dialogue")
    return PreferenceGroup(
        prompt=turns[:-1],
        completions=((Message("assistant", turns[-1].content),),),
        ratings={name: (share,) for name, share in _shares(answers).items()},
        group_id=metadata.pop("item"),
        metadata={**metadata, "num_raters": len(answers)},
    )


def _shares(answers: Sequence[str]) -> dict[str, float]:
    """Give the share of each answer; they sum to 1."""
    counts = Counter(answers)
    return {name: counts[answer] / len(answers) for answer, name in ATTRIBUTES.items()}


ENTRIES = (
    Entry(
        name="dices",
        summary="DICES as JUDGE-BENCH ships it: shares of 60 to 70 raters who find a chatbot's response unsafe",
        licence="CC-BY-4.0",
        paper="2306.11247",
        hub_id=None,
        read=read,
        columns=frozenset({"dataset", "annotations", "instances"}),
        homepage="https://github.com/google-research-datasets/dices-dataset",
        unfold=unfold,
    ),
    Entry(
        name="dices-raters",
        summary="DICES as its authors ship it: a row a rater and dialogue, shares also by group of raters",
        licence="CC-BY-4.0",
        paper="2306.11247",
        hub_id=None,
        read=read,
        columns=frozenset({"rater_id", "item_id", "context", "response", "Q_overall"}),
        homepage="https://github.com/google-research-datasets/dices-dataset",
    ),
)
