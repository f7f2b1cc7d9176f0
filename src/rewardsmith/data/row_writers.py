"""Write a `PreferenceGroup` as the rows that other tools read: the reverse of `rewardsmith.data.rows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardsmith.data.row_values import is_conversation
from rewardsmith.errors import row_error
from rewardsmith.records import Comparison, Completion, Message, PreferenceGroup, TokenIds, as_plain

ALL_COLUMNS = (
    "margin",
    "weight",
    "probability",
    "tie",
    "annotator",
    "time",
    "rationale",
    "models",
    "ratings",
    "source",
    "group_id",
    "tools",
    "chat_template_kwargs",
    "metadata",
)


def to_trl_rows(group: PreferenceGroup, conversational: bool | None = None) -> list[dict[str, Any]]:
    """Give one TRL row a comparison: `prompt`, `chosen`, `rejected` and what the comparison says besides.

    A tie is written with `tie: true`, because TRL itself has no ties and would learn it as a preference: leave those
    rows out for TRL. TRL also ignores `weight`, `probability` and the columns of provenance; our reader reads all
    of them, so rows that are merged again give the same graph (completions that no comparison names are not in
    any row).

    Args:
        conversational: True writes messages, False writes text (an error where there are messages), None keeps
            the form of the group.
    """
    if any(isinstance(c, TokenIds) for c in group.completions):
        return to_tokenized_rows(group)
    prompt: Any = group.prompt
    completions: Sequence[Completion] = group.completions
    if conversational or (conversational is None and _is_mixed(group)):
        prompt, completions = conversations(group)
        prompt = prompt or ""
    elif conversational is False and (_is_mixed(group) or any(map(is_conversation, completions))):
        raise row_error("group", "messages", "messages cannot be written as text without a chat template")
    # TRL cannot read an empty list as a prompt; without the column the prompt is implicit.
    is_implicit = not prompt and any(map(is_conversation, completions))
    asked = {} if is_implicit else {"prompt": as_plain(prompt)}
    return [
        {
            **asked,
            "chosen": as_plain(completions[comparison.better]),
            "rejected": as_plain(completions[comparison.worse]),
            **pair_columns(group, comparison, ALL_COLUMNS),
        }
        for comparison in group.comparisons
    ]


def to_tokenized_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Give TRL's `chosen_ids`, `rejected_ids`, one row a comparison. Raises DataError for texts."""
    if not all(isinstance(c, TokenIds) for c in group.completions):
        raise row_error("group", "not tokenised", "only completions of token ids can be written as token ids")
    return [
        {
            "chosen_ids": as_plain(group.completions[comparison.better]),
            "rejected_ids": as_plain(group.completions[comparison.worse]),
            **pair_columns(group, comparison, ALL_COLUMNS),
        }
        for comparison in group.comparisons
    ]


def to_ranking_row(group: PreferenceGroup) -> dict[str, Any]:
    """Give `prompt, completions, ranks` (1 is best, equal ranks are ties).

    Raises:
        DataError: the comparisons are not exactly those of one complete ranking.
    """
    ranks = ranks_of(group)
    if ranks is None:
        raise row_error("group", "not a ranking", "the comparisons are not those of one complete ranking; write pairs")
    return {**_list_columns(group), "ranks": ranks}


def to_scores_row(group: PreferenceGroup, rating: str = "score") -> dict[str, Any]:
    """Give `prompt, completions, scores` from the rating of that name (higher is better).

    Raises:
        DataError: the rating is missing, or is not known for every completion.
    """
    scores = group.ratings.get(rating)
    if scores is None or any(score is None for score in scores):
        raise row_error("group", "no scores", f"rating {rating!r} is not known for every completion; write pairs")
    row = {**_list_columns(group), "scores": list(scores)}
    row.get("ratings", {}).pop(rating, None)
    if not row.get("ratings", True):
        del row["ratings"]
    return row


def to_nemo_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Give NeMo-RL's `context, completions: [{rank, completion}]`, two completions a row, as its trainer reads."""
    prompt, completions = conversations(group)
    context = [message.to_dict() for message in prompt]
    return [
        {
            "context": context,
            "completions": [
                {"rank": 0, "completion": as_plain(completions[comparison.better])},
                {"rank": int(comparison.outcome != "tie"), "completion": as_plain(completions[comparison.worse])},
            ],
            **{k: v for k, v in pair_columns(group, comparison, ALL_COLUMNS).items() if k not in NEMO_LEFT_OUT},
        }
        for comparison in group.comparisons
    ]


NEMO_LEFT_OUT = {"tie", "chosen_model", "rejected_model", "chosen_ratings", "rejected_ratings"}


def ranks_of(group: PreferenceGroup) -> list[int] | None:
    """Give the ranks (1 is best) when the comparisons are those of one complete ranking, else None.

    Margins, weights, soft labels and annotators cannot be held by ranks, so a comparison that has any is no ranking.
    """
    size = len(group)
    beaten = [0] * size
    seen: dict[tuple[int, int], Comparison] = {}
    for comparison in group.comparisons:
        pair = (min(comparison.better, comparison.worse), max(comparison.better, comparison.worse))
        if pair in seen or pair[0] == pair[1] or comparison != _plain(comparison):
            return None
        seen[pair] = comparison
        if comparison.outcome == "better":
            beaten[comparison.worse] += 1
    if size < 2 or len(seen) != size * (size - 1) // 2:
        return None
    for comparison in seen.values():
        better, worse = beaten[comparison.better], beaten[comparison.worse]
        if (better != worse) if comparison.outcome == "tie" else (better >= worse):
            return None
    return [count + 1 for count in beaten]


def conversations(group: PreferenceGroup) -> tuple[tuple[Message, ...], list[tuple[Message, ...]]]:
    """Give prompt and completions as messages: text becomes a user and an assistant message.

    Raises:
        DataError: the completions are token ids.
    """
    prompt = group.prompt
    if isinstance(prompt, str):
        prompt = (Message("user", prompt),) if prompt else ()
    completions = []
    for completion in group.completions:
        if isinstance(completion, TokenIds):
            raise row_error("group", "token ids", "token ids cannot be turned back into messages without the tokenizer")
        completions.append((Message("assistant", completion),) if isinstance(completion, str) else completion)
    return prompt, completions


def single_message(completion: Sequence[Message]) -> Message:
    """Give the one assistant text of a completion. Raises DataError for anything else."""
    if len(completion) != 1 or not isinstance(completion[0].content, str) or completion[0].extra:
        raise row_error(
            "group", "several messages", "a completion of several messages or parts does not fit this layout"
        )
    return completion[0]


def pair_columns(group: PreferenceGroup, comparison: Comparison, names: Sequence[str]) -> dict[str, Any]:
    """Give the columns beside the two sides that are not at their default, restricted to `names`."""
    sides = (("chosen", comparison.better), ("rejected", comparison.worse))
    columns: dict[str, Any] = {}
    for name in ("margin", "probability", "annotator", "time", "rationale"):
        if name in names and getattr(comparison, name) is not None:
            columns[name] = getattr(comparison, name)
    if "weight" in names and comparison.weight != 1.0:
        columns["weight"] = comparison.weight
    if "tie" in names and comparison.outcome == "tie":
        columns["tie"] = True
    if "models" in names and group.models:
        columns.update({f"{side}_model": group.models[i] for side, i in sides if group.models[i] is not None})
    if "ratings" in names and group.ratings:
        for side, i in sides:
            scores = {name: row[i] for name, row in group.ratings.items() if row[i] is not None}
            if scores:
                columns[f"{side}_ratings"] = scores
    return columns | {k: v for k, v in _group_columns(group).items() if k in names}


def _group_columns(group: PreferenceGroup) -> dict[str, Any]:
    """Give the columns of provenance and template that are set."""
    columns: dict[str, Any] = {}
    if group.source is not None:
        columns["source"] = group.source
    if group.group_id is not None:
        columns["group_id"] = group.group_id
    if group.tools:
        columns["tools"] = list(group.tools)
    if group.chat_template_kwargs:
        columns["chat_template_kwargs"] = dict(group.chat_template_kwargs)
    if group.metadata:
        columns["metadata"] = dict(group.metadata)
    return columns


def _list_columns(group: PreferenceGroup) -> dict[str, Any]:
    """Give the columns that rankings and scores share."""
    if any(isinstance(c, TokenIds) for c in group.completions):
        raise row_error("group", "token ids", "token ids can be written as pairs only")
    prompt: Any = group.prompt
    completions: Sequence[Completion] = group.completions
    if _is_mixed(group):
        prompt, completions = conversations(group)
    row: dict[str, Any] = {
        "prompt": as_plain(prompt or ""),
        "completions": [as_plain(completion) for completion in completions],
        **_group_columns(group),
    }
    if group.ratings:
        row["ratings"] = {name: list(scores) for name, scores in group.ratings.items()}
    if group.models:
        row["models"] = list(group.models)
    return row


def _is_mixed(group: PreferenceGroup) -> bool:
    """Whether some sides are text and others messages; an empty prompt goes with both."""
    forms = {isinstance(side, str) for side in group.completions}
    return len(forms | ({isinstance(group.prompt, str)} if group.prompt else set())) > 1


def _plain(comparison: Comparison) -> Comparison:
    """The comparison as ranks would hold it."""
    return Comparison(comparison.better, comparison.worse, comparison.outcome)
