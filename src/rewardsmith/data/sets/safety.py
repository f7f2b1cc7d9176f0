"""Sets of safety: is an answer harmful, and which of two is safer.

DICES (Aroyo et al. 2023, arXiv 2306.11247): is a chatbot's last response unsafe? 60 to 130 raters a dialogue. There is
one response a dialogue, so there are ratings and no comparisons: the shares of raters who answer Yes (unsafe), No and
Unsure. Two layouts: the authors' table, one row a rater and dialogue, with the raters' groups; and JUDGE-BENCH's JSON,
one object with all dialogues and the bare answers. The JSON's own prompt asks whether the response is safe, yet its
answers are the table's `Q_overall`, where Yes means unsafe; this reader follows the table.

BeaverTails (Ji et al. 2023, arXiv 2307.04657): answers to risky prompts, labelled safe or with kinds of harm.
Consecutive rows of one prompt make a group. An answer that several people labelled stands once; its rating is the
share of those who called it safe.

PKU-SafeRLHF (Ji et al. 2024, arXiv 2406.15513): two answers, judged apart for being better and for being safer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_flag, check_list, check_mapping, check_text, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each, split_turns
from rewardsmith.data.sets.published import (
    ask,
    attempt_run,
    check_prompt,
    compare,
    index_choice,
    kept,
    known_number,
    name_of,
    runs,
)
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Comparison, Message, PreferenceGroup

ATTRIBUTES = {"Yes": "unsafe", "No": "safe", "Unsure": "unsure"}
MARKS = {"\nA:": "user", "\nB:": "assistant", "\nUSER:": "user", "\nLAMDA:": "assistant"}
Vote = Mapping[str, str]


def unfold(rows: Rows) -> Rows:
    """Yield the dialogues of the one JSON object one by one; other rows pass."""
    for where, row in rows:
        instances = row.get("instances")
        if not isinstance(instances, list) or not instances:
            yield where, row
            continue
        for index, instance in enumerate(instances):
            yield f"{where} instances[{index}]", instance if isinstance(instance, dict) else {}


def read_dices(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Yield one group a dialogue. The table is gathered by dialogue, so its groups come when all rows are read."""
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
    return _dices_group(context, response, scores, where, {"item": str(row.get("id", where)), "answers": scores})


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
    metadata["unsafe_by_group"] = {name: _vote_shares(answers)["unsafe"] for name, answers in by_group.items()}
    context = check_text(require(row, "context", where), where, "context")
    response = check_text(require(row, "response", where), where, "response")
    return _dices_group(context, response, [vote["answer"] for vote in votes], where, metadata)


def _dices_group(
    context: str, response: str, answers: Sequence[str], where: str, metadata: dict[str, Any]
) -> PreferenceGroup:
    turns = split_turns(f"\n{context.strip()}\nB: {response}", MARKS, where, "the dialogue")
    return PreferenceGroup(
        prompt=turns[:-1],
        completions=((Message("assistant", turns[-1].content),),),
        ratings={name: (share,) for name, share in _vote_shares(answers).items()},
        group_id=metadata.pop("item"),
        metadata={**metadata, "num_raters": len(answers)},
    )


def _vote_shares(answers: Sequence[str]) -> dict[str, float]:
    """Return the share of each answer; they sum to 1."""
    counts = Counter(answers)
    return {name: counts[answer] / len(answers) for answer, name in ATTRIBUTES.items()}


DICES = (
    Entry(
        name="dices",
        summary="DICES as JUDGE-BENCH ships it: shares of 60 to 70 raters who find a chatbot's response unsafe",
        licence="CC-BY-4.0",
        paper="2306.11247",
        hub_id=None,
        read=read_dices,
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
        read=read_dices,
        columns=frozenset({"rater_id", "item_id", "context", "response", "Q_overall"}),
        homepage="https://github.com/google-research-datasets/dices-dataset",
    ),
)


def read_beavertails(rows: Rows) -> Read:
    """Return one group a run of rows with one prompt: ratings "is_safe" and one a kind of harm; no comparisons."""
    return runs(rows, _answer, partial(_beavertails_group, pairs=False))


def read_pairs(rows: Rows) -> Read:
    """Return the same groups with comparisons: the answer that more people called safe is better, equal shares tie."""
    return runs(rows, _answer, partial(_beavertails_group, pairs=True))


def _answer(row: Row, where: str) -> tuple[str, tuple[str, dict[str, float]]]:
    prompt = check_prompt(require(row, "prompt", where), where, "prompt")
    answer = check_text(require(row, "response", where), where, "response")
    labels = {"is_safe": float(check_flag(require(row, "is_safe", where), where, "is_safe"))}
    harms = check_mapping(row.get("category") or {}, where, "category")
    labels |= {f"harm/{name}": float(check_flag(value, where, f"category.{name}")) for name, value in harms.items()}
    return prompt, (answer, labels)


def _beavertails_group(
    where: str, prompt: str, parts: list[tuple[str, Mapping[str, float]]], pairs: bool
) -> PreferenceGroup:
    votes: dict[str, list[Mapping[str, float]]] = {}
    for answer, labels in parts:
        votes.setdefault(answer, []).append(labels)
    names = dict.fromkeys(name for labels in votes.values() for one in labels for name in one)
    ratings = {name: tuple(_share(labels, name) for labels in votes.values()) for name in names}
    counts: list[Any] = [len(labels) for labels in votes.values()]
    return PreferenceGroup(
        prompt=(Message("user", prompt),),
        completions=tuple((Message("assistant", answer),) for answer in votes),
        comparisons=compare(ratings["is_safe"]) if pairs else (),
        ratings=ratings,
        source="beavertails",
        group_id=where,
        metadata={"num_labels": counts},
    )


def _share(labels: list[Mapping[str, float]], name: str) -> float | None:
    known = [one[name] for one in labels if name in one]
    return sum(known) / len(known) if known else None


BEAVERTAILS_ENTRY = Entry(
    name="beavertails",
    summary="BeaverTails: answers labelled safe or harmful, as ratings; variant pairs: safe against unsafe answers",
    licence="CC-BY-NC-4.0",
    paper="2307.04657",
    hub_id="PKU-Alignment/BeaverTails",
    read=read_beavertails,
    split="330k_train",
    columns=frozenset({"prompt", "response", "category", "is_safe"}),
    variants={"pairs": read_pairs},
)


SIDES = {"better": "better_response_id", "safer": "safer_response_id"}


def read_pku_saferlhf(rows: Rows) -> Read:
    """Return one group a row, compared by which answer is better (more helpful); the safer one is in the metadata."""
    return read_each(rows, partial(_pku_saferlhf_group, label="better"))


def read_safer(rows: Rows) -> Read:
    """Return one group a row, compared by which answer is safer; the better one is in the metadata."""
    return read_each(rows, partial(_pku_saferlhf_group, label="safer"))


def _pku_saferlhf_group(row: Row, where: str, label: str) -> PreferenceGroup:
    answers = {name: require(row, name, where) for name in ("response_0", "response_1")}
    prompt, completions = ask(require(row, "prompt", where), answers, where, "prompt")
    winner = index_choice(require(row, SIDES[label], where), where, SIDES[label])
    other = {
        name: index_choice(row[column], where, column)
        for name, column in SIDES.items()
        if name != label and row.get(column) is not None
    }
    ratings = {
        "is_safe": tuple(_safe(row, where, f"is_response_{i}_safe") for i in (0, 1)),
        "severity": tuple(
            known_number(row.get(f"response_{i}_severity_level"), where, f"response_{i}_severity_level") for i in (0, 1)
        ),
    }
    harms = {f"response_{i}_harms": _harms(row.get(f"response_{i}_harm_category")) for i in (0, 1)}
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=(Comparison(winner, 1 - winner),),
        ratings={name: scores for name, scores in ratings.items() if any(s is not None for s in scores)},
        models=tuple(name_of(row.get(f"response_{i}_source")) for i in (0, 1)),
        source=f"pku-saferlhf-{label}",
        group_id=where,
        metadata={**other, **{k: v for k, v in harms.items() if v}, **kept(row, "prompt_source")},
    )


def _safe(row: Row, where: str, column: str) -> float | None:
    return None if row.get(column) is None else float(check_flag(row[column], where, column))


def _harms(categories: object) -> list[str]:
    """Name the harm categories that are marked."""
    return [str(name) for name, is_marked in categories.items() if is_marked] if isinstance(categories, dict) else []


PKU_SAFERLHF_ENTRY = Entry(
    name="pku-saferlhf",
    summary="PKU-SafeRLHF: which of two answers is better, safety as ratings; variant safer: which is safer",
    licence="CC-BY-NC-4.0",
    paper="2406.15513",
    hub_id="PKU-Alignment/PKU-SafeRLHF",
    read=read_pku_saferlhf,
    columns=frozenset({"prompt", "response_0", "response_1", "better_response_id"}),
    variants={"safer": read_safer},
)


ENTRIES = (*DICES, BEAVERTAILS_ENTRY, PKU_SAFERLHF_ENTRY)
