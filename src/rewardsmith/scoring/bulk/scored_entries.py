"""Score some rows together, so that one that cannot be scored gets its reason and does not hurt the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from rewardsmith.errors import RewardsmithError, RowError, ScoringError, row_error
from rewardsmith.records import ScoreRequest, text_key
from rewardsmith.scoring.bulk.ledger import Verdict
from rewardsmith.scoring.bulk.scored_rows import read_request
from rewardsmith.scoring.parts import RewardParts

Entry = tuple[str, Mapping[str, Any] | RowError]


class EncodedScorer(Protocol):
    """What bulk scoring asks of a model; `RewardModel` is one."""

    @property
    def max_length(self) -> int | None: ...

    def encode(self, request: ScoreRequest) -> list[list[int]]: ...

    def score_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]: ...


def score_entries(model: EncodedScorer, entries: Sequence[Entry]) -> list[Verdict]:
    """Score rows; those with one prompt as one group, so that it is computed once.

    A model whose `scores_by_row` is true, such as one that compares the answers of a row, sees row after row instead.
    One whose `keeps_parts` is true gives the parts of each reward, too; one whose `cuts_prompts` is true has the start
    of a prompt cut where a text is too long, which is the error of its row otherwise.
    """
    verdicts: list[Verdict] = [Verdict(where) for where, _ in entries]
    is_by_row, keeps_parts = getattr(model, "scores_by_row", False), getattr(model, "keeps_parts", False)
    encoded: dict[int, tuple[str, list[list[int]]]] = {}
    cut: dict[int, int] = {}
    for index, (where, row) in enumerate(entries):
        try:
            if isinstance(row, RowError):
                raise row
            request = read_request(row, where)
            if is_by_row:
                verdicts[index] = _score_alone(model, request, where)
            else:
                sequences, cut[index] = _encode(model, request, where)
                encoded[index] = text_key(request.prompt), sequences
        except (RewardsmithError, TypeError, ValueError, KeyError) as error:
            verdicts[index] = _failure(where, error)
    score: Any = getattr(model, "read_encoded" if keeps_parts else "score_encoded")
    for index, result in _score_rows(score, encoded).items():
        where = entries[index][0]
        failed = isinstance(result, Exception)
        verdicts[index] = _failure(where, result) if failed else _verdict(where, result, cut[index])  # type: ignore[arg-type]
    return verdicts


def _score_alone(model: Any, request: ScoreRequest, where: str) -> Verdict:
    """Score the answers of one row together and without other rows, as the model itself does it."""
    if not getattr(model, "cuts_prompts", False):
        ask = model.score_parts if getattr(model, "keeps_parts", False) else model.score_requests
        return _verdict(where, ask([request])[0])
    parts = model.score_parts([request], truncation="truncate_prompt")[0]
    cut = max(sum(_is_long(ids, member) for ids in member.encode(request)) for member in model.members)
    return _verdict(where, parts if model.keeps_parts else [part.reward for part in parts], cut)


def _is_long(ids: Sequence[int], model: Any) -> bool:
    return model.max_length is not None and len(ids) > model.max_length


def _verdict(where: str, found: Sequence[float] | Sequence[RewardParts], cut: int = 0) -> Verdict:
    """Keep rewards, and their parts where they have some."""
    parts = [entry for entry in found if isinstance(entry, RewardParts)]
    if not parts:
        return Verdict(where, tuple(found), cut=cut)  # type: ignore[arg-type]
    return Verdict(where, tuple(p.reward for p in parts), parts=json.dumps([p.to_dict() for p in parts]), cut=cut)


def _encode(model: EncodedScorer, request: ScoreRequest, where: str) -> tuple[list[list[int]], int]:
    """Give the sequences of a row and how many of them had to be cut."""
    sequences = model.encode(request)
    num_long = sum(_is_long(ids, model) for ids in sequences)
    if num_long and getattr(model, "cuts_prompts", False):
        cut: Any = model
        try:
            return cut.cut_prompts(request, sequences), num_long
        except ScoringError as error:
            raise row_error(where, "too long", str(error)) from error
    if num_long:
        longest, limit = max(map(len, sequences)), model.max_length
        message = f"{longest} tokens, the model reads {limit}; shorten the text, or cut prompts with --truncate-prompt"
        raise row_error(where, "too long", message)
    return sequences, 0


def _score_rows(
    score: Callable[[list[list[list[int]]]], list[list[float]]], encoded: Mapping[int, tuple[str, list[list[int]]]]
) -> dict[int, list[float] | Exception]:
    """Score rows, those with one prompt as one group; halve the rows until what fails stands alone."""
    if not encoded:
        return {}
    groups: dict[str, list[int]] = {}
    for index, (prompt, _) in encoded.items():
        groups.setdefault(prompt or f"\x01{index}", []).append(index)
    try:
        rewards = score([[s for i in members for s in encoded[i][1]] for members in groups.values()])
    except ScoringError as error:
        if len(encoded) == 1:
            return dict.fromkeys(encoded, error)
        rows, middle = list(encoded.items()), len(encoded) // 2
        return {**_score_rows(score, dict(rows[:middle])), **_score_rows(score, dict(rows[middle:]))}
    results: dict[int, list[float] | Exception] = {}
    for members, values in zip(groups.values(), rewards, strict=True):
        stream = iter(values)
        results.update((i, list(islice(stream, len(encoded[i][1])))) for i in members)
    return results


def _failure(where: str, error: Exception) -> Verdict:
    message = " ".join(str(error).split()) or type(error).__name__
    reason = error.reason if isinstance(error, RowError) else "cannot be scored"
    return Verdict(where, (), reason, message if message.startswith(where) else f"{where}: {message}")
