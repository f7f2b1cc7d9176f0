"""OpenAI summarize-from-feedback (Stiennon et al. 2020, arXiv 2009.01325): judged summaries of posts and articles.

`comparisons`: which of two summaries is better. `axis`: one summary rated from 1 to 7; the ratings of one post
make a ranking by `overall`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_mapping, check_number, require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import (
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
from rewardsmith.records import Comparison, PreferenceGroup


def read(rows: Rows) -> Read:
    """Give one group a row of `comparisons`; `choice` is 0 or 1, the worker is the annotator."""
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
    """Give one group a post of `axis`, its summaries ranked by the mean of `overall` over the workers.

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
ENTRIES = (
    Entry(
        name="summarize-from-feedback",
        summary="OpenAI summaries of Reddit posts and news: which of two is better, with the worker",
        licence=LICENCE,
        paper="2009.01325",
        hub_id="openai/summarize_from_feedback",
        read=read,
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
