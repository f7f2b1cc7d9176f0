"""UniEval's meta-evaluation files (Zhong et al. 2022, arXiv 2210.07197), such as topical_chat: rated system outputs.

One row an output; consecutive rows with equal source and context are one group. Comparisons follow the score
`overall` where there is one, or the mean of all, or the attribute that is named, as in "topical-chat:coherence".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from rewardsmith.data.formats.cells import check_text, require
from rewardsmith.data.sets.entry import Entry, Row, Rows
from rewardsmith.data.sets.layouts import MEAN, RatedAnswer, check_scores, compare_by, rating_columns
from rewardsmith.data.sets.published import check_prompt, runs
from rewardsmith.errors import RowError
from rewardsmith.records import PreferenceGroup

ATTRIBUTES = ("understandability", "naturalness", "coherence", "engagingness", "groundedness", "overall")


def read(rows: Rows, by: str | None = None) -> Iterator[PreferenceGroup | RowError]:
    """Give one group a source; memory holds the outputs of one source."""
    return runs(rows, _read_output, partial(_build, by=by))


def _read_output(row: Row, where: str) -> tuple[tuple[str, str], RatedAnswer]:
    """Give what the outputs of one source share, and one output."""
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


ENTRY = Entry(
    name="topical-chat",
    summary="Topical-Chat of UniEval: six responses to a dialogue, rated on five attributes and overall",
    licence="MIT",
    paper="2210.07197",
    hub_id=None,
    read=read,
    columns=frozenset({"source", "system_id", "system_output", "scores"}),
    homepage="https://github.com/maszhongming/UniEval",
    variants={name: partial(read, by=name) for name in ATTRIBUTES},
)
