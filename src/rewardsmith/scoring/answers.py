"""One rule for an answer that has no reward: it costs itself, never its prompt and never its neighbours.

An answer may be missing (a null), be no text, be too long, be refused by the chat template, or get a reward that is
not finite. Files write null for it, `RewardModel.score` gives None, the server null, each with its reason, and `rank`
passes it by. Its neighbours are scored as they would be without it. A prompt fails where none of its answers has one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from rewardsmith.errors import DataError, RewardsmithError, ScoringError, TooLongError, UnreachableError, try_halves
from rewardsmith.records import Completion, ScoreRequest, TokenIds, as_text

if TYPE_CHECKING:
    from rewardsmith.scoring.scorer import RewardParts

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Value = TypeVar("Value")
MISSING = "there is no answer (null)"


class NoAnswer(TokenIds):
    """Stands in a request where an answer is missing, so that the others keep their places; `reason` says why."""

    reason: str

    def __new__(cls, reason: str = MISSING) -> NoAnswer:
        self = super().__new__(cls)
        self.reason = reason
        return self


NO_ANSWER = NoAnswer()


def make_request(prompt: object, completions: Sequence[Any], partial: bool = False) -> ScoreRequest:
    """Build a request from what a user gives; None is a missing answer, and with `partial` what cannot be read is one.

    Raises:
        DataError: an answer that is neither text, messages nor token ids, unless `partial`.
    """
    asked = as_text(prompt, "prompt") if prompt else ""
    answers: list[Completion] = []
    for completion in completions:
        try:
            answers.append(NO_ANSWER if completion is None else as_completion(completion))
        except DataError as error:
            if not partial:
                raise
            answers.append(NoAnswer(str(error)))
    return ScoreRequest(asked, tuple(answers))


def as_completion(value: object) -> Completion:
    """Return an answer as a record holds it: text, messages (or one of them), or token ids. Raises DataError."""
    if is_ids(value):
        return TokenIds(value)
    return as_text([value] if isinstance(value, Mapping) and "role" in value else value, "completion")


def is_ids(value: object) -> TypeGuard[Sequence[int]]:
    """Whether an answer is the token ids of its whole text."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence) or not value:
        return False
    return all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value)


def vocabulary_size(scorer: object) -> int:
    """Return how many token ids a model has embeddings for."""
    config: Any = getattr(getattr(scorer, "model", None), "config", None)
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text_config, "vocab_size", None) or len(getattr(scorer, "tokenizer", ())))


def require_vocabulary(scorer: object, ids: TokenIds) -> None:
    """Refuse token ids that a model has no embeddings for. Raises ScoringError."""
    size = vocabulary_size(scorer)
    if bad := next((token for token in ids if not 0 <= token < size), None):
        raise ScoringError(f"token id {bad} is outside the vocabulary of {size}")


def is_missing(completion: Completion) -> bool:
    """Whether a place among the completions of a request holds no answer."""
    return isinstance(completion, NoAnswer)


def present(request: ScoreRequest) -> ScoreRequest:
    """Return the request without missing answers."""
    return _only(request, [i for i, answer in enumerate(request.completions) if not is_missing(answer)])


def without_lost(
    run: Callable[[ScoreRequest], Result], request: ScoreRequest
) -> tuple[Result, dict[int, RewardsmithError]]:
    """Run a request without the answers for which it fails.

    Returns:
        What `run` gave for the answers that are left, in order, and the error of each that was lost, by its place.

    Raises:
        RewardsmithError: no answer is left; the error of all of them together.
        UnreachableError: a server does not answer, which is no fault of an answer.
    """
    lost: dict[int, RewardsmithError] = {}
    places = []
    for place, answer in enumerate(request.completions):
        if isinstance(answer, NoAnswer):
            lost[place] = ScoringError(answer.reason)
        else:
            places.append(place)
    first: RewardsmithError = ScoringError(MISSING)
    whole = len(places)
    while places:
        asked = _only(request, places)
        try:
            return run(asked), lost
        except UnreachableError:
            raise
        except RewardsmithError as error:
            first = error if len(places) == whole else first
            found = _culprits(run, asked, error)
        lost |= {places[index]: error for index, error in found.items()}
        places = [place for index, place in enumerate(places) if index not in found]
    raise first


def in_places(values: Sequence[Value | None], lost: Mapping[int, object], count: int) -> list[Value | None]:
    """Return the values of the answers that are left with None at the place of each that was lost."""
    stream = iter(values)
    return [None if place in lost else next(stream) for place in range(count)]


def _only(request: ScoreRequest, places: Sequence[int]) -> ScoreRequest:
    if len(places) == len(request.completions):
        return request
    return replace(request, completions=tuple(request.completions[place] for place in places))


def _culprits(
    run: Callable[[ScoreRequest], Result], asked: ScoreRequest, error: RewardsmithError
) -> Mapping[int, RewardsmithError]:
    """Return which answers cause an error: those that it names, or that fail alone; all where none does."""
    if isinstance(error, TooLongError) and error.answers:
        return error.answers
    everybody = range(len(asked.completions))
    found: dict[int, RewardsmithError] = {}
    for index in everybody if len(everybody) > 1 else ():
        try:
            run(_only(asked, [index]))
        except UnreachableError:
            raise
        except RewardsmithError as own:
            # A whole dialogue is cut where it is like the others: alone it may be too long when it is not with them.
            if isinstance(error, TooLongError) or not isinstance(own, TooLongError):
                found[index] = own
    return found or dict.fromkeys(everybody, error)


def score_answers(
    score: Callable[[Sequence[ScoreRequest]], list[list[RewardParts]]], requests: Sequence[ScoreRequest], partial: bool
) -> list[list[RewardParts | None]]:
    """Score requests, None for an answer that is missing; with `partial` also for one that cannot be scored."""
    whole = [present(request) for request in requests]
    asked = [request for request in whole if request.completions]
    found: Sequence[list[RewardParts] | Exception]
    found = try_halves(score, asked, RewardsmithError) if partial else score(asked) if asked else []
    stream, rows = iter(found), []
    for request, left in zip(requests, whole, strict=True):
        missing = {place: answer for place, answer in enumerate(request.completions) if isinstance(answer, NoAnswer)}
        for place, answer in missing.items():
            if answer is not NO_ANSWER:
                logger.warning("completion %d has no reward: %s", place, answer.reason)
        row: list[RewardParts | None] = list(_rest(score, left, next(stream))) if left.completions else []
        rows.append(in_places(row, missing, len(request.completions)))
    return rows


def _rest(
    score: Callable[[Sequence[ScoreRequest]], list[list[RewardParts]]],
    request: ScoreRequest,
    found: list[RewardParts] | Exception,
) -> Sequence[RewardParts | None]:
    """Return what was found for a request; of one that failed, what its answers give without those at fault."""
    if not isinstance(found, Exception):
        return found
    try:
        parts, lost = without_lost(lambda asked: score([asked])[0], request)
    except RewardsmithError as error:
        parts, lost = [], dict.fromkeys(range(len(request.completions)), error)
    for place, why in lost.items():
        logger.warning("completion %d has no reward: %s", place, why)
    return in_places(parts, lost, len(request.completions))
