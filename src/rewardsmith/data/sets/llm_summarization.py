"""Benchmarking LLMs for news summarization (Zhang et al. 2023, arXiv 2301.13848): a writer's summary or a model's.

Every row is the judgement of one evaluator, so merging by article gives a graph in which the same pair is judged by
several; "llm-summarization:informative" takes the second question, which summary informs better.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from rewardsmith.data.formats.cells import check_text, require
from rewardsmith.data.sets.entry import Entry, Row, Rows, read_each
from rewardsmith.data.sets.published import check_prompt
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Comparison, PreferenceGroup

TIE = "Equally Good"
MODEL = "text-davinci-002"
QUESTIONS = ("overall", "informative")


def read(rows: Rows, question: str = "overall") -> Iterator[PreferenceGroup | RowError]:
    """Give one group a judgement; `question` is "overall" or "informative"."""
    return read_each(rows, partial(_read_judgement, question=question))


def _read_judgement(row: Row, where: str, question: str) -> PreferenceGroup:
    verdicts = {name: _verdict(row, f"{name}_writer_better", where) for name in QUESTIONS}
    names = ("writer_summary", f"{MODEL}_summary")
    annotator = str(require(row, "evaluator_id", where))
    verdict = verdicts[question]
    better, worse = (1, 0) if verdict == "model" else (0, 1)
    outcome = "tie" if verdict == "tie" else "better"
    article = check_prompt(require(row, "article_text", where), where, "article_text")
    return PreferenceGroup(
        prompt=f"Article: {article}\n\nSummary: ",
        completions=tuple(check_text(require(row, name, where), where, name, empty=True) for name in names),
        comparisons=(Comparison(better, worse, outcome, annotator=annotator),),  # type: ignore[arg-type]
        models=(f"writer {row.get('writer_id') or ''}".strip(), MODEL),
        group_id=str(row.get("article_id", where)),
        metadata={name: verdict for name, verdict in verdicts.items() if name != question},
    )


def _verdict(row: Row, column: str, where: str) -> str:
    value = require(row, column, where)
    if str(value).lower() in ("true", "false"):
        return "writer" if str(value).lower() == "true" else "model"
    if value != TIE:
        raise row_error(where, "unknown label", f"column {column!r} is {describe(value)}; accepted: true, false, {TIE}")
    return "tie"


ENTRY = Entry(
    name="llm-summarization",
    summary="News summaries by writers and by text-davinci-002, several evaluators an article, ties",
    licence="none stated",
    paper="2301.13848",
    hub_id=None,
    read=read,
    columns=frozenset({"article_text", "writer_summary", f"{MODEL}_summary", "overall_writer_better"}),
    homepage="https://github.com/Tiiiger/benchmark_llm_summarization",
    files=("pairwise_evaluation_results*",),
    variants={name: partial(read, question=name) for name in QUESTIONS},
)
