"""Rows that are scored together: one that cannot be scored gets its reason and does not hurt the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

from rewardsmith.capabilities import OutcomeReader
from rewardsmith.errors import (
    RewardsmithError,
    RowError,
    ScoringError,
    TemplateError,
    TooLongError,
    one_line,
    row_error,
    try_halves,
)
from rewardsmith.records import ScoreRequest, fingerprint, text_key
from rewardsmith.scoring.answers import in_places, without_lost
from rewardsmith.scoring.bulk.ledger import Verdict
from rewardsmith.scoring.bulk.rows import AskedRow, Entry, read_answers
from rewardsmith.scoring.scorer import IdScorer, RewardParts, RewardScorer


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row as token ids: its place, a key of its prompt, its sequences, and how many of them were cut."""

    index: int
    prompt_key: str
    sequences: list[list[int]]
    num_cut: int
    asked: AskedRow


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is kept beside rewards: what each is made of, and the probabilities of a row's two answers, by a reader."""

    parts: bool = False
    probabilities: bool = False
    reader: OutcomeReader | None = None

    @property
    def reads_parts(self) -> bool:
        """Whether the rewards alone are not enough."""
        return self.parts or self.probabilities


def score_entries(model: RewardScorer, entries: Sequence[Entry], wanted: Wanted | None = None) -> list[Verdict]:
    """Score rows; those with one prompt as one group, so that it is computed once.

    A model that gives no reward to one sequence alone, such as one that compares answers, sees row after row instead.
    A text that is too long is an error, unless the model was opened to cut prompts. An answer that cannot be read or
    scored costs its own reward by the rule of `rewardsmith.scoring.answers`; a row without any is an error.

    Raises:
        ConfigError: probabilities are wanted, and the model gives none.
    """
    wanted = wanted or Wanted()
    if wanted.probabilities:
        wanted = replace(wanted, reader=model.outcome_reader())
    verdicts: list[Verdict] = [Verdict(where) for where, _ in entries]
    encoded: list[EncodedRow] = []
    for index, (where, row) in enumerate(entries):
        try:
            if isinstance(row, RowError):
                raise row
            asked = read_answers(row, where)
            if wanted.probabilities and len(asked.names) != 2:
                raise row_error(where, "not a pair", f"{len(asked.names)} answers; --probabilities takes rows with two")
            if model.capabilities.scores_ids:
                encoded.append(_encode(cast(IdScorer, model), asked, index))
            else:
                verdicts[index] = _score_alone(model, asked, wanted)
        except (RewardsmithError, TypeError, ValueError, KeyError) as error:
            verdicts[index] = _failure(where, error)
    reads_parts = wanted.reads_parts
    results = try_halves(lambda rows: _score_rows(cast(IdScorer, model), rows, reads_parts), encoded, ScoringError)
    for found, result in zip(encoded, results, strict=True):
        if isinstance(result, Exception) and len(found.sequences) > 1:
            result = _score_each(cast(IdScorer, model), found, reads_parts)
        if isinstance(result, Exception):
            verdicts[found.index] = _failure(found.asked.where, result)
        else:
            verdicts[found.index] = _verdict(found.asked, result, found.num_cut, wanted)
    return [replace(verdict, row=row_hash(row)) for verdict, (_, row) in zip(verdicts, entries, strict=True)]


def row_hash(row: Mapping[str, Any] | RowError) -> str:
    """Return a short hash of what a row holds, the error of one that cannot be read."""
    return fingerprint([str(row) if isinstance(row, RowError) else json.dumps(row, sort_keys=True, default=str)])[:16]


def _score_alone(model: RewardScorer, asked: AskedRow, wanted: Wanted) -> Verdict:
    """Score the answers of one row together and without other rows, as the model itself does it."""

    def score(request: ScoreRequest) -> tuple[list[RewardParts], int]:
        parts = model.score_parts([request])[0]
        if model.truncation == "error":
            return parts, 0
        # Members that tokenise differently cut differently; the row counts what the one that cuts most had to cut.
        members = [cast(IdScorer, member) for member in model.members]
        return parts, max(sum(member.fit(request, model.truncation).cut) for member in members)

    (parts, num_cut), lost = without_lost(score, asked.request)
    _lose(asked, lost, lambda error: error)
    return _verdict(asked, parts, num_cut, wanted)


def _verdict(asked: AskedRow, found: Sequence[float] | Sequence[RewardParts], cut: int, wanted: Wanted) -> Verdict:
    """Keep the rewards of the answers that are left, what is wanted beside, and why others have none."""
    count, lost = len(asked.names), asked.lost
    rewards = in_places([e.reward if isinstance(e, RewardParts) else e for e in found], lost, count)
    whole = [entry for entry in found if isinstance(entry, RewardParts)]
    parts = [entry.to_dict() for entry in whole] if wanted.parts else []
    outcomes = None if wanted.reader is None or lost else wanted.reader.of(*whole)._asdict()
    told = [[asked.names[place], *_told(asked.where, lost[place])] for place in sorted(lost)]
    return Verdict(
        asked.where,
        tuple(rewards),
        parts=json.dumps(in_places(parts, lost, count)) if parts else None,
        cut=cut,
        lost=json.dumps(told) if told else None,
        outcomes=None if outcomes is None else json.dumps(outcomes),
    )


def _lose(asked: AskedRow, found: Mapping[int, Exception], explained: Callable[[Exception], Exception]) -> None:
    """Add answers that were lost; why one could not be read is known already."""
    for place, error in found.items():
        asked.lost.setdefault(place, explained(error))


def _encode(model: IdScorer, asked: AskedRow, index: int) -> EncodedRow:
    """Return the token ids of a row, cut where that was asked for. Raises RowError where all of it is too long."""

    def explained(error: Exception) -> Exception:
        if not isinstance(error, TooLongError):
            return error
        message = str(error)
        if model.truncation == "error":
            limit = model.capabilities.max_length
            message = f"{error.tokens} tokens, the model reads {limit}; shorten the text, or cut prompts with "
            message += "--truncate-prompt"
        return row_error(asked.where, "too long", message)

    try:
        fitted, lost = without_lost(model.fit, asked.request)
    except RewardsmithError as error:
        raise explained(error) from error
    _lose(asked, lost, explained)
    key = text_key(asked.request.prompt) or f"\x01{index}"
    return EncodedRow(index, key, fitted.sequences, sum(fitted.cut), asked)


def _score_each(model: IdScorer, row: EncodedRow, with_parts: bool) -> Any:
    """Score the answers of a row that failed as a whole: its rewards without those that fail, or the first failure."""
    score = model.read_encoded if with_parts else model.score_encoded
    results = try_halves(lambda part: score([list(part)])[0], row.sequences, ScoringError)  # type: ignore[arg-type,return-value]
    places = [place for place in range(len(row.asked.names)) if place not in row.asked.lost]
    failed = {place: found for place, found in zip(places, results, strict=True) if isinstance(found, Exception)}
    if len(failed) == len(places):
        return next(iter(failed.values()))
    _lose(row.asked, failed, lambda error: error)
    return [found for found in results if not isinstance(found, Exception)]


def _score_rows(model: IdScorer, rows: Sequence[EncodedRow], with_parts: bool) -> list[list[float] | list[RewardParts]]:
    """Score rows, those with one prompt as one group, and return what belongs to each, in order."""
    groups: dict[str, list[EncodedRow]] = {}
    for row in rows:
        groups.setdefault(row.prompt_key, []).append(row)
    score = model.read_encoded if with_parts else model.score_encoded
    rewards: Sequence[Sequence[float | RewardParts]] = score(
        [[ids for row in members for ids in row.sequences] for members in groups.values()]
    )
    results: dict[int, Any] = {}
    for members, values in zip(groups.values(), rewards, strict=True):
        stream = iter(values)
        results.update((row.index, list(islice(stream, len(row.sequences)))) for row in members)
    return [results[row.index] for row in rows]


def _failure(where: str, error: Exception) -> Verdict:
    return Verdict(where, (), *_told(where, error))


def _told(where: str, error: Exception) -> tuple[str, str]:
    """Return the class of a failure and its message in one line, which names the row."""
    message = one_line(error, None)
    other = "refused by the chat template" if isinstance(error, TemplateError) else "cannot be scored"
    reason = error.reason if isinstance(error, RowError) else other
    return reason, message if message.startswith(where) else f"{where}: {message}"
