"""Score some rows together, so that one that cannot be scored gets its reason and does not hurt the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from rewardsmith.errors import RewardsmithError, RowError, ScoringError, row_error, try_halves
from rewardsmith.records import ScoreRequest, text_key
from rewardsmith.scoring.bulk.ledger import Verdict
from rewardsmith.scoring.bulk.scored_rows import read_request
from rewardsmith.scoring.parts import RewardParts
from rewardsmith.scoring.scorer import IdScorer, RewardScorer

Entry = tuple[str, Mapping[str, Any] | RowError]


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row as token ids: its place, a key of its prompt, its sequences, and how many of them were cut."""

    index: int
    prompt_key: str
    sequences: list[list[int]]
    num_cut: int


def score_entries(model: RewardScorer, entries: Sequence[Entry], with_parts: bool = False) -> list[Verdict]:
    """Score rows; those with one prompt as one group, so that it is computed once.

    A model that gives no reward to one sequence alone, such as one that compares answers, sees row after row instead.
    A text that is too long is the error of its row, unless the model was opened to cut prompts.

    Args:
        with_parts: keep what each reward is made of.
    """
    verdicts: list[Verdict] = [Verdict(where) for where, _ in entries]
    encoded: list[EncodedRow] = []
    for index, (where, row) in enumerate(entries):
        try:
            if isinstance(row, RowError):
                raise row
            request = read_request(row, where)
            if model.capabilities.scores_ids:
                encoded.append(_encode(cast(IdScorer, model), request, where, index))
            else:
                verdicts[index] = _score_alone(model, request, where, with_parts)
        except (RewardsmithError, TypeError, ValueError, KeyError) as error:
            verdicts[index] = _failure(where, error)
    results = try_halves(lambda rows: _score_rows(cast(IdScorer, model), rows, with_parts), encoded, ScoringError)
    for asked, result in zip(encoded, results, strict=True):
        where = entries[asked.index][0]
        failed = isinstance(result, Exception)
        verdicts[asked.index] = _failure(where, result) if failed else _verdict(where, result, asked.num_cut)  # type: ignore[arg-type]
    return verdicts


def _score_alone(model: RewardScorer, request: ScoreRequest, where: str, with_parts: bool) -> Verdict:
    """Score the answers of one row together and without other rows, as the model itself does it."""
    parts = model.score_parts([request])[0]
    num_cut = 0
    if model.truncation != "error":
        # Members that tokenise differently cut differently; the row counts what the one that cuts most had to cut.
        members = [cast(IdScorer, member) for member in model.members]
        num_cut = max(sum(_is_long(ids, member) for ids in member.encode(request)) for member in members)
    return _verdict(where, parts if with_parts else [part.reward for part in parts], num_cut)


def _is_long(ids: Sequence[int], model: IdScorer) -> bool:
    limit = model.capabilities.max_length
    return limit is not None and len(ids) > limit


def _verdict(where: str, found: Sequence[float] | Sequence[RewardParts], cut: int = 0) -> Verdict:
    """Keep rewards, and their parts where they have some."""
    parts = [entry for entry in found if isinstance(entry, RewardParts)]
    if not parts:
        return Verdict(where, tuple(found), cut=cut)  # type: ignore[arg-type]
    return Verdict(where, tuple(p.reward for p in parts), parts=json.dumps([p.to_dict() for p in parts]), cut=cut)


def _encode(model: IdScorer, request: ScoreRequest, where: str, index: int) -> EncodedRow:
    """Return the token ids of a row, cut where that was asked for. Raises RowError for what is too long."""
    sequences = model.encode(request)
    num_long = sum(_is_long(ids, model) for ids in sequences)
    key = text_key(request.prompt) or f"\x01{index}"
    if not num_long:
        return EncodedRow(index, key, sequences, 0)
    if model.truncation == "error":
        longest, limit = max(map(len, sequences)), model.capabilities.max_length
        message = f"{longest} tokens, the model reads {limit}; shorten the text, or cut prompts with --truncate-prompt"
        raise row_error(where, "too long", message)
    try:
        return EncodedRow(index, key, model.cut_prompts(request, sequences), num_long)
    except ScoringError as error:
        raise row_error(where, "too long", str(error)) from error


def _score_rows(model: IdScorer, rows: Sequence[EncodedRow], with_parts: bool) -> list[list[float] | list[RewardParts]]:
    """Score rows, those with one prompt as one group, and return what belongs to each, in order."""
    groups: dict[str, list[EncodedRow]] = {}
    for row in rows:
        groups.setdefault(row.prompt_key, []).append(row)
    score = model.read_encoded if with_parts else model.score_encoded
    rewards: Any = score([[ids for row in members for ids in row.sequences] for members in groups.values()])
    results: dict[int, Any] = {}
    for members, values in zip(groups.values(), rewards, strict=True):
        stream = iter(values)
        results.update((row.index, list(islice(stream, len(row.sequences)))) for row in members)
    return [results[row.index] for row in rows]


def _failure(where: str, error: Exception) -> Verdict:
    message = " ".join(str(error).split()) or type(error).__name__
    reason = error.reason if isinstance(error, RowError) else "cannot be scored"
    return Verdict(where, (), reason, message if message.startswith(where) else f"{where}: {message}")
