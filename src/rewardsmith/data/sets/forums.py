"""Answers on web forums, preferred by the votes of their readers.

Stanford Human Preferences (Ethayarajh et al. 2022, arXiv 2110.08420): two comments on a post, voted on.

`labels` is 1 when comment A is preferred, 0 when B is. Votes are no interval scale across posts, so they are kept as
ratings and `score_ratio` as metadata; there is no margin.

StackExchange preferences (after Askell et al. 2021, arXiv 2112.00861): answers to a question, scored by votes.

`pm_score` is log2(1 + votes) rounded, plus 1 for the accepted answer, -1 for negative votes. Equal scores are ties, the
difference is the margin.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser

from rewardsmith.data.formats.cells import check_flag, check_number, check_text, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import ask, compare, index_choice, kept, known_number, name_of, records
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison, PreferenceGroup


def read_shp(rows: Rows) -> Read:
    """Return one group a row; pairs of one post share the prompt, so that merging makes one graph of them."""
    return read_each(rows, _shp_group)


def _shp_group(row: Row, where: str) -> PreferenceGroup:
    answers = {name: require(row, name, where) for name in ("human_ref_A", "human_ref_B")}
    prompt, completions = ask(require(row, "history", where), answers, where, "history")
    first_wins = index_choice(require(row, "labels", where), where, "labels") == 1
    better, worse = (0, 1) if first_wins else (1, 0)
    votes = tuple(known_number(row.get(name), where, name) for name in ("score_A", "score_B"))
    high, low = votes[better], votes[worse]
    if high is not None and low is not None and high < low:
        raise row_error(
            where,
            "contradictory label",
            f"labels prefers {'AB'[better]}, but score_A is {votes[0]:g} and score_B {votes[1]:g}; remove the row",
        )
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=(Comparison(better, worse),),
        ratings={"votes": votes} if any(v is not None for v in votes) else {},
        source="shp",
        group_id=str(row.get("post_id") or where),
        metadata=kept(row, "domain", "score_ratio", "upvote_ratio", "seconds_difference"),
    )


SHP_ENTRIES = (
    Entry(
        name="shp",
        summary="Stanford Human Preferences: two Reddit comments on a post, by votes",
        licence="none stated (scraped under the Reddit API terms)",
        paper="2110.08420",
        hub_id="stanfordnlp/SHP",
        read=read_shp,
        columns=frozenset({"history", "human_ref_A", "human_ref_B", "labels"}),
    ),
    Entry(
        name="shp-2",
        summary="Stanford Human Preferences 2: Reddit and StackExchange, the layout of SHP",
        licence="none stated",
        paper="2110.08420",
        hub_id="stanfordnlp/SHP-2",
        read=read_shp,
    ),
)


BLOCKS = ("p", "br", "li", "pre", "div", "tr", "blockquote", "ul", "ol", "hr", "h1", "h2", "h3", "h4", "h5", "h6")


class _Text(HTMLParser):
    """Collect the text of HTML; blocks end lines."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


def html_to_text(html: str) -> str:
    """Return the text of HTML with its paragraphs; code keeps its lines."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    return re.sub(r"\n{3,}", "\n\n", "".join(parser.pieces)).strip()


def read_stack_exchange(rows: Rows) -> Read:
    """Return one group a question, all its answers compared by `pm_score`; the HTML stays."""
    return read_each(rows, partial(_stack_exchange_group, text_of=str))


def read_text(rows: Rows) -> Read:
    """Return one group a question with the HTML turned into text."""
    return read_each(rows, partial(_stack_exchange_group, text_of=html_to_text))


def _stack_exchange_group(row: Row, where: str, text_of: Callable[[str], str]) -> PreferenceGroup:
    answers = records(require(row, "answers", where), where, "answers")
    if len(answers) < 2:
        raise row_error(where, "too few completions", f"column 'answers' holds {len(answers)}; two can be compared")
    texts = {
        f"answers[{i}].text": _text(a.get("text"), where, f"answers[{i}].text", text_of) for i, a in enumerate(answers)
    }
    question = text_of(check_text(require(row, "question", where), where, "question", empty=True))
    prompt, completions = ask(question, texts, where, "question")
    scores = tuple(
        check_number(require(answer, "pm_score", f"{where} answers[{i}]"), where, f"answers[{i}].pm_score")
        for i, answer in enumerate(answers)
    )
    accepted = tuple(_flag(answer.get("selected"), where, f"answers[{i}].selected") for i, answer in enumerate(answers))
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=compare(scores),
        ratings={"pm_score": scores, "selected": accepted},
        models=tuple(name_of(answer.get("author")) for answer in answers),
        source="stack-exchange",
        group_id=str(row.get("qid") or where),
        metadata={**kept(row, "date", "metadata"), "answer_ids": [answer.get("answer_id") for answer in answers]},
    )


def _text(html: object, where: str, column: str, text_of: Callable[[str], str]) -> str | None:
    return None if html is None else text_of(check_text(html, where, column))


def _flag(value: object, where: str, column: str) -> float | None:
    return None if value is None else float(check_flag(value, where, column))


def read_paired(rows: Rows) -> Read:
    """Return one group a pair: `response_j` was voted above `response_k`."""
    return read_each(rows, _pair)


def _pair(row: Row, where: str) -> PreferenceGroup:
    answers = {name: require(row, name, where) for name in ("response_j", "response_k")}
    prompt, completions = ask(require(row, "question", where), answers, where, "question")
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        comparisons=(Comparison(0, 1),),
        source="stack-exchange-paired",
        group_id=str(row.get("qid") or where),
        metadata=kept(row, "date", "metadata"),
    )


STACK_EXCHANGE_ENTRIES = (
    Entry(
        name="stack-exchange",
        summary="StackExchange: all answers to a question, scored by votes; variant text: HTML turned into text",
        licence="CC-BY-SA-4.0 (name authors and links)",
        paper="2112.00861",
        hub_id="HuggingFaceH4/stack-exchange-preferences",
        read=read_stack_exchange,
        columns=frozenset({"qid", "question", "answers"}),
        variants={"text": read_text},
    ),
    Entry(
        name="stack-exchange-paired",
        summary="StackExchange in pairs, Markdown, at most ten pairs a question",
        licence="none stated (made from CC-BY-SA-4.0 text)",
        paper="2112.00861",
        hub_id="lvwerra/stack-exchange-paired",
        read=read_paired,
        columns=frozenset({"question", "response_j", "response_k"}),
    ),
)


ENTRIES = (
    *SHP_ENTRIES,
    *STACK_EXCHANGE_ENTRIES,
)
