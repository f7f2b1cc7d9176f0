"""Rows of trainers: TRL's that are no pairs of texts, and the conversations of Axolotl, ms-swift and NeMo-RL.

TRL's are token ids, `stepwise` (a label a step) and `unpaired` (a label an answer); their labels compare nothing. A
stepwise row becomes a solution with step ratings, the form in which every data set that judges reasoning is read: the
completion is the whole reasoning, `metadata["steps"]` holds its steps, `metadata["step_ratings"]` one rating each (1
right, 0 neutral, -1 wrong, None not judged) and `metadata["first_error"]` the index of the first wrong step, from 0, or
-1 when there is none (as in ProcessBench). An unpaired row becomes one completion with the rating "label", 1 or 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardsmith.data.formats.cells import (
    check_flag,
    check_ids,
    check_list,
    check_mapping,
    check_messages,
    check_number,
    check_prompt,
    check_side,
    check_text,
    require,
)
from rewardsmith.data.formats.format import Format, Target
from rewardsmith.data.formats.pairs import (
    ALL_COLUMNS,
    PAIR_COLUMNS,
    UNREAD,
    answer_group,
    as_answer,
    comparison_fields,
    conversations,
    group_fields,
    holds_several,
    join_prompt,
    pair_columns,
    pair_group,
    several_group,
    single_message,
)
from rewardsmith.data.formats.rankings import ranked_comparisons
from rewardsmith.errors import RowError, describe, row_error
from rewardsmith.records import SYSTEM_ROLES, Comparison, Message, PreferenceGroup, Text, as_plain

AXOLOTL_COLUMNS = {"system", "input", "chosen", "rejected"}


def read_axolotl_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one row as messages, since Axolotl puts it through the chat template."""
    question = check_text(require(row, "input", where), where, "input", empty=True)
    prompt = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    prompt += [{"role": "user", "content": question}] if question else []
    return answer_group(row, where, prompt, AXOLOTL_COLUMNS)


def to_axolotl_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Return one row a comparison. Raises DataError for prompts of several turns: the layout has one."""
    prompt, completions = conversations(group)
    roles = [message.role for message in prompt]
    if roles not in ([], ["user"], ["system", "user"]) or not all(isinstance(m.content, str) for m in prompt):
        raise row_error("group", "several turns", f"Axolotl's layout holds one user turn, not {', '.join(roles)}")
    system = {"system": prompt[0].content} if roles[:1] == ["system"] else {}
    question = prompt[-1].content if prompt else ""
    return [
        {
            **system,
            "input": question,
            "chosen": single_message(completions[comparison.better]).content,
            "rejected": single_message(completions[comparison.worse]).content,
            **pair_columns(group, comparison, ()),
        }
        for comparison in group.comparisons
    ]


AXOLOTL = Format(
    "axolotl",
    read_axolotl_row,
    ({"input", "chosen", "rejected"},),
    yields_to=("llamafactory",),
    unless=frozenset({"prompt"}),
    system_place="system",
    targets={"axolotl": Target(to_axolotl_rows, is_chat=True)},
)


SWIFT_COLUMNS = {"messages", "rejected_response", "rejected_messages"}


def read_swift_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read one row; `rejected_messages`, a whole conversation, may stand in place of `rejected_response`."""
    messages = check_messages(require(row, "messages", where), where, "messages")
    if row.get("rejected_messages") is not None:
        rejected = check_messages(row["rejected_messages"], where, "rejected_messages")
        if rejected[0].role not in ("user", *SYSTEM_ROLES) and len(messages) > 1:
            # Only the other answer, where ms-swift has the whole conversation.
            return pair_group(row, where, messages[:-1], [messages[-1:], rejected], SWIFT_COLUMNS)
        return pair_group(row, where, None, [messages, rejected], SWIFT_COLUMNS)
    rejected = require(row, "rejected_response", where)
    if holds_several(rejected):
        others = [as_answer(answer) for answer in rejected]
        return several_group(row, where, messages[:-1] or "", ([messages[-1:]], others), SWIFT_COLUMNS)
    check_side(rejected, where, "rejected_response", empty=True)
    return pair_group(row, where, messages[:-1] or "", [messages[-1:], as_answer(rejected)], SWIFT_COLUMNS)


def to_swift_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Return one row a comparison. Raises DataError for completions of several messages."""
    prompt, completions = conversations(group)
    rows = []
    for comparison in group.comparisons:
        chosen, rejected = completions[comparison.better], single_message(completions[comparison.worse])
        messages = [message.to_dict() for message in (*prompt, single_message(chosen))]
        columns = pair_columns(group, comparison, ("margin", "tools"))
        rows.append({"messages": messages, "rejected_response": rejected.content, **columns})
    return rows


SWIFT = Format(
    "swift",
    read_swift_row,
    ({"messages", "rejected_response"}, {"messages", "rejected_messages"}),
    system_place="messages",
    targets={"swift": Target(to_swift_rows, frozenset({"margin", "tools"}), is_chat=True)},
)


NEMO_LEFT_OUT = {"tie", "chosen_model", "rejected_model", "chosen_ratings", "rejected_ratings"}


def read_nemo_row(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read NeMo-RL's `context` and `completions: [{rank, completion}]`; a lower rank is better."""
    entries = check_list(require(row, "completions", where), where, "completions")
    if len(entries) < 2:
        raise row_error(where, "too few completions", f"column 'completions' holds {len(entries)}; give two or more")
    entries = [check_mapping(entry, where, f"completions[{i}]") for i, entry in enumerate(entries)]
    sides = [require(entry, "completion", f"{where} completions[{i}]") for i, entry in enumerate(entries)]
    ranks = [
        check_number(require(entry, "rank", f"{where} completions[{i}]"), where, f"completions[{i}].rank")
        for i, entry in enumerate(entries)
    ]
    prompt, completions = join_prompt(require(row, "context", where), sides, where, "context", "completions")
    fields = group_fields(row, where, {"context", "completions"})
    return PreferenceGroup(prompt, completions, ranked_comparisons(ranks, **comparison_fields(row, where)), **fields)


def to_nemo_rows(group: PreferenceGroup) -> list[dict[str, Any]]:
    """Return NeMo-RL's `context, completions: [{rank, completion}]`, two completions a row, as its trainer reads."""
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


NEMO = Format(
    "nemo",
    read_nemo_row,
    ({"completions", "context"},),
    system_place="context",
    targets={
        "nemo": Target(
            to_nemo_rows,
            frozenset(ALL_COLUMNS) - {"tie", "models", "ratings"},
            UNREAD | {"margin", "tools", "chat_template_kwargs"},
            is_chat=True,
        )
    },
)


StepRating = int | None


def read_tokens(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read TRL's tokenised pairs. The ids hold the prompt, so the group's prompt is empty."""
    names = ("chosen_ids", "rejected_ids") if "chosen_ids" in row else ("chosen_input_ids", "rejected_input_ids")
    completions = tuple(check_ids(require(row, name, where), where, name) for name in names)
    comparison = Comparison(0, 1, **comparison_fields(row, where))
    return PreferenceGroup("", completions, (comparison,), **group_fields(row, where, {*names, *PAIR_COLUMNS}))


def read_stepwise(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read `prompt`, `completions` (the steps) and `labels`.

    A label is true where a step is right, a probability that it is, or null where nobody judged.
    """
    prompt = check_prompt(require(row, "prompt", where), where, "prompt")
    steps = check_list(require(row, "completions", where), where, "completions")
    labels = check_list(require(row, "labels", where), where, "labels")
    if len(steps) != len(labels) or not steps:
        message = f"'completions' holds {len(steps)} steps and 'labels' {len(labels)}; give one label a step"
        raise row_error(where, "wrong length", message)
    texts = [check_text(step, where, f"completions[{index}]") for index, step in enumerate(steps)]
    soft = [_probability(label, where, f"labels[{index}]") for index, label in enumerate(labels)]
    # The side of 1/2 on which a soft label lies; 1/2 itself is neutral.
    ratings = [None if label is None else (label > 0.5) - (label < 0.5) for label in soft]
    if all(rating is None for rating in ratings):
        raise row_error(where, "no judgement", "'labels' judges no step; label one or leave the row out")
    extra = dict(group_fields(row, where, {"prompt", "completions", "labels"}).get("metadata", {}))
    if any(label not in (None, 0.0, 1.0) for label in soft):
        extra["step_probabilities"] = soft
    return step_group(prompt, texts, ratings, where, extra)


def _probability(label: object, where: str, column: str) -> float | None:
    """Return a label as the probability that the step is right."""
    if label is None:
        return None
    if isinstance(label, float) and 0 < label < 1:
        return label
    try:
        return float(check_flag(label, where, column))
    except RowError as error:
        hint = "; a label is true, false, a probability from 0 to 1, or null where nobody judged"
        raise row_error(where, "unknown label", f"column {column!r} is {describe(label)}{hint}") from error


def read_unpaired(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read `prompt`, `completion` and `label` (true for a good answer); merging gathers the answers of a prompt."""
    value = 1.0 if check_flag(require(row, "label", where), where, "label") else 0.0
    prompt = require(row, "prompt", where) if "prompt" in row else None
    asked, completions = join_prompt(prompt, [require(row, "completion", where)], where, "prompt", ["completion"])
    fields = group_fields(row, where, {"prompt", "completion", "label"})
    return PreferenceGroup(asked, completions, (), {"label": (value,)}, **fields)


def check_steps(value: object, where: str, column: str) -> list[str]:
    """Accept a non-empty list of texts; a step in a list of its own, as ReasonEval has them, is unwrapped."""
    steps = check_list(value, where, column)
    if not steps:
        raise row_error(where, "no steps", f"column {column!r} is an empty list; give the steps of the reasoning")
    parts = [step[0] if isinstance(step, list) and step else step for step in steps]
    return [check_text(step, where, f"{column}[{index}]", empty=True) for index, step in enumerate(parts)]


def ratings_until(first_error: int, size: int, where: str) -> list[StepRating]:
    """Return the ratings that the first wrong step implies: right before it, not judged after it; -1 is all right."""
    if not -1 <= first_error < size:
        raise row_error(where, "out of range", f"the first mistake is step {first_error} of {size} (from 0)")
    if first_error == -1:
        return [1] * size
    return [1] * first_error + [-1] + [None] * (size - first_error - 1)


def step_group(
    question: Text, steps: Sequence[str], ratings: Sequence[StepRating], where: str, extra: Mapping[str, Any]
) -> PreferenceGroup:
    """Build the group of one reasoning: no comparisons, the rating "worst_step", steps in the metadata."""
    first_error = ratings.index(-1) if -1 in ratings else -1
    asked, completions = dialogue_of(question if isinstance(question, str) else "", ["\n".join(steps)])
    prompt = asked if isinstance(question, str) else question
    model = extra.get("generator")
    return PreferenceGroup(
        prompt=prompt,
        completions=completions,
        ratings={"worst_step": (min(float(rating) for rating in ratings if rating is not None),)},
        models=(str(model),) if model is not None else (),
        group_id=where,
        metadata={"steps": list(steps), "step_ratings": list(ratings), "first_error": first_error, **extra},
    )


def dialogue_of(question: str, answers: Sequence[str]) -> tuple[tuple[Message, ...], tuple[tuple[Message, ...], ...]]:
    """Return one question and its answers as a user turn and assistant turns.

    An empty answer stays: people judged it, and `data check` names it.
    """
    return (Message("user", question),), tuple((Message("assistant", answer),) for answer in answers)


FORMATS = (
    # Token ids win over texts, as in TRL, since a tokenised data set often keeps its text columns.
    Format(
        "tokens",
        read_tokens,
        ({"chosen_ids", "rejected_ids"}, {"chosen_input_ids", "rejected_input_ids"}),
        wins=True,
    ),
    Format("stepwise", read_stepwise, ({"completions", "labels"},), takes_prompt=True),
    Format("unpaired", read_unpaired, ({"completion", "label"},), takes_prompt=True),
)
