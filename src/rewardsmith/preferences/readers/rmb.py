"""RMB (Zhou et al. 2024, arXiv 2410.09893): pairs, and best-of-n lists whose best answer beats every other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rewardsmith.errors import DataError
from rewardsmith.preferences.files import read_rows
from rewardsmith.records import Comparison, Message, PreferenceGroup


def read(path: Path) -> Iterator[PreferenceGroup]:
    """Give one group a row, of the pairwise set or of the best-of-n set; fields may be dictionaries in text form."""
    for where, row in read_rows(path):
        if "bon_best" in row:
            sides = [row["bon_best"], *_unwrap(row.get("loser_list"), where)]
        elif "chosen" in row and "reject" in row:
            sides = [row["chosen"], row["reject"]]
        else:
            raise DataError(f"{where}: needs chosen and reject, or bon_best and loser_list; found {sorted(row)}")
        answers = [_unwrap(side, where) for side in sides]
        texts = list(dict.fromkeys(_answer(answer, where) for answer in answers))
        losers = [texts.index(_answer(answer, where)) for answer in answers[1:]]
        models = {_answer(answer, where): str(answer.get("llm_name")) for answer in reversed(answers)}
        yield PreferenceGroup(
            prompt=tuple(Message.from_dict(m) for m in _turns(_unwrap(row["conversation_input"], where))),
            completions=tuple(texts),
            comparisons=tuple(Comparison(0, loser) for loser in losers),
            models=tuple(models[text] for text in texts),
            source="rmb",
            group_id=str(row.get("pair_uid") or row.get("bon_uid") or where),
            metadata={"subset": path.stem},
        )


def _turns(conversation: Any) -> list[dict[str, Any]]:
    return [{"role": turn["role"], "content": turn["content"]} for turn in conversation]


def _unwrap(value: Any, where: str) -> Any:
    """Read a dictionary or list that was written as text."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError) as error:
        raise DataError(f"{where}: a field is neither an object nor one in text form: {value[:60]!r}") from error


def _answer(value: Any, where: str) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("answer"), str):
        raise DataError(f"{where}: an answer must be an object with the text 'answer', not {str(value)[:60]!r}")
    return value["answer"]
