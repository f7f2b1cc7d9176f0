"""One cell of a row: a text, a conversation, a number, a list. Every error names row, column and remedy."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rewardsmith.errors import RowError, describe, listed, row_error
from rewardsmith.records import SYSTEM_ROLES, Completion, Message, PreferenceGroup, TokenIds

ROLES = ("system", "user", "assistant", "tool", "developer", "function")
EMPTY = "empty turn"
NO_ALTERNATION = "turns do not alternate"
FIRST = "first turn is not the user's"
LAST = "last turn is not the assistant's"
LATE_SYSTEM = "system turn after the first turn"
STRAY_TOOL = "tool turn without a call before it"

TOOL_ROLES = ("tool", "function")
# A tool's answer may be the last turn of a judged trajectory.
CLOSING_ROLES = ("assistant", *TOOL_ROLES)
# Who speaks in ShareGPT's messages, `{"from", "value"}`, as the same roles.
TAGS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "assistant": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function_call": "assistant",
    "system": "system",
}
PART = '{"type": "text", "text": ...}'
MAX_PYTHON_TEXT = 1 << 20
# Of float32, in which losses are computed: beyond it a margin is infinite and every weight becomes NaN.
LARGEST = 3.4e38
_BETWEEN_ITEMS = re.compile(r"\}\s*\n\s*\{")
# What begins as a list of messages does, or as one message, a line or an array of them, or as text inside text.
# Possessive: millions of blanks are looked at once.
_OPENING = re.compile(r"""[\s\ufeff]*+(?:array\(\s*)?["']?[\[({]""")
_LIST = re.compile(r"""[\s\ufeff]*+(?:array\(|[\[(]\s*(?:\{|\w*Message\())""")
_MESSAGES = re.compile(r"""\s*+\[\s*+\{\s*+['"](role|content|from|value)['"]\s*:""")
_TURN = re.compile(
    rf"""\\?['"](?:role|from)\\?['"]\s*:\s*\\?['"](?:{"|".join({*ROLES, *TAGS})})\\?['"]|\[\s*\w*Message\("""
)
_ARRAY = re.compile(r"array\((.*?)(?:,\s*dtype=\w+)?\s*\)", re.DOTALL)
_HOLDERS = ("messages", "conversation", "conversations")


def require(row: Mapping[str, Any], column: str, where: str) -> Any:
    """Return a column that must be there and must not be null."""
    if column not in row:
        raise row_error(where, "missing column", f"column {column!r} is missing; the row has: {listed(row)}")
    if row[column] is None:
        raise row_error(where, "null value", f"column {column!r} is null; fill it in or remove the row")
    return row[column]


def check_text(value: object, where: str, column: str, empty: bool = False) -> str:
    """Accept a string that can be encoded, and that holds more than white space unless `empty` is allowed."""
    if not isinstance(value, str):
        raise row_error(
            where, "wrong type", f"column {column!r} must be text or a list of messages, not {describe(value)}"
        )
    if not empty and not value.strip():
        raise row_error(where, "empty completion", f"column {column!r} is empty; write the answer or remove the row")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise row_error(
                where,
                "broken text",
                f"column {column!r} has half a surrogate pair at character {error.start}; re-export it as UTF-8",
            ) from error
    return value


def check_messages(value: object, where: str, column: str) -> tuple[Message, ...]:
    """Accept a non-empty list of messages with known roles."""
    if isinstance(value, str) and looks_like_messages(value):
        value = decode_messages(value, where, column)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise row_error(where, "wrong type", f"column {column!r} must be a list of messages, not {describe(value)}")
    if not value:
        raise row_error(where, "empty list", f"column {column!r} is an empty list; give at least one message")
    return tuple(_check_message(message, where, f"{column}[{index}]") for index, message in enumerate(value))


def _check_message(message: object, where: str, place: str) -> Message:
    """Accept one `{"role", "content"}` dictionary or Message."""
    if isinstance(message, Message):
        message = message.to_dict()
    if not isinstance(message, Mapping):
        raise row_error(
            where, "wrong type", f"{place} must be a message with 'role' and 'content', not {describe(message)}"
        )
    if "role" not in message and isinstance(message.get("from"), str):
        tag = message["from"]
        if tag not in TAGS:
            raise row_error(where, "unknown role", f"{place} is from {tag[:40]!r}; allowed: {', '.join(TAGS)}")
        others = {k: v for k, v in message.items() if k not in ("from", "value")}
        message = {"role": TAGS[tag], "content": message.get("value"), **others}
    role = message.get("role")
    if role not in ROLES:
        raise row_error(where, "unknown role", f"{place} has the role {str(role)[:40]!r}; allowed: {', '.join(ROLES)}")
    content = message.get("content")
    if isinstance(content, str):
        check_text(content, where, f"{place}.content", empty=True)
    elif content is None:
        if not (message.get("tool_calls") or message.get("function_call")):
            raise row_error(where, "null value", f"{place}.content is null; give text, or tool_calls")
    elif not isinstance(content, Sequence) or isinstance(content, bytes):
        raise row_error(
            where, "wrong type", f"{place}.content must be text or a list of parts, not {describe(content)}"
        )
    elif not all(isinstance(part, Mapping) for part in content):
        found = next(part for part in content if not isinstance(part, Mapping))
        raise row_error(
            where,
            "wrong type",
            f"{place}.content must be text or parts such as {PART}, not a list of {describe(found)}",
        )
    if message.get("tool_calls") is not None:
        message = {**message, "tool_calls": check_objects(message["tool_calls"], where, f"{place}.tool_calls")}
    return Message.from_dict({str(k): v for k, v in message.items()})


def check_side(value: object, where: str, column: str, empty: bool = False) -> str | tuple[Message, ...]:
    """Accept text or messages. One bare message counts as a list of one."""
    if isinstance(value, str):
        return check_text(value, where, column, empty)
    if isinstance(value, Mapping) and "role" in value:
        return check_messages([value], where, column)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, bytes | TokenIds):
        return check_messages(value, where, column)
    return check_text(value, where, column, empty)


def check_ending(messages: tuple[Message, ...], where: str, column: str) -> None:
    """Refuse a completion whose last message is not the assistant's (or a tool's)."""
    last = messages[-1]
    if last.role not in CLOSING_ROLES:
        raise row_error(
            where,
            "wrong last role",
            f"column {column!r} ends with a {last.role!r} message; a completion must end with the assistant's",
        )


def find_unreadable(answers: Sequence[Any], where: str, columns: Sequence[str]) -> dict[int, RowError]:
    """Return why answers cannot be read, by their place: nulls, numbers, broken texts, lists of other things."""
    found: dict[int, RowError] = {}
    for place, (answer, column) in enumerate(zip(answers, columns, strict=True)):
        try:
            require({column: answer}, column, where)
            side = check_side(answer, where, column, empty=True)
            if not isinstance(side, str):
                check_ending(side, where, column)
        except RowError as error:
            found[place] = error
    return found


def check_ids(value: object, where: str, column: str) -> TokenIds:
    """Accept a non-empty list of token ids."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise row_error(where, "wrong type", f"column {column!r} must be a list of token ids, not {describe(value)}")
    if not value:
        raise row_error(where, "empty completion", f"column {column!r} holds no token ids; remove the row")
    for index, token in enumerate(value):
        if isinstance(token, bool) or not isinstance(token, int) or token < 0:
            raise row_error(
                where, "wrong type", f"{column}[{index}] must be a token id (an integer >= 0), not {describe(token)}"
            )
    return TokenIds(value)


def check_number(value: object, where: str, column: str) -> float:
    """Accept a finite number, or its text form as CSV files hold it."""
    try:
        if isinstance(value, bool) or (not isinstance(value, int | float | str) and not hasattr(value, "__float__")):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise row_error(where, "wrong type", f"column {column!r} must be a number, not {describe(value)}") from error
    if not abs(number) <= LARGEST:
        raise row_error(
            where,
            "not finite",
            f"column {column!r} is {number:g}; give a finite number (of float32), or leave it out where unknown",
        )
    return number


def check_flag(value: object, where: str, column: str) -> bool:
    """Accept true or false, also as 0/1 or as text."""
    flags = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    flag = flags.get(str(value).strip().lower())
    if flag is None:
        raise row_error(where, "wrong type", f"column {column!r} must be true or false, not {describe(value)}")
    return flag


def check_list(value: object, where: str, column: str) -> list[Any]:
    """Accept a list, or a text that holds a JSON list."""
    if isinstance(value, str):
        value = decode_json(value, where, column)
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise row_error(where, "wrong type", f"column {column!r} must be a list, not {describe(value)}")
    return list(value)


def check_objects(value: object, where: str, column: str) -> list[dict[str, Any]]:
    """Accept a list of objects, such as tools, also as JSON in a text or in texts; nulls among them are left out."""
    items = [] if value == "" else check_list(value, where, column)
    return [check_mapping(item, where, f"{column}[{i}]") for i, item in enumerate(items) if item is not None]


def check_mapping(value: object, where: str, column: str) -> dict[str, Any]:
    """Accept an object, or a text that holds a JSON object. Nulls, which Parquet adds, are left out."""
    if isinstance(value, str):
        value = decode_json(value, where, column)
    if not isinstance(value, Mapping):
        raise row_error(where, "wrong type", f"column {column!r} must be an object, not {describe(value)}")
    return {str(k): v for k, v in value.items() if v is not None}


def decode_json(text: str, where: str, column: str) -> Any:
    """Read the JSON that a text column holds, or a list or object as Python writes it (what pandas' CSV files hold)."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        try:
            if text.lstrip()[:1] in ("[", "{") and len(text) <= MAX_PYTHON_TEXT:
                # An array of numpy is written with line ends between its items.
                return ast.literal_eval(_BETWEEN_ITEMS.sub("}, {", text.strip()))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            pass
        raise row_error(
            where, "wrong type", f"column {column!r} must hold JSON, not {describe(text)} ({type(error).__name__})"
        ) from error


def looks_like_messages(text: str) -> bool:
    """Whether a text is a list of messages, or one message, in the spelling of JSON or of Python.

    What begins as such a list is meant as one, even where it cannot be read.
    """
    if not _OPENING.match(text):
        return False
    if _MESSAGES.match(text):
        return True
    return _TURN.search(text) is not None and (_LIST.match(text) is not None or _find_messages(text) is not None)


def decode_messages(text: str, where: str, column: str) -> Any:
    """Read a list of messages that stands in a cell as text. Raises RowError where it cannot be read."""
    found = _find_messages(text)
    if found is None:
        message = f"column {column!r} holds a list of messages as text that cannot be read, {describe(text)}"
        raise row_error(where, "messages as text", f"{message}; write it as JSON")
    return found


def _find_messages(text: str) -> list[Any] | None:
    """Return the messages of a text: a list, one message, one a line, an object or an array that holds them."""
    text = text.strip(" \t\r\n\ufeff")
    array = _ARRAY.fullmatch(text)
    try:
        value = decode_json(array[1] if array else text, "", "")
        value = decode_json(value, "", "") if isinstance(value, str) else value
    except RowError:
        try:
            value = [json.loads(line) for line in text.split("\n") if line.strip()]
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping):
        value = next(iter(value.values())) if len(value) == 1 and next(iter(value)) in _HOLDERS else [value]
        if not isinstance(value, list) or not all(isinstance(m, Mapping) and _is_message(m) for m in value):
            return None
    return list(value) if isinstance(value, list | tuple) else None


def _is_message(value: Mapping[str, Any]) -> bool:
    return (value.get("role") in ROLES and "content" in value) or (value.get("from") in TAGS and "value" in value)


def check_prompt(value: object, where: str, column: str) -> str | tuple[Message, ...]:
    """Accept what was asked, as text or messages; a list of messages that stands in the cell as text is read."""
    if isinstance(value, str) and looks_like_messages(value):
        value = decode_messages(value, where, column)
    return check_side("" if isinstance(value, list | tuple) and not value else value, where, column, empty=True)


def is_list_of_texts(text: str) -> bool:
    """Whether a text is a list of two or more texts, as JSON or Python prints it."""
    if not (text[:1] == "[" and text.rstrip()[-1:] == "]"):
        return False
    try:
        found = decode_json(text, "", "")
    except RowError:
        return False
    return isinstance(found, list) and len(found) > 1 and all(isinstance(item, str) for item in found)


def is_conversation(completion: Completion) -> bool:
    """Whether a side is a list of messages."""
    return isinstance(completion, tuple) and not isinstance(completion, TokenIds)


def find_role_faults(messages: Sequence[Message]) -> list[str]:
    """Name what keeps a list of messages from being a conversation; an empty list means nothing does.

    System turns may stand at the beginning, tool turns after an assistant turn that calls a tool (or after another
    tool turn). User and assistant must take turns, the user first, the assistant (or a tool) last, and no turn may
    be empty, unless it calls a tool. Each fault is named once, in a fixed order. Chat templates of several models
    refuse what is named here, others render it silently.

    Example:
        >>> find_role_faults([Message("user", "hi"), Message("user", "there")])
        ['turns do not alternate', "last turn is not the assistant's"]
    """
    start = next((i for i, m in enumerate(messages) if m.role not in SYSTEM_ROLES), len(messages))
    turns = messages[start:]
    faults = {
        EMPTY: any(not _speaks(message) for message in messages),
        LATE_SYSTEM: any(message.role in SYSTEM_ROLES for message in turns),
        FIRST: not turns or turns[0].role != "user",
        NO_ALTERNATION: any(a.role == b.role in ("user", "assistant") for a, b in pairwise(turns)),
        STRAY_TOOL: any(b.role in TOOL_ROLES and a.role not in ("assistant", *TOOL_ROLES) for a, b in pairwise(turns)),
        LAST: not turns or turns[-1].role not in CLOSING_ROLES,
    }
    return [fault for fault, present in faults.items() if present]


def find_group_faults(group: PreferenceGroup) -> list[str]:
    """Name the faults of all conversations of a group, each once; text and token ids have none."""
    prompt = () if isinstance(group.prompt, str) else group.prompt
    faults: dict[str, None] = {}
    for completion in group.completions:
        if not isinstance(completion, str | TokenIds):
            faults.update(dict.fromkeys(find_role_faults((*prompt, *completion))))
    return list(faults)


def _speaks(message: Message) -> bool:
    """Whether a turn holds text, parts or a tool call."""
    content = message.content.strip() if isinstance(message.content, str) else message.content
    return bool(content or message.extra.get("tool_calls") or message.extra.get("function_call"))


def plain_text(completion: Completion) -> str:
    """Return the text of a completion: the contents of its messages, joined; token ids as numbers."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, TokenIds):
        return " ".join(map(str, completion))
    return "\n".join(content_text(message.content) for message in completion)


def content_text(content: object) -> str:
    """Return the text of a message's content, which may be a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""
