"""WebGPT comparisons (Nakano et al. 2021, arXiv 2112.09332): two answers with citations, scored against each other.

Two layouts: the hub's (`question`, `answer_0`, `score_0`, ...) and the one of DSP, where a row holds the list `text` of
whole dialogues and the list `score`. Equal scores are ties; the difference of the scores is the margin.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_number, check_text, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.layouts import split_shared, split_turns
from rewardsmith.data.sets.published import ask, compare, kept
from rewardsmith.errors import row_error
from rewardsmith.records import Message, PreferenceGroup

# "[2]", "[1, 3]", "[2][3]" with the space before; a bracket with words is no citation.
CITATION = re.compile(r"[ \t]*\[\d+(?:\s*,\s*\d+)*\]")
MARKS = {"## Human:": "user", "## Assistant:": "assistant"}


def read(rows: Rows) -> Read:
    """Give one group a row; citations such as [1] stay in the answers."""
    return read_each(rows, partial(_group, citations=True))


def read_stripped(rows: Rows) -> Read:
    """Give one group a row, the citations taken out of the answers."""
    return read_each(rows, partial(_group, citations=False))


def strip_citations(text: str) -> str:
    """Take out citations such as "[1]" and "[2, 3]" and the space before them."""
    return CITATION.sub("", text).strip()


def _group(row: Row, where: str, citations: bool) -> PreferenceGroup:
    if "text" in row and "answer_0" not in row:
        return _dialogue_group(row, where, citations)
    question = require(row, "question", where)
    names = ("answer_0", "answer_1")
    answers = {name: _answer(require(row, name, where), where, name, citations) for name in names}
    details = kept(row, "quotes_0", "quotes_1")
    if isinstance(question, dict):
        details |= kept(question, "dataset", "id")
        question = question.get("full_text")
    prompt, completions = ask(question, answers, where, "question")
    scores = [check_number(require(row, name, where), where, name) for name in ("score_0", "score_1")]
    return _scored(where, prompt, completions, scores, details)


def _dialogue_group(row: Row, where: str, citations: bool) -> PreferenceGroup:
    """Read the layout of DSP: `text` holds dialogues "## Human: ... ## Assistant: ...", `score` one number each."""
    texts = check_list(require(row, "text", where), where, "text")
    scores = check_list(require(row, "score", where), where, "score")
    if len(texts) < 2 or len(scores) != len(texts):
        message = f"'text' holds {len(texts)} dialogues and 'score' {len(scores)} numbers; give two or more of each"
        raise row_error(where, "wrong length", message)
    sides = []
    for index, text in enumerate(texts):
        column = f"text[{index}]"
        turns = split_turns(text, MARKS, where, column)
        last = Message("assistant", _answer(turns[-1].content, where, column, citations))
        sides.append((*turns[:-1], last))
    numbers = [check_number(score, where, f"score[{index}]") for index, score in enumerate(scores)]
    prompt, completions = split_shared(sides)
    return _scored(where, prompt, completions, numbers, {})


def _scored(where: str, prompt: Any, completions: Any, scores: list[float], details: dict[str, Any]) -> PreferenceGroup:
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=compare(scores),
        ratings={"score": tuple(scores)},
        source="webgpt",
        group_id=str(details.get("id") or where),
        metadata=details,
    )


def _answer(text: object, where: str, column: str, citations: bool) -> str:
    text = check_text(text, where, column)
    return text if citations else check_text(strip_citations(text), where, column)


VARIANTS = {"stripped": read_stripped}
ENTRIES = (
    Entry(
        name="webgpt",
        summary="WebGPT comparisons: two long answers with citations, scored",
        licence="none stated",
        paper="2112.09332",
        hub_id="openai/webgpt_comparisons",
        read=read,
        columns=frozenset({"question", "answer_0", "answer_1", "score_0", "score_1"}),
        variants=VARIANTS,
    ),
    Entry(
        name="webgpt-dsp",
        summary="WebGPT comparisons as DSP ships them: lists of dialogues and of scores",
        licence="CC-BY-NC-4.0",
        paper="2112.09332",
        hub_id=None,
        read=read,
        columns=frozenset({"text", "score"}),
        fits=lambda row: isinstance(row["text"], list),
        homepage="https://github.com/Linear95/DSP",
        variants=VARIANTS,
    ),
)
