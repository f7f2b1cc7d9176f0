"""What must not change a reward: the order of the answers, their company, the batch, a second run, the precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rewardsmith.errors import ScoringError
from rewardsmith.records import Scorer, ScoreRequest
from rewardsmith.stats.intervals import Floats

# A hundredth of the within-prompt sd turns 3 pairs in 1,000 at most; kernels in fp32 stay far below it.
TOLERANCE = 0.01
NUM_REQUESTS = 32


@dataclass(frozen=True, slots=True)
class Invariance:
    """What changed when nothing should have.

    Args:
        name: what was done.
        n: rewards compared.
        largest_change: in the reward's own unit; `relative_change` in within-prompt standard deviations.
        pairs: pairs of answers to one prompt whose order was compared.
        flips: pairs whose order turned.
        artificial_ties: pairs that have equal rewards now and had not before.
        ok: no artificial tie, and no change above 0.01 within-prompt standard deviations; None when it was not run.
        note: why it was not run.
    """

    name: str
    n: int
    largest_change: float
    relative_change: float
    pairs: int
    flips: int
    artificial_ties: int
    ok: bool | None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON."""
        plain = asdict(self)
        for name in ("largest_change", "relative_change"):
            plain[name] = plain[name] if math.isfinite(plain[name]) else None
        return plain


def check_invariances(
    scorer: Scorer,
    requests: Sequence[ScoreRequest],
    sd: float,
    *,
    variants: Mapping[str, Callable[[], Scorer]] | None = None,
) -> list[Invariance]:
    """Score `requests` in ways that must agree.

    Args:
        scorer: anything that scores; it is asked directly, without a cache.
        requests: a few dozen are enough to see a systematic fault.
        sd: within-prompt standard deviation of rewards, the scale for what matters.
        variants: name to a function that gives the same model in another form (another precision, padding side, ...).
            Built one after the other, so only one is in memory. A ScoringError of a variant is kept as its note.
    """
    base = scorer.score_requests(requests)
    found = [
        compare_rewards(name, base, score(scorer, requests), sd)
        for name, score in {
            "same again": _again,
            "order of answers": _reversed,
            "every answer alone": _alone,
            "one prompt at a time": _one_by_one,
        }.items()
    ]
    for name, build in (variants or {}).items():
        try:
            found.append(compare_rewards(name, base, build().score_requests(requests), sd))
        except ScoringError as error:
            note = " ".join(str(error).split())[:200]
            found.append(Invariance(name, 0, math.nan, math.nan, 0, 0, 0, None, note))
    return found


def compare_rewards(
    name: str, base: Sequence[Sequence[float]], other: Sequence[Sequence[float]], sd: float
) -> Invariance:
    """Compare two scorings of the same requests.

    Example:
        >>> found = compare_rewards("bf16", [[1.0, 1.01, 3.0]], [[1.0, 1.0, 3.0]], sd=1.0)
        >>> found.flips, found.artificial_ties, found.ok
        (0, 1, False)
    """
    largest, flips, ties, pairs, n = 0.0, 0, 0, 0, 0
    for before, after in zip(base, other, strict=True):
        a, b = np.array(before, dtype=np.float64), np.array(after, dtype=np.float64)
        n += len(a)
        largest = max(largest, float(np.abs(a - b).max(initial=0.0)))
        old, new = _signs(a), _signs(b)
        pairs += len(old)
        flips += int((old * new < 0).sum())
        ties += int(((old != 0) & (new == 0)).sum())
    relative = largest / sd if sd > 0 else math.nan if largest else 0.0
    return Invariance(name, n, largest, relative, pairs, flips, ties, ties == 0 and relative <= TOLERANCE)


def _signs(rewards: Floats) -> Floats:
    """Give the sign of every difference between two answers."""
    first, second = np.triu_indices(len(rewards), 1)
    return np.sign(rewards[first] - rewards[second])


def _again(scorer: Scorer, requests: Sequence[ScoreRequest]) -> list[list[float]]:
    return scorer.score_requests(requests)


def _reversed(scorer: Scorer, requests: Sequence[ScoreRequest]) -> list[list[float]]:
    rows = scorer.score_requests([replace(r, completions=r.completions[::-1]) for r in requests])
    return [list(row)[::-1] for row in rows]


def _alone(scorer: Scorer, requests: Sequence[ScoreRequest]) -> list[list[float]]:
    alone = [replace(request, completions=(c,)) for request in requests for c in request.completions]
    rewards = iter(row[0] for row in scorer.score_requests(alone))
    return [[next(rewards) for _ in request.completions] for request in requests]


def _one_by_one(scorer: Scorer, requests: Sequence[ScoreRequest]) -> list[list[float]]:
    return [scorer.score_requests([request])[0] for request in requests]
