"""SummEval (Fabbri et al. 2021, arXiv 2007.12626): sixteen summaries of one article, rated by experts.

Four attributes from 1 to 5: coherence, consistency, fluency, relevance. Comparisons follow the mean of the four, or one
of them when it is named, as in "summeval:coherence".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from rewardsmith.data.formats.cells import check_list, check_mapping, check_text, require
from rewardsmith.data.sets.entry import Entry, Row, Rows, read_each
from rewardsmith.data.sets.layouts import MEAN, RatedAnswer, check_scores, compare_by, rating_columns
from rewardsmith.data.sets.published import check_prompt
from rewardsmith.errors import RowError
from rewardsmith.records import PreferenceGroup

ATTRIBUTES = ("coherence", "consistency", "fluency", "relevance")


def read(rows: Rows, by: str = MEAN) -> Iterator[PreferenceGroup | RowError]:
    """Give one group an article, its summaries compared by one attribute or by the mean of all."""
    return read_each(rows, partial(_read_article, by=by))


def _read_article(row: Row, where: str, by: str) -> PreferenceGroup:
    answers = [
        _read_summary(check_mapping(item, where, f"summaries[{index}]"), where)
        for index, item in enumerate(check_list(require(row, "summaries", where), where, "summaries"))
    ]
    source = check_prompt(require(row, "source", where), where, "source")
    return PreferenceGroup(
        prompt=f"Article: {source}\n\nSummary: ",
        completions=tuple(answer.text for answer in answers),
        comparisons=compare_by(answers, by, where),
        ratings=rating_columns(answers),
        models=tuple(answer.model for answer in answers),
        group_id=str(row.get("id", where)),
    )


def _read_summary(item: Row, where: str) -> RatedAnswer:
    text = check_text(require(item, "summary", where), where, "summary", empty=True)
    scores = check_scores({name: item.get(name) for name in ATTRIBUTES}, where, "summaries")
    return RatedAnswer(text, str(item["system"]) if item.get("system") else None, scores)


ENTRY = Entry(
    name="summeval",
    summary="SummEval: sixteen summaries of an article, rated by experts on four attributes",
    licence="research",
    paper="2007.12626",
    hub_id=None,
    read=read,
    columns=frozenset({"source", "summaries"}),
    homepage="https://github.com/Yale-LILY/SummEval",
    variants={name: partial(read, by=name) for name in ATTRIBUTES},
)
