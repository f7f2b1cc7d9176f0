"""Stanford Human Preferences (Ethayarajh et al. 2022, arXiv 2110.08420): two comments on a post, voted on.

`labels` is 1 when comment A is preferred, 0 when B is. Votes are no interval scale across posts, so they are kept as
ratings and `score_ratio` as metadata; there is no margin.
"""

from __future__ import annotations

from rewardsmith.data.formats.cells import require
from rewardsmith.data.sets.entry import Entry, Read, Row, Rows, read_each
from rewardsmith.data.sets.published import ask, index_choice, kept, known_number
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison, PreferenceGroup


def read(rows: Rows) -> Read:
    """Give one group a row; pairs of one post share the prompt, so that merging makes one graph of them."""
    return read_each(rows, _group)


def _group(row: Row, where: str) -> PreferenceGroup:
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


ENTRIES = (
    Entry(
        name="shp",
        summary="Stanford Human Preferences: two Reddit comments on a post, by votes",
        licence="none stated (scraped under the Reddit API terms)",
        paper="2110.08420",
        hub_id="stanfordnlp/SHP",
        read=read,
        columns=frozenset({"history", "human_ref_A", "human_ref_B", "labels"}),
    ),
    Entry(
        name="shp-2",
        summary="Stanford Human Preferences 2: Reddit and StackExchange, the layout of SHP",
        licence="none stated",
        paper="2110.08420",
        hub_id="stanfordnlp/SHP-2",
        read=read,
    ),
)
