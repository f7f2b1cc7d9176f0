"""Small sets made to test judges: which output follows, several annotators, planted biases, best of n.

LLMBar (Zeng et al. 2023, arXiv 2310.07641), its natural, adversarial and processed sets: which output follows.

PandaLM test set (Wang et al. 2023, arXiv 2306.05087): two answers to an instruction, judged by three annotators.

Every annotator gives one comparison, so agreement can be computed; `metadata["majority"]` is what two of three say
(0 tie, 1 first, 2 second). Empty answers were judged too and stay. Answers that the JSON file holds as booleans are no
text any more and their rows are left out.

EvalBiasBench (Park et al. 2024, arXiv 2407.06551): pairs built to lure a judge by one of six biases.

Published as one object that maps each bias to its list of pairs.

RMB (Zhou et al. 2024, arXiv 2410.09893): pairs, and best-of-n lists whose best answer beats every other.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_mapping, check_text, require
from rewardsmith.data.formats.trainers import dialogue_of
from rewardsmith.data.sets.entry import Entry, Row, Rows, file_stem, read_each
from rewardsmith.data.sets.published import check_prompt, check_turns, conversation, labelled_pair
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Comparison, Message, PreferenceGroup


def read_llmbar(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a row; `label` is 1 or 2, the better output."""
    return read_each(rows, _llmbar_read_pair)


def _llmbar_read_pair(row: Row, where: str) -> PreferenceGroup:
    folder, slash, _ = where.rpartition("/")
    return labelled_pair(row, where, "input", ("output_1", "output_2"), {"subset": folder} if slash else {})


LLMBAR_ENTRY = Entry(
    name="llmbar",
    summary="LLMBar: which of two outputs follows the instruction, natural and processed sets",
    licence="MIT",
    paper="2310.07641",
    hub_id=None,
    read=read_llmbar,
    columns=frozenset({"input", "output_1", "output_2", "label"}),
    homepage="https://github.com/princeton-nlp/LLMBar",
    # The results of the authors' evaluators lie beside the data and repeat its rows.
    files=("dataset*",),
)


ANNOTATORS = ("annotator1", "annotator2", "annotator3")
ANSWERS = ("response1", "response2")


def read_pandalm(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a row, with one comparison an annotator."""
    return read_each(rows, _pandalm_read_row)


def _pandalm_read_row(row: Row, where: str) -> PreferenceGroup:
    answers = [_answer(row, name, where) for name in ANSWERS]
    votes = [_vote(row, name, where) for name in ANNOTATORS]
    asked = [check_text(row.get(name) or "", where, name, empty=True) for name in ("instruction", "input")]
    prompt, completions = dialogue_of(
        check_prompt("\n\n".join(filter(str.strip, asked)), where, "instruction"), answers
    )
    winner, count = Counter(votes).most_common(1)[0]
    first, mark, second = str(row.get("cmp_key") or "").partition("_")
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=tuple(_comparison(vote, name) for vote, name in zip(votes, ANNOTATORS, strict=True)),
        models=(first, second) if mark else (),
        group_id=str(row.get("idx", where)),
        metadata={"majority": winner if count > 1 else None, "motivation_app": row.get("motivation_app")},
    )


def _answer(row: Row, column: str, where: str) -> str:
    value = require(row, column, where)
    if isinstance(value, bool):
        raise row_error(where, "boolean answer", f"column {column!r} is the JSON boolean {value}, not text")
    return check_text(value, where, column, empty=True)


def _vote(row: Row, column: str, where: str) -> int:
    vote = require(row, column, where)
    if isinstance(vote, bool) or vote not in (0, 1, 2):
        raise row_error(where, "unknown label", f"column {column!r} is {describe(vote)}; accepted: 0 (tie), 1, 2")
    return int(vote)


def _comparison(vote: int, annotator: str) -> Comparison:
    if vote == 0:
        return Comparison(0, 1, "tie", annotator=annotator)
    return Comparison(vote - 1, 2 - vote, annotator=annotator)


PANDALM_ENTRY = Entry(
    name="pandalm",
    summary="PandaLM test set: two answers to an instruction, three annotators each, ties",
    licence="Apache-2.0",
    paper="2306.05087",
    hub_id=None,
    read=read_pandalm,
    columns=frozenset({"instruction", *ANSWERS, *ANNOTATORS}),
    homepage="https://github.com/WeOpenML/PandaLM",
)


def unfold(rows: Rows) -> Rows:
    """Yield the pairs of every bias one by one; rows that are pairs already pass."""
    for where, row in rows:
        if "response1" in row or not any(isinstance(pairs, list) for pairs in row.values()):
            yield where, row
            continue
        for bias, pairs in row.items():
            for index, pair in enumerate(pairs if isinstance(pairs, list) else [pairs]):
                yield f"{where} {bias}[{index}]", pair if isinstance(pair, dict) else {}


def read_evalbiasbench(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a pair; `label` is 1 or 2, the good response, and the bias is the subset."""
    return read_each(rows, _evalbiasbench_read_pair)


def _evalbiasbench_read_pair(row: Row, where: str) -> PreferenceGroup:
    metadata = {"subset": row["bias"]} if row.get("bias") else {}
    return labelled_pair(row, where, "instruction", ("response1", "response2"), metadata)


EVALBIASBENCH_ENTRY = Entry(
    name="evalbiasbench",
    summary="EvalBiasBench: pairs built to lure a judge by length, concreteness and four other biases",
    licence="BSD-3-Clause",
    paper="2407.06551",
    hub_id=None,
    read=read_evalbiasbench,
    columns=frozenset({"length bias", "concreteness", "empty reference"}),
    homepage="https://github.com/ncsoft/offsetbias",
    labels="constructed",
    unfold=unfold,
)


def read_rmb(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a row, of the pairwise set or of the best-of-n set; fields may be dictionaries in text form."""
    return read_each(rows, _rmb_read_row)


def _rmb_read_row(row: Row, where: str) -> PreferenceGroup:
    if "bon_best" in row:
        losers = check_list(_unwrap(require(row, "loser_list", where), where), where, "loser_list")
        sides = [row["bon_best"], *losers]
    else:
        sides = [require(row, "chosen", where), require(row, "reject", where)]
    answers = [check_mapping(_unwrap(side, where), where, "answer") for side in sides]
    asked = conversation(_unwrap(require(row, "conversation_input", where), where), where, "conversation_input")
    prompt = check_turns(asked, where, "conversation_input", last="user")
    identity = row.get("pair_uid") or row.get("bon_uid")
    return PreferenceGroup(
        prompt=prompt,
        completions=tuple(
            (Message("assistant", check_text(require(a, "answer", where), where, "answer", empty=True)),)
            for a in answers
        ),
        comparisons=tuple(Comparison(0, loser) for loser in range(1, len(answers))),
        models=tuple(str(a["llm_name"]) if a.get("llm_name") else None for a in answers),
        group_id=str(identity or where),
        metadata=_metadata(row, where),
    )


def _metadata(row: Row, where: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"subset": file_stem(where)} if file_stem(where) else {}
    return metadata | ({"category": row["category_path"]} if row.get("category_path") else {})


def _unwrap(value: object, where: str) -> Any:
    """Read a dictionary or list that was written as text in Python's form."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        message = f"a field is neither an object nor one in text form: {describe(value)}"
        raise row_error(where, "broken field", message) from error


RMB_ENTRY = Entry(
    name="rmb",
    summary="RMB: pairs and best-of-n lists of long chat answers",
    licence="none stated",
    paper="2410.09893",
    hub_id=None,
    read=read_rmb,
    columns=frozenset({"conversation_input", "category_path"}),
    homepage="https://github.com/Zhou-Zoey/RMB-Reward-Model-Benchmark",
    labels="AI",
)


ENTRIES = (
    LLMBAR_ENTRY,
    PANDALM_ENTRY,
    EVALBIASBENCH_ENTRY,
    RMB_ENTRY,
)
