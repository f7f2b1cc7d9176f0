"""OpenAI's published comparisons: summaries of posts, and answers with citations.

OpenAI summarize-from-feedback (Stiennon et al. 2020, arXiv 2009.01325): judged summaries of posts and articles.

`comparisons`: which of two summaries is better. `axis`: one summary rated from 1 to 7; the ratings of one post
make a ranking by `overall`.

WebGPT comparisons (Nakano et al. 2021, arXiv 2112.09332): two answers with citations, scored against each other.

Two layouts: the hub's (`question`, `answer_0`, `score_0`, ...) and the one of DSP, where a row holds the list `text` of
whole dialogues and the list `score`. Equal scores are ties; the difference of the scores is the margin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_list, check_mapping, check_number, check_text, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each, split_shared, split_turns
from rewardsmith.data.sets.published import (
    ask,
    attempt,
    check_prompt,
    compare,
    index_choice,
    kept,
    known_number,
    mean,
    name_of,
    records,
    said,
)
from rewardsmith.errors import RowError, row_error
from rewardsmith.records import Comparison, Message, PreferenceGroup


def read_summarize_from_feedback(rows: Rows) -> Read:
    """Return one group a row of `comparisons`; `choice` is 0 or 1, the worker is the annotator."""
    return read_each(rows, _comparison)


def _comparison(row: Row, where: str) -> PreferenceGroup:
    info = check_mapping(require(row, "info", where), where, "info")
    summaries = records(require(row, "summaries", where), where, "summaries")
    if len(summaries) != 2:
        raise row_error(where, "wrong length", f"column 'summaries' holds {len(summaries)}; a comparison has two")
    texts = tuple(said(s.get("text"), where, f"summaries[{i}].text") for i, s in enumerate(summaries))
    chosen = index_choice(require(row, "choice", where), where, "choice")
    extra = row.get("extra") if isinstance(row.get("extra"), dict) else {}
    return PreferenceGroup(
        prompt=prompt_of(info, where),
        completions=texts,
        comparisons=(Comparison(chosen, 1 - chosen, annotator=name_of(row.get("worker"))),),
        models=tuple(name_of(summary.get("policy")) for summary in summaries),
        source="summarize-from-feedback",
        group_id=str(info.get("id") or where),
        metadata={**_details(info), **kept(row, "batch", "split"), **kept(extra, "confidence")},  # type: ignore[arg-type]
    )


def prompt_of(info: Row, where: str) -> str:
    """Write a post, or an article, as the text that the summary follows.

    The published summaries of posts begin with a space, those of articles do not, hence the two endings.
    """
    if info.get("post"):
        post = check_prompt(info["post"], where, "info.post")
        heads = [f"SUBREDDIT: r/{info['subreddit']}"] if info.get("subreddit") else []
        heads += [f"TITLE: {info['title']}"] if info.get("title") else []
        return "\n\n".join([*heads, f"POST: {post}", "TL;DR:"])
    return f"Article:\n{check_prompt(info.get('article') or '', where, 'info.article')}\n\nTL;DR:\n"


@dataclass
class _Post:
    """What is known of one post so far: its summaries and every rating of each."""

    where: str
    prompt: str
    details: dict[str, Any]
    policies: dict[str, str | None] = field(default_factory=dict)
    axes: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    workers: dict[str, None] = field(default_factory=dict)


def read_axis(rows: Rows) -> Read:
    """Yield one group a post of `axis`, its summaries ranked by the mean of `overall` over the workers.

    The published files do not keep the ratings of a post together, so the posts of one file set (15 thousand rows)
    are held until the last row; errors are given at once.
    """
    posts: dict[str, _Post] = {}
    for where, row in rows:
        try:
            _add_rating(posts, row, where)
        except RowError as error:
            yield error
    for key, post in posts.items():
        yield attempt(partial(_ranking, key, post), post.where)


def _add_rating(posts: dict[str, _Post], row: Row, where: str) -> None:
    info = check_mapping(require(row, "info", where), where, "info")
    summary = check_mapping(require(row, "summary", where), where, "summary")
    text = said(summary.get("text"), where, "summary.text")
    scores = {}
    for name, value in check_mapping(require(summary, "axes", where), where, "summary.axes").items():
        column = f"summary.axes.{name}"
        scores[name] = float(value) if isinstance(value, bool) else known_number(value, where, column)
    check_number(require(scores, "overall", where), where, "summary.axes.overall")
    prompt = prompt_of(info, where)
    post = posts.setdefault(str(info.get("id") or prompt), _Post(where, prompt, _details(info) | kept(row, "split")))
    post.policies.setdefault(text, name_of(summary.get("policy")))
    if name_of(row.get("worker")):
        post.workers[str(row["worker"])] = None
    for name, score in scores.items():
        post.axes.setdefault(text, {}).setdefault(name, []).append(score)


def _ranking(key: str, post: _Post) -> PreferenceGroup:
    texts = tuple(post.policies)
    names = dict.fromkeys(name for text in texts for name in post.axes[text])
    ratings = {name: tuple(mean(post.axes[text].get(name, [])) for text in texts) for name in names}
    return PreferenceGroup(
        prompt=post.prompt,
        completions=texts,
        comparisons=compare(ratings["overall"]),
        ratings=ratings,
        models=tuple(post.policies.values()),
        source="summarize-from-feedback-axis",
        group_id=key,
        metadata={
            **post.details,
            "num_ratings": [len(post.axes[text]["overall"]) for text in texts],
            "workers": list(post.workers),
        },
    )


def _details(info: Row) -> dict[str, Any]:
    return kept(info, "subreddit", "site", "title")


LICENCE = "modified MIT (feedback); Reddit posts of TL;DR CC-BY-4.0"
SUMMARIZE_FROM_FEEDBACK_ENTRIES = (
    Entry(
        name="summarize-from-feedback",
        summary="OpenAI summaries of Reddit posts and news: which of two is better, with the worker",
        licence=LICENCE,
        paper="2009.01325",
        hub_id="openai/summarize_from_feedback",
        read=read_summarize_from_feedback,
        subset="comparisons",
        columns=frozenset({"info", "summaries", "choice"}),
    ),
    Entry(
        name="summarize-from-feedback-axis",
        summary="OpenAI summaries rated 1 to 7 on axes, ranked by overall",
        licence=LICENCE,
        paper="2009.01325",
        hub_id="openai/summarize_from_feedback",
        read=read_axis,
        subset="axis",
        split="test",
        columns=frozenset({"info", "summary", "worker"}),
    ),
)


# "[2]", "[1, 3]", "[2][3]" with the space before; a bracket with words is no citation.
CITATION = re.compile(r"[ \t]*\[\d+(?:\s*,\s*\d+)*\]")
MARKS = {"## Human:": "user", "## Assistant:": "assistant"}


def read_webgpt(rows: Rows) -> Read:
    """Return one group a row; citations such as [1] stay in the answers."""
    return read_each(rows, partial(_group, citations=True))


def read_stripped(rows: Rows) -> Read:
    """Return one group a row, the citations taken out of the answers."""
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
WEBGPT_ENTRIES = (
    Entry(
        name="webgpt",
        summary="WebGPT comparisons: two long answers with citations, scored",
        licence="none stated",
        paper="2112.09332",
        hub_id="openai/webgpt_comparisons",
        read=read_webgpt,
        columns=frozenset({"question", "answer_0", "answer_1", "score_0", "score_1"}),
        variants=VARIANTS,
    ),
    Entry(
        name="webgpt-dsp",
        summary="WebGPT comparisons as DSP ships them: lists of dialogues and of scores",
        licence="CC-BY-NC-4.0",
        paper="2112.09332",
        hub_id=None,
        read=read_webgpt,
        columns=frozenset({"text", "score"}),
        fits=lambda row: isinstance(row["text"], list),
        homepage="https://github.com/Linear95/DSP",
        variants=VARIANTS,
    ),
)


ENTRIES = (
    *SUMMARIZE_FROM_FEEDBACK_ENTRIES,
    *WEBGPT_ENTRIES,
)
