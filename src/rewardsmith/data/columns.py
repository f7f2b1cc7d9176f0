"""Columns that the user names: which of a file's columns is the prompt, which are the answers, and who won."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from rewardsmith.data.formats.cells import check_flag, check_number
from rewardsmith.errors import ConfigError, DataError, RowError, describe, listed, nearest, row_error

Columns = Mapping[str, str] | Sequence[str]
ROLES = (
    *("prompt", "system", "chosen", "rejected", "answer_a", "answer_b", "winner", "tie", "annotator", "margin"),
    *("votes_a", "votes_b", "votes_tie"),
    *("weight", "probability", "tie_share", "time", "rationale", "completions", "ranks", "scores", "ratings", "models"),
    *("source", "group_id", "tools", "chat_template_kwargs", "context", "messages", "rejected_response"),
    *("completion", "label", "text", "score"),
)
SAME_ROLE = {"question": "prompt", "a": "answer_a", "b": "answer_b", "rater": "annotator", "preference": "winner"}
SAME_ROLE |= {"response": "completion", "rating": "score"}
FIRST = ("a", "answer_a", "response_a", "model_a", "left", "first", "chosen_a")
SECOND = ("b", "answer_b", "response_b", "model_b", "right", "second", "chosen_b")
TIES = ("tie", "draw", "equal", "same", "both", "neither", "both_bad", "bothbad", "tie_(bothbad)", "none", "c")
SCORES = {"score", "scores", "stars", "rating", "feedback", "reward", "label", "quality"}
ANSWERS = {"completion", "response", "answer", "text", "output"}
# How many rows are looked at to learn whether winners are numbered from 0 or from 1.
LOOKED_AT = 1000


def parse_columns(words: Sequence[str] | Mapping[str, str] | None) -> dict[str, str] | None:
    """Read the words of `--columns`, such as "question=prompt"; a mapping is taken as it is.

    Raises:
        ConfigError: a word of another form.
    """
    if isinstance(words, Mapping):
        return dict(words)
    if not words:
        return None
    # "a=prompt,b=chosen" is one word; a comma inside a name is part of it.
    words = [part for word in words for part in (word.split(",") if word.count("=") > 1 else [word])]
    pairs = [word.partition("=") for word in words]
    for word, (left, _, right) in zip(words, pairs, strict=True):
        if not left or not right:
            raise ConfigError(f"--columns takes YOURS=OURS, such as question=prompt, not {word!r}")
    return {left: right for left, _, right in pairs}


def parse_score_margin(word: str | float | Mapping[str, float] | None) -> float | dict[str, float] | None:
    """Read "0.5" or "helpfulness=0.5"; numbers are taken as they are. Raises ConfigError for another form."""
    if not isinstance(word, str):
        return dict(word) if isinstance(word, Mapping) else word
    name, _, scale = word.rpartition("=")
    try:
        return {name: float(scale)} if name else float(scale)
    except ValueError as error:
        raise ConfigError(f"a score margin is a number such as 0.5, or RATING=0.5, not {word!r}") from error


def refuse_columns(columns: Iterable[str], formats: Iterable[str]) -> NoReturn:
    """Say that columns fit none of the formats, and what has to be named. Raises DataError."""
    names = {str(column) for column in columns}
    shown = listed(sorted(names))
    if names & SCORES and names & ANSWERS:
        raise DataError(
            f"the columns ({shown}) hold an answer and a score under names that are not read as such; say --columns "
            "YOURS=completion YOURS=score (rows of one prompt are compared by their scores)"
        )
    if {"answer_a", "answer_b"} <= names:
        raise DataError(f"the columns ({shown}) hold two answers, no verdict; say --columns YOURS=winner, or =votes_a")
    raise DataError(
        f"the columns ({shown}) fit no format; give chosen and rejected, or completions with ranks or scores, say "
        f"--columns YOURS=chosen ..., or name one of: {', '.join(formats)}"
    )


def map_columns(
    rows: Iterator[tuple[str, Any]], columns: Columns, on_broken: Callable[[RowError], None] | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield rows with the columns that formats read.

    Args:
        columns: a mapping between the file's columns and ours, in either direction (the file tells which is which):
            prompt, chosen, rejected, completions and so on, or `answer_a`, `answer_b` and `winner`, and perhaps `tie`,
            a column of flags or the winner's value that says tie; `votes_a`, `votes_b` and perhaps `votes_tie` in place
            of the winner are counts of votes. A list keeps these columns alone.
        on_broken: called with the error of a row that lacks a column or names no winner; None raises it.

    Raises:
        ConfigError: a name that is neither a column nor one of ours.
        RowError: a row lacks a column, or names no winner, and `on_broken` is None.
    """
    start = list(itertools.islice(rows, LOOKED_AT))
    mapped = _mapper(start, columns)
    for where, row in itertools.chain(start, rows):
        try:
            found = mapped(row, where)
        except RowError as error:
            if on_broken is None:
                raise
            on_broken(error)
        else:
            yield where, found


def _mapper(start: Sequence[tuple[str, Any]], columns: Columns) -> Callable[[Any, str], dict[str, Any]]:
    """Return what maps a row, named by its place; the first rows of the file tell names and how winners are counted."""
    if not isinstance(columns, Mapping):
        return lambda row, where: {name: _cell(row, name, where) for name in columns}
    names = dict.fromkeys(str(name) for _, row in start if isinstance(row, Mapping) for name in row)
    roles = _roles(columns, names) if start else {}
    tie_value = roles.pop("tie") if "tie" in roles and roles["tie"] not in names else None
    by_votes = bool({"votes_a", "votes_b", "votes_tie"} & roles.keys())
    whole = {"answer_a", "answer_b"} | ({"votes_a", "votes_b"} if by_votes else {"winner"})
    judged = whole & roles.keys()
    # One of ours that stands in the file under its own name need not be said.
    roles |= {role: role for role in whole - judged if judged and role in names}
    judged = whole & roles.keys()
    if judged and judged != whole:
        missing = min(whole - judged)
        raise ConfigError(f"columns name {' and '.join(sorted(judged))} but not {missing}; give all of them")
    winners = [row.get(roles.get("winner", "")) for _, row in start if isinstance(row, Mapping)] if judged else []
    base = _base(winners)
    taken = set(roles.values())

    def mapped(row: Any, where: str) -> dict[str, Any]:
        found = {role: _cell(row, column, where) for role, column in roles.items()}
        others = {name: value for name, value in row.items() if name not in taken and name not in found}
        if by_votes:
            found = _voted(found, roles, where)
        elif judged:
            found = _judged(found, roles, (base, tie_value), where)
        return {**found, **others}

    return mapped


def _roles(columns: Mapping[str, str], names: Mapping[str, None]) -> dict[str, str]:
    """Return our name to the file's column, whichever way round each pair was written."""
    roles: dict[str, str] = {}
    for left, right in columns.items():
        ours_right, ours_left = SAME_ROLE.get(right, right), SAME_ROLE.get(left, left)
        if left in names and ours_right in ROLES:
            role, column = ours_right, left
        elif ours_left in ROLES and (right in names or ours_left == "tie"):
            role, column = ours_left, right
        elif left in names or right in names:
            wrong, known = (right, left) if left in names else (left, right)
            if known in ROLES:
                remedy = f"{known!r} is read as it stands; map files whose columns differ one by one, then merge them"
                raise ConfigError(f"columns: {wrong!r} is no column; the file has: {listed(names)}; {remedy}")
            near = nearest(wrong, ROLES)
            raise ConfigError(
                f"columns: {wrong!r} is none of ours; {f'did you mean {near!r}?' if near else listed(ROLES)}"
            )
        else:
            raise ConfigError(f"columns: neither {left!r} nor {right!r} is a column; the file has: {listed(names)}")
        if role in roles:
            raise ConfigError(f"columns name {role} twice: {roles[role]!r} and {column!r}; give it once")
        roles[role] = column
    return roles


def _cell(row: object, column: str, where: str) -> Any:
    if not isinstance(row, Mapping) or column not in row:
        found = listed(row) if isinstance(row, Mapping) else describe(row)
        raise row_error(where, "missing column", f"no column {column!r}; the row has: {found}")
    return row[column]


def _base(winners: Iterable[Any]) -> int | None:
    """Return the number of the first answer where winners are numbers: 0 or 1; None where that is not clear."""
    found = {number for number in map(_number, winners) if number is not None}
    return 0 if 0 in found and 2 not in found else 1 if 2 in found and 0 not in found else None


def _number(value: Any) -> int | None:
    try:
        return int(value) if not isinstance(value, bool) and float(value) == int(float(value)) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _judged(
    row: dict[str, Any], roles: Mapping[str, str], said: tuple[int | None, str | None], where: str
) -> dict[str, Any]:
    """Turn two answers and who won into a pair."""
    base, tie_value = said
    sides = (row.pop("answer_a"), row.pop("answer_b"))
    winner, tie = row.pop("winner"), row.pop("tie", None)
    is_tie = tie not in (None, "") and check_flag(tie, where, roles.get("tie", "tie"))
    place = None if is_tie else _winner(winner, sides, (roles["answer_a"], roles["answer_b"]), base, tie_value)
    if place is None and not is_tie:
        message = f"column {roles['winner']!r} is {describe(winner)}, which names no winner"
        accepted = f"a column, a or b, tie, or 0 and 1 (or 1 and 2) for {roles['answer_a']!r} and {roles['answer_b']!r}"
        raise row_error(where, "no winner", f"{message}; accepted: {accepted}")
    first = 0 if place in (None, 2) else int(place or 0)
    pair = {**row, "chosen": sides[first], "rejected": sides[1 - first]}
    return {**pair, "tie": True} if is_tie or place == 2 else pair


def _voted(row: dict[str, Any], roles: Mapping[str, str], where: str) -> dict[str, Any]:
    """Turn two answers and how many votes each got into a pair with the share of votes as its soft label.

    A vote for a tie is half a vote for each side; models of ties read their share apart. The answer with more votes is
    the chosen one.
    """
    sides, counts = (row.pop("answer_a"), row.pop("answer_b")), []
    for role in ("votes_a", "votes_b", "votes_tie"):
        value = row.pop(role, 0)
        number = check_number(value, where, roles.get(role, role)) if value not in (None, "") else 0.0
        if number < 0:
            raise row_error(where, "no votes", f"column {roles[role]!r} is {describe(value)}; votes are 0 or more")
        counts.append(number)
    first, second, ties = counts
    if not first + second + ties:
        columns = " and ".join(repr(roles[role]) for role in ("votes_a", "votes_b"))
        raise row_error(where, "no votes", f"columns {columns} hold no vote; leave the row out, or count its votes")
    share = (max(first, second) + ties / 2) / (first + second + ties)
    place = int(second > first)
    found = {**row, "chosen": sides[place], "rejected": sides[1 - place], "probability": share}
    return found | ({"tie_share": ties / (first + second + ties)} if ties or share == 0.5 else {})


def _winner(
    value: object, sides: tuple[Any, Any], columns: tuple[str, str], base: int | None, tie_value: str | None
) -> int | None:
    """Return 0 or 1 for the better answer, 2 for a tie, None for what says neither."""
    plain = str(value).strip().lower().replace(" ", "_")
    if tie_value is not None and plain == tie_value.strip().lower().replace(" ", "_"):
        return 2
    number = _number(value)
    if number is not None:
        return number - base if base is not None and number - base in (0, 1) else None
    for place, names in enumerate((FIRST, SECOND)):
        if value == columns[place] or plain in names or (isinstance(value, str) and value == sides[place]):
            return place
    return 2 if plain in TIES and value is not None else None
