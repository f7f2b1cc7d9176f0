"""What an audit is asked to do, and what one of its parts is: one file a part, one line in `parts.PARTS`.

All parts ask one scorer, which scores every text once in a run and counts what a model cannot score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardsmith.audit.answers import Measure
from rewardsmith.blocks.kinds import Section
from rewardsmith.errors import ScoringError, try_halves
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.findings import Finding
from rewardsmith.records import Completion, PreferenceGroup, Scorer, ScoreRequest, text_key
from rewardsmith.stats.intervals import Resampling

if TYPE_CHECKING:
    from rewardsmith.audit.edits import Probe
    from rewardsmith.audit.sampled_answers import SampledAnswers

CHUNK = 64
# Fewer than of an evaluation: an audit has many intervals.
RESAMPLES = 2_000
Plain = Mapping[str, Any]


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
                # One answer that is too long must not cost the others of its prompt.
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


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What an audit does beside the evaluation.

    Args:
        how: bootstrap samples and seed.
        probes: what is done to answers; None takes all of them, an empty tuple none.
        sample: how many answers are edited, two a prompt.
        variants: the same model in other forms, for the invariances: name to a function that builds it.
        count_tokens: length of a completion in tokens, when known.
        training: groups that the model was trained on, for contamination and novelty.
        folder: of the model, whose record of its training data is read where `training` is not given.
        samples: answers sampled from a policy, for reward variance and over-optimisation.
        prompt_blind: score every answer without its prompt, too, as a baseline; a second pass.
    """

    how: Resampling = Resampling(RESAMPLES)
    probes: Sequence[Probe] | None = None
    sample: int = 500
    variants: Mapping[str, Callable[[], Scorer]] = field(default_factory=dict)
    count_tokens: Measure | None = None
    training: Sequence[PreferenceGroup] = ()
    folder: str | None = None
    samples: SampledAnswers | None = None
    prompt_blind: bool = True


@dataclass(slots=True)
class Context:
    """What a part works with: the scorer with its rewards at hand, the judged groups, and what parts before it found.

    Args:
        scorer: knows the rewards of `scored`.
        scored: the groups with their rewards.
        plan: what was asked for.
        sd: within-prompt standard deviation of rewards, the unit of changes; NaN without a prompt of two answers.
        can_score: whether new texts can be scored; a file of scores cannot.
        found: results of the parts before, by name.
        blind: the groups scored without their prompts, by the baseline's name.
    """

    scorer: CachingScorer
    scored: Sequence[ScoredGroup]
    plan: AuditPlan
    sd: float
    can_score: bool
    found: dict[str, Any] = field(default_factory=dict)
    blind: Mapping[str, Sequence[ScoredGroup]] = field(default_factory=dict)


def plain_values(result: object) -> Any:
    """Return a result as values for JSON; a list item by item."""
    if isinstance(result, list | tuple):
        return [item.to_dict() for item in result]
    return result.to_dict() if hasattr(result, "to_dict") else result


def plain_findings(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return findings as the JSON of an audit holds them; a remedy only where there is one."""
    return [
        {"level": finding.level, "text": finding.message} | ({"remedy": finding.remedy} if finding.remedy else {})
        for finding in findings
    ]


def own_findings(result: object, context: Context) -> list[Finding]:
    """Return the findings that a result holds itself."""
    rows = getattr(result, "findings", None)
    if rows is None:
        plain = plain_values(result)
        rows = (plain.get("findings") or ()) if isinstance(plain, Mapping) else ()
    return [
        row
        if isinstance(row, Finding)
        else Finding(row["level"], str(row.get("check", "")), row["text"], str(row.get("remedy", "")))
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an audit.

    Args:
        name: key of the JSON.
        run: measure; None where it was not asked for or has nothing to measure.
        section: draw the part from the values of the JSON; None where it has none.
        findings: conclude.
        plain: values for JSON.
        after: parts that run before this one, because it reads what they found.
        more: further keys of a result that `section` draws, which results of other commands have.
    """

    name: str
    run: Callable[[Context], Any]
    section: Callable[[Plain], Section | None]
    findings: Callable[[Any, Context], list[Finding]] = own_findings
    plain: Callable[[Any], Any] = plain_values
    more: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Keys of a result that `section` draws."""
        return (self.name, *self.more)


def within_prompt_sd(scored: Sequence[ScoredGroup]) -> float:
    """Return the pooled standard deviation of rewards within prompts; NaN without a group of two."""
    squares = sum(float(np.var(item.rewards)) * len(item.rewards) for item in scored if len(item.rewards) > 1)
    # The mean of each prompt takes one degree of freedom.
    free = sum(len(item.rewards) - 1 for item in scored if len(item.rewards) > 1)
    return math.sqrt(squares / free) if free else math.nan
