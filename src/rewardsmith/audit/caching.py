"""Score every text once in a run, and count what a model cannot score."""

from __future__ import annotations

from collections.abc import Sequence

from rewardsmith.errors import ScoringError, try_halves
from rewardsmith.records import Completion, Scorer, ScoreRequest, text_key

CHUNK = 64


class CachingScorer:
    """A scorer that asks another one only for texts it has not scored yet.

    Args:
        scorer: what is asked. All new completions of one request go to it in one request, so a prefix that they
            share is computed once.

    Example:
        >>> from rewardsmith.evaluation import as_scorer
        >>> cached = CachingScorer(as_scorer(lambda prompt, answers: [float(len(a)) for a in answers]))
        >>> cached.score_requests([ScoreRequest("p", ("ab", "ab", "c"))]), cached.num_scored
        ([[2.0, 2.0, 1.0]], 2)
    """

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.name = scorer, scorer.name
        self.num_scored = 0
        self.failures: dict[str, int] = {}
        self._rewards: dict[tuple[str, str], float | None] = {}

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Score requests. Raises ScoringError where a completion cannot be scored."""
        rows = self.try_requests(requests)
        for request, row in zip(requests, rows, strict=True):
            for completion, reward in zip(request.completions, row, strict=True):
                if reward is None:
                    raise ScoringError(f"{self.name} could not score {str(completion)[:60]!r}; shorten or remove it")
        return [[float(reward) for reward in row if reward is not None] for row in rows]

    def try_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float | None]]:
        """Score requests; what cannot be scored is None and is counted in `failures` by its reason."""
        for start in range(0, len(requests), CHUNK):
            self._fill(requests[start : start + CHUNK])
        return [[self._rewards[_key(r, c)] for c in r.completions] for r in requests]

    def _fill(self, requests: Sequence[ScoreRequest]) -> None:
        """Score what is new in `requests`, all at once, or piece by piece where that fails."""
        asked: set[tuple[str, str]] = set()
        new = []
        for request in requests:
            fresh: list[Completion] = []
            for completion in request.completions:
                key = _key(request, completion)
                if key not in self._rewards and key not in asked:
                    asked.add(key)
                    fresh.append(completion)
            if fresh:
                new.append(_with(request, fresh))
        self._score(new)

    def _score(self, requests: Sequence[ScoreRequest]) -> None:
        """Score requests, of one that fails completion by completion, and keep what was found."""
        rows = try_halves(self.scorer.score_requests, requests, ScoringError)
        for request, row in zip(requests, rows, strict=True):
            if isinstance(row, Exception):
                found = try_halves(lambda part, r=request: self._score_some(r, part), request.completions, ScoringError)  # type: ignore[misc]
            else:
                found = list(row)
            for completion, reward in zip(request.completions, found, strict=True):
                self._keep(_key(request, completion), reward)

    def _score_some(self, request: ScoreRequest, completions: Sequence[Completion]) -> list[float]:
        [row] = self.scorer.score_requests([_with(request, completions)])
        return row

    def _keep(self, key: tuple[str, str], reward: float | Exception) -> None:
        if isinstance(reward, Exception):
            self._rewards[key] = None
            reason = "too long" if "tokens" in str(reward) else "cannot be scored"
            self.failures[reason] = self.failures.get(reason, 0) + 1
            return
        self._rewards[key] = float(reward)
        self.num_scored += 1


def _with(request: ScoreRequest, completions: Sequence[Completion]) -> ScoreRequest:
    return ScoreRequest(request.prompt, tuple(completions), request.tools, request.chat_template_kwargs)


def _key(request: ScoreRequest, completion: Completion) -> tuple[str, str]:
    context = [text_key(request.prompt)]
    if request.tools or request.chat_template_kwargs:
        context += [repr(request.tools), repr(request.chat_template_kwargs)]
    return "\x00".join(context), text_key(completion)
