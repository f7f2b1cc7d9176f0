"""Pairs, the basic layout (`chosen`, `rejected`, perhaps `prompt`), and what the other layouts share with it.

Reading: prompt and sides in one form, the columns beside them, the comparisons that ranks and scores imply. Writing:
one row a comparison. TRL, OpenRLHF and Open Instruct read these rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rewardsmith.data.formats.cells import (
    check_ending,
    check_flag,
    check_mapping,
    check_number,
    check_objects,
    check_prompt,
    check_side,
    decode_json,
    decode_messages,
    is_conversation,
    looks_like_messages,
    require,
)
from rewardsmith.data.formats.format import Format, Target
from rewardsmith.errors import row_error
from rewardsmith.records import (
    SYSTEM_ROLES,
    Comparison,
    Completion,
    Message,
    PreferenceGroup,
    TokenIds,
    as_plain,
    wrong_tie_share,
)

COMPARISON_COLUMNS = ("margin", "weight", "probability", "tie_share", "tie", "annotator", "time", "rationale")
SIDE_COLUMNS = ("chosen_model", "rejected_model", "chosen_ratings", "rejected_ratings")
Side = str | tuple[Message, ...]
PAIR_COLUMNS = {"prompt", "chosen", "rejected"}
RECORD_COLUMNS = ("models", "ratings", "source", "group_id", "tools", "chat_template_kwargs", "metadata")
ALL_COLUMNS = (*COMPARISON_COLUMNS, *RECORD_COLUMNS)


def read_pair(row: Mapping[str, Any], where: str) -> PreferenceGroup:
    """Read TRL's `chosen`, `rejected` and perhaps `prompt`; text or messages."""
    sides = [require(row, "chosen", where), require(row, "rejected", where)]
    prompt = require(row, "prompt", where) if "prompt" in row else None
    if any(map(holds_several, sides)):
        better, worse = (side if holds_several(side) else [side] for side in sides)
        return several_group(row, where, prompt, (better, worse), PAIR_COLUMNS)
    return pair_group(row, where, prompt, sides, PAIR_COLUMNS)


def holds_several(side: object) -> bool:
    """Whether a cell is a list of answers, as text or as conversations, and not one conversation."""
    items = side.tolist() if hasattr(side, "tolist") else side
    answers = [item for item in items if item is not None] if isinstance(items, list | tuple) else []
    return bool(answers) and all(isinstance(item, str | list | tuple) for item in answers)


def answer_group(row: Mapping[str, Any], where: str, prompt: object, consumed: set[str]) -> PreferenceGroup:
    """Build the group of `chosen` and `rejected`, which answer a conversation: a text, a turn, or a list of them."""
    sides = [require(row, "chosen", where), require(row, "rejected", where)]
    better, worse = ([as_answer(item) for item in (side if holds_several(side) else [side])] for side in sides)
    if len(better) == len(worse) == 1:
        return pair_group(row, where, prompt or "", [*better, *worse], consumed)
    return several_group(row, where, prompt or "", (better, worse), consumed)


def as_answer(value: object) -> Any:
    """Return text as the assistant's message; anything else as it is."""
    is_text = isinstance(value, str) and not looks_like_messages(value)
    return [{"role": "assistant", "content": value}] if is_text else value


def several_group(
    row: Mapping[str, Any], where: str, prompt: object, sides: tuple[Sequence[Any], Sequence[Any]], consumed: set[str]
) -> PreferenceGroup:
    """Build the group of (preferred answers, other answers): each of the first beats each of the second."""
    better, worse = sides
    columns = [f"chosen[{i}]" for i in range(len(better))] + [f"rejected[{i}]" for i in range(len(worse))]
    joined, completions = join_prompt(prompt, [*better, *worse], where, "prompt", columns)
    fields = comparison_fields(row, where)
    places = range(len(better), len(completions))
    comparisons = tuple(Comparison(i, j, **fields) for i in range(len(better)) for j in places)
    return PreferenceGroup(joined, completions, comparisons, **group_fields(row, where, consumed))


def pair_group(
    row: Mapping[str, Any], where: str, prompt: object, sides: Sequence[Any], consumed: Iterable[str]
) -> PreferenceGroup:
    """Build the group of one pair: `sides` is (chosen, rejected); the other columns say how much better and why."""
    joined, completions = join_prompt(prompt, sides, where, "prompt", ("chosen", "rejected"))
    comparison = Comparison(0, 1, **comparison_fields(row, where))
    fields = group_fields(row, where, {*consumed, *SIDE_COLUMNS})
    if row.get("chosen_model") is not None or row.get("rejected_model") is not None:
        names = (row.get("chosen_model"), row.get("rejected_model"))
        fields["models"] = tuple(None if name is None else str(name) for name in names)
    if row.get("chosen_ratings") is not None or row.get("rejected_ratings") is not None:
        fields["ratings"] = _pair_ratings(row, where)
    return PreferenceGroup(joined, completions, (comparison,), **fields)


def _pair_ratings(row: Mapping[str, Any], where: str) -> dict[str, tuple[float | None, float | None]]:
    """Read `chosen_ratings` and `rejected_ratings`: attribute to score."""
    sides = []
    for column in ("chosen_ratings", "rejected_ratings"):
        scores = check_mapping(row.get(column) or {}, where, column)
        sides.append({name: check_number(v, where, f"{column}.{name}") for name, v in scores.items()})
    return {name: (sides[0].get(name), sides[1].get(name)) for name in dict.fromkeys([*sides[0], *sides[1]])}


def join_prompt(
    prompt: object, sides: Sequence[Any], where: str, prompt_column: str, side_columns: str | Sequence[str]
) -> tuple[Side, tuple[Side, ...]]:
    """Return prompt and completions in one form: all text, or all messages.

    - No prompt and messages: the prompt is what all conversations begin with, and every completion keeps at least
      its last message. No prompt and text: the prompt is "" and each completion the full text.
    - Prompt text and message completions: if the conversations already begin with that prompt it is not said
      twice; otherwise it becomes one user message.
    - Prompt messages and text completions: each completion becomes one assistant message. A conversation that begins
      with the prompt, or with its last turns, does not say them twice.
    - Lists of messages that stand in cells as text are read as messages. An empty answer is an answer.
    """
    columns = [f"{side_columns}[{i}]" for i in range(len(sides))] if isinstance(side_columns, str) else side_columns
    # Where only some sides look so, it is an answer that happens to be such a text.
    if all(not isinstance(side, str) or looks_like_messages(side) for side in sides):
        sides = [decode_messages(s, where, n) if isinstance(s, str) else s for s, n in zip(sides, columns, strict=True)]
    completions = tuple(check_side(side, where, name, empty=True) for side, name in zip(sides, columns, strict=True))
    conversational = [is_conversation(c) for c in completions]
    if any(conversational) and not all(conversational):
        text, messages = columns[conversational.index(False)], columns[conversational.index(True)]
        raise row_error(
            where,
            "mixed types",
            f"column {text!r} is text but {messages!r} is a list of messages; use one form for both",
        )
    for completion, name in zip(completions, columns, strict=True):
        if not isinstance(completion, str):
            check_ending(completion, where, name)
    asked: Side | None = None if prompt is None else check_prompt(prompt, where, prompt_column)
    if asked is None or isinstance(asked, str):
        if not completions or not all(conversational):
            return asked or "", completions
        return _split_conversations(asked, [c for c in completions if not isinstance(c, str)])
    return _without_repeats(asked, [(Message("assistant", c),) if isinstance(c, str) else c for c in completions])


def _split_conversations(
    prompt: str | None, conversations: Sequence[tuple[Message, ...]]
) -> tuple[Side, tuple[Side, ...]]:
    """Split conversations after their common beginning, if they hold the prompt; else put the prompt before them."""
    shared = common_length(conversations)
    asked = [m for m in conversations[0][:shared] if m.role == "user" and isinstance(m.content, str)]
    if prompt is None or any(message.content.strip() == prompt.strip() for message in asked):
        return conversations[0][:shared] or "", tuple(c[shared:] for c in conversations)
    return _without_repeats((Message("user", prompt),), conversations) if prompt else ("", tuple(conversations))


def _without_repeats(
    asked: tuple[Message, ...], conversations: Sequence[tuple[Message, ...]]
) -> tuple[Side, tuple[Side, ...]]:
    """Return prompt and completions; a conversation that begins with the prompt, or its last turns, drops them.

    Where all begin with one system message and then with the prompt, the message is the prompt's.
    """
    head = conversations[0][:1]
    if head[0].role in SYSTEM_ROLES and all(_repeats((*head, *asked), c) == 1 + len(asked) for c in conversations):
        asked = (*head, *asked)
    return asked, tuple(c[_repeats(asked, c) :] for c in conversations)


def _repeats(asked: tuple[Message, ...], conversation: tuple[Message, ...]) -> int:
    """Count the last turns of the prompt that a conversation begins with; at least one of its own stays."""
    sizes = range(min(len(asked), len(conversation) - 1), 0, -1)
    return next((n for n in sizes if all(map(_is_same_turn, asked[-n:], conversation[:n]))), 0)


def _is_same_turn(a: Message, b: Message) -> bool:
    if not isinstance(a.content, str) or not isinstance(b.content, str):
        return a == b
    return (a.role, a.extra, a.content.strip()) == (b.role, b.extra, b.content.strip())


def common_length(conversations: Sequence[tuple[Message, ...]]) -> int:
    """Count the leading messages that all share, leaving each at least its last message."""
    limit = min(map(len, conversations)) - 1
    first = conversations[0]
    for index in range(limit):
        if any(other[index] != first[index] for other in conversations[1:]):
            return index
    return limit


def comparison_fields(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Read the optional columns that describe one comparison; empty cells count as absent."""
    fields: dict[str, Any] = {}
    for column in COMPARISON_COLUMNS:
        value = row.get(column)
        if value is None or (isinstance(value, str) and not value):
            continue
        if column in ("annotator", "time", "rationale"):
            fields[column] = str(value)
        elif column == "tie":
            fields["outcome"] = "tie" if check_flag(value, where, column) else "better"
        else:
            fields[column] = check_number(value, where, column)
    if fields.get("weight", 0) < 0:
        raise row_error(where, "out of range", f"column 'weight' is {fields['weight']}; give a number >= 0")
    if not 0 <= fields.get("probability", 0) <= 1:
        told = f"column 'probability' is {fields['probability']}; give P(chosen is preferred) in [0, 1]"
        raise row_error(where, "out of range", told)
    if why := wrong_tie_share(fields.get("tie_share"), fields.get("probability"), fields.get("outcome") == "tie"):
        raise row_error(where, "out of range", why)
    return fields


def group_fields(row: Mapping[str, Any], where: str, consumed: set[str]) -> dict[str, Any]:
    """Read source, group_id, tools and template arguments; keep every other column as metadata."""
    fields: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for column, value in row.items():
        if column in consumed or column in COMPARISON_COLUMNS or value is None:
            continue
        if column == "tools":
            if found := check_objects(value, where, "tools"):
                fields["tools"] = tuple(found)
        elif column == "chat_template_kwargs":
            fields[column] = check_mapping(value, where, column) if value != "" else None
        elif column in ("source", "group_id") and isinstance(value, str | int):
            fields[column] = str(value)
        elif column == "metadata" and isinstance(value, Mapping | str):
            metadata.update(_read_metadata(value))
        else:
            metadata[str(column)] = value.tolist() if hasattr(value, "tolist") else value
    if metadata:
        fields["metadata"] = metadata
    return fields


def _read_metadata(value: Mapping[str, Any] | str) -> dict[str, Any]:
    """Unfold a `metadata` column; text that is no JSON object is kept as it is."""
    if isinstance(value, str):
        try:
            decoded = decode_json(value, "row", "metadata")
        except ValueError:
            decoded = value
        return dict(decoded) if isinstance(decoded, Mapping) else {"metadata": value}
    return {str(k): v for k, v in value.items() if v is not None}


def to_trl_rows(group: PreferenceGroup, conversational: bool | None = None) -> list[dict[str, Any]]:
    """Return one TRL row a comparison: `prompt`, `chosen`, `rejected` and what the comparison says besides.

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
    if conversational or (conversational is None and is_mixed(group)):
        prompt, completions = conversations(group)
        prompt = prompt or ""
    elif conversational is False and (is_mixed(group) or any(map(is_conversation, completions))):
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
    """Return TRL's `chosen_ids`, `rejected_ids`, one row a comparison. Raises DataError for texts."""
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


def conversations(group: PreferenceGroup) -> tuple[tuple[Message, ...], list[tuple[Message, ...]]]:
    """Return prompt and completions as messages: text becomes a user and an assistant message.

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
    """Return the one assistant text of a completion. Raises DataError for anything else."""
    if len(completion) != 1 or not isinstance(completion[0].content, str) or completion[0].extra:
        raise row_error(
            "group", "several messages", "a completion of several messages or parts does not fit this layout"
        )
    return completion[0]


def pair_columns(group: PreferenceGroup, comparison: Comparison, names: Sequence[str]) -> dict[str, Any]:
    """Return the columns beside the two sides that are not at their default, restricted to `names`."""
    sides = (("chosen", comparison.better), ("rejected", comparison.worse))
    columns: dict[str, Any] = {}
    for name in ("margin", "probability", "tie_share", "annotator", "time", "rationale"):
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
    return columns | {k: v for k, v in group_columns(group).items() if k in names}


def group_columns(group: PreferenceGroup) -> dict[str, Any]:
    """Return the columns of provenance and template that are set."""
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


def is_mixed(group: PreferenceGroup) -> bool:
    """Whether some sides are text and others messages; an empty prompt goes with both."""
    forms = {isinstance(side, str) for side in group.completions}
    return len(forms | ({isinstance(group.prompt, str)} if group.prompt else set())) > 1


_ALL = frozenset(ALL_COLUMNS) - {"tie"}
UNREAD = frozenset({"weight", "probability", "tie_share"})

FORMAT = Format(
    "pair",
    read_pair,
    ({"chosen", "rejected"},),
    # The columns are those of TRL's pairs; the tools' names are accepted so that --reader may name the tool.
    aliases=("trl", "openrlhf", "open-instruct"),
    yields_to=("llamafactory", "axolotl"),
    takes_prompt=True,
    targets={
        "trl": Target(to_trl_rows, _ALL, UNREAD, holds_steps=True),
        "trl-conversational": Target(lambda group: to_trl_rows(group, conversational=True), _ALL, UNREAD, is_chat=True),
        "openrlhf": Target(to_trl_rows, _ALL, UNREAD | {"tools", "chat_template_kwargs"}),
    },
)
