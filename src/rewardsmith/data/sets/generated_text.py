"""Outputs of summarisers, dialogue systems and translators as people judged them.

SummEval (Fabbri et al. 2021, arXiv 2007.12626): sixteen summaries of one article, rated by experts.

Four attributes from 1 to 5: coherence, consistency, fluency, relevance. Comparisons follow the mean of the four, or one
of them when it is named, as in "summeval:coherence".

UniEval's meta-evaluation files (Zhong et al. 2022, arXiv 2210.07197), such as topical_chat: rated system outputs.

One row an output; consecutive rows with equal source and context are one group. Comparisons follow the score
`overall` where there is one, or the mean of all, or the attribute that is named, as in "topical-chat:coherence".

Benchmarking LLMs for news summarization (Zhang et al. 2023, arXiv 2301.13848): a writer's summary or a model's.

Every row is the judgement of one evaluator, so merging by article gives a graph in which the same pair is judged by
several; "llm-summarization:informative" takes the second question, which summary informs better.

WMT metrics task, daRR (Ma et al. 2019): better and worse translations of one source.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_mapping, check_text, require
from rewardsmith.data.sets.entry import (
    MEAN,
    Entry,
    RatedAnswer,
    Row,
    Rows,
    check_scores,
    compare_by,
    file_stem,
    rating_columns,
    read_each,
)
from rewardsmith.data.sets.published import check_prompt, runs
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import Comparison, PreferenceGroup

SUMMEVAL_ATTRIBUTES = ("coherence", "consistency", "fluency", "relevance")


def read_summeval(rows: Rows, by: str = MEAN) -> Iterator[PreferenceGroup | RowError]:
    """Return one group an article, its summaries compared by one attribute or by the mean of all."""
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
    scores = check_scores({name: item.get(name) for name in SUMMEVAL_ATTRIBUTES}, where, "summaries")
    return RatedAnswer(text, str(item["system"]) if item.get("system") else None, scores)


SUMMEVAL_ENTRY = Entry(
    name="summeval",
    summary="SummEval: sixteen summaries of an article, rated by experts on four attributes",
    licence="research",
    paper="2007.12626",
    hub_id=None,
    read=read_summeval,
    columns=frozenset({"source", "summaries"}),
    homepage="https://github.com/Yale-LILY/SummEval",
    variants={name: partial(read_summeval, by=name) for name in SUMMEVAL_ATTRIBUTES},
)


UNIEVAL_ATTRIBUTES = ("understandability", "naturalness", "coherence", "engagingness", "groundedness", "overall")


def read_unieval(rows: Rows, by: str | None = None) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a source; memory holds the outputs of one source."""
    return runs(rows, _read_output, partial(_build, by=by))


def _read_output(row: Row, where: str) -> tuple[tuple[str, str], RatedAnswer]:
    """Return what the outputs of one source share, and one output."""
    source = check_prompt(require(row, "source", where), where, "source")
    context = check_text(row.get("context") or "", where, "context", empty=True)
    text = check_text(require(row, "system_output", where), where, "system_output", empty=True)
    model = None if row.get("system_id") is None else str(row["system_id"])
    return (source, context), RatedAnswer(text, model, check_scores(require(row, "scores", where), where, "scores"))


def _build(where: str, key: Any, answers: list[RatedAnswer], by: str | None) -> PreferenceGroup:
    source, context = key
    attribute = by or ("overall" if all("overall" in answer.scores for answer in answers) else MEAN)
    knowledge = f"Knowledge: {context.strip()}\n\n" if context.strip() else ""
    return PreferenceGroup(
        prompt=f"{knowledge}Conversation:\n{source.strip()}\n",
        completions=tuple(answer.text for answer in answers),
        comparisons=compare_by(answers, attribute, where),
        ratings=rating_columns(answers),
        models=tuple(answer.model for answer in answers),
        group_id=where,
    )


UNIEVAL_ENTRY = Entry(
    name="topical-chat",
    summary="Topical-Chat of UniEval: six responses to a dialogue, rated on five attributes and overall",
    licence="MIT",
    paper="2210.07197",
    hub_id=None,
    read=read_unieval,
    columns=frozenset({"source", "system_id", "system_output", "scores"}),
    homepage="https://github.com/maszhongming/UniEval",
    variants={name: partial(read_unieval, by=name) for name in UNIEVAL_ATTRIBUTES},
)


TIE = "Equally Good"
MODEL = "text-davinci-002"
QUESTIONS = ("overall", "informative")


def read_llm_summarization(rows: Rows, question: str = "overall") -> Iterator[PreferenceGroup | RowError]:
    """Return one group a judgement; `question` is "overall" or "informative"."""
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


LLM_SUMMARIZATION_ENTRY = Entry(
    name="llm-summarization",
    summary="News summaries by writers and by text-davinci-002, several evaluators an article, ties",
    licence="none stated",
    paper="2301.13848",
    hub_id=None,
    read=read_llm_summarization,
    columns=frozenset({"article_text", "writer_summary", f"{MODEL}_summary", "overall_writer_better"}),
    homepage="https://github.com/Tiiiger/benchmark_llm_summarization",
    files=("pairwise_evaluation_results*",),
    variants={name: partial(read_llm_summarization, question=name) for name in QUESTIONS},
)


LANGUAGES = {"cs": "Czech", "de": "German", "en": "English", "fi": "Finnish", "gu": "Gujarati", "kk": "Kazakh"}
LANGUAGES |= {"lt": "Lithuanian", "ru": "Russian", "zh": "Chinese", "fr": "French"}


def read_wmt_darr(rows: Rows) -> Iterator[PreferenceGroup | RowError]:
    """Return one group a row; merging by source makes the graph of all translations."""
    return read_each(rows, _read_pair)


def _read_pair(row: Row, where: str) -> PreferenceGroup:
    source = check_prompt(require(row, "source", where), where, "source")
    better, worse = (check_text(require(row, name, where), where, name) for name in ("better", "worse"))
    pair = file_stem(where)
    language = LANGUAGES.get(pair.partition("-")[2], "English")
    metadata = {"language_pair": pair} if pair else {}
    if row.get("reference") is not None:
        metadata["reference"] = row["reference"]
    systems = tuple(None if row.get(name) is None else str(row[name]) for name in ("better_system", "worse_system"))
    return PreferenceGroup(
        prompt=f"Translate into {language}: {source}\n",
        completions=(better, worse),
        comparisons=(Comparison(0, 1),),
        models=systems if any(systems) else (),
        group_id=where,
        metadata=metadata,
    )


WMT_DARR_ENTRY = Entry(
    name="wmt-darr",
    summary="WMT metrics task, relative ranks from direct assessment: many pairs of translations a source",
    licence="research",
    paper="https://aclanthology.org/W19-5302",
    hub_id=None,
    read=read_wmt_darr,
    columns=frozenset({"source", "better", "worse"}),
    homepage="https://statmt.org/wmt19/metrics-task.html",
)


ENTRIES = (
    SUMMEVAL_ENTRY,
    UNIEVAL_ENTRY,
    LLM_SUMMARIZATION_ENTRY,
    WMT_DARR_ENTRY,
)
