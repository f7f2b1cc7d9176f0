"""Rewards of a policy's answers, in the form that TRL's trainers call.

A reward function is called by keyword with a batch of samples. All answers of one prompt go to the scorer as one
request, so a reward model computes their prompt once. The policy's tokenizer is never asked: texts and messages
travel, and the reward model renders them by its own template.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from rewardsmith.capabilities import capabilities_of
from rewardsmith.clients.client import ClientOptions, RewardClient, group_samples, in_sample_order
from rewardsmith.clients.opening import open_scorer
from rewardsmith.errors import ConfigError, ScoringError, UnreachableError, calling, try_halves
from rewardsmith.evaluation.scorers import FunctionScorer
from rewardsmith.records import Scorer, ScoreRequest, as_plain
from rewardsmith.rl.columns import Columns, columns_of, is_of_trl, taken_by
from rewardsmith.rl.judges import Comparer, GroupJudge, RubricJudge
from rewardsmith.rl.shaping import RewardOptions, Rewards, shape
from rewardsmith.scoring.ensemble import require_spread
from rewardsmith.scoring.opening import ModelOptions
from rewardsmith.scoring.scorer import RewardParts, RewardScorer, scale_of

logger = logging.getLogger(__name__)
Source = str | Scorer | Comparer | Callable[..., Any]
LogMetric = Callable[[str, float], None]
Result = TypeVar("Result")
LONGEST_PAUSE_SECONDS = 30.0
# Columns of a data set that are fields of a request: what a chat template reads beside the messages.
TEMPLATE_COLUMNS = ("tools", "chat_template_kwargs")
# Where the first so many answers cannot be scored, no later one will be.
FEWEST_TRIED = 8
# So many batches in a row without any difference between answers are worth a warning.
BATCHES_WITHOUT_SIGNAL = 10


def reward_function(
    source: Source | Sequence[Source],
    *,
    weights: Sequence[float] | None = None,
    options: RewardOptions | None = None,
    name: str | None = None,
    asynchronous: bool = False,
    api_key: str | None = None,
    model: ModelOptions | None = None,
) -> RewardFunction:
    """Make a reward function for TRL's `reward_funcs`, and for everything in `rewardsmith.rl`.

    Args:
        source: a reward model (loaded, or its folder or hub id; several with commas between them are one ensemble),
            the address of a server, a judge, a comparer (all answers of a prompt meet), a function that TRL could call,
            or a list of these.
        weights: one a source; the reward is the weighted sum of those that are not None. None is 1 for each.
        options: what is done to the rewards of a scorer.
        name: under which TRL logs `rewards/NAME/mean`.
        asynchronous: answer as a coroutine, so that several functions of a trainer wait for servers together.
        api_key: for a server with keys.
        model: how a model that is named is run.

    Example:
        ```python
        trainer = GRPOTrainer(model=policy, reward_funcs=reward_function("my-reward-model", ...), ...)
        ```
    """
    options = options or RewardOptions()
    several: list[Source] = list(source) if isinstance(source, list | tuple) else [source]  # type: ignore[list-item]
    if not several:
        raise ConfigError("give one source of rewards or more")
    given = [1.0] * len(several) if weights is None else list(weights)
    if len(given) != len(several) or not all(isinstance(one, int | float) and math.isfinite(one) for one in given):
        raise ConfigError(f"weights must be {len(several)} finite numbers, one a source, not {given}")
    parts = [_open(one, options, api_key, model) for one in several]
    names: Counter[str] = Counter()
    for part in parts:
        names[part.name] += 1
        # Two of one name would be one line of the log, the mean of both.
        part.name += f"-{names[part.name]}" if names[part.name] > 1 else ""
    kind = _AsyncRewardFunction if asynchronous else RewardFunction
    return kind(parts, given, name)


def open_gold(name: str, model: ModelOptions | None, columns: Columns) -> Scorer:
    """Open a second reward that nothing is optimised by; a function of TRL's form gets the columns of the prompts."""
    return given_columns(open_scorer(name, model), columns)


def given_columns(scorer: Scorer, columns: Columns) -> Scorer:
    """Return a function of TRL's form as a scorer that gets the columns of the prompts; other scorers as they are."""
    is_function = isinstance(scorer, FunctionScorer) and is_of_trl(scorer.function)
    return reward_function(scorer.function).with_columns(columns) if is_function else scorer  # type: ignore[attr-defined]


def _open(source: Source, options: RewardOptions, api_key: str | None, model: ModelOptions | None) -> _Part:
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        # Waiting is done here, so that a run says that it waits and for how long.
        return _ScorerPart(RewardClient(source, api_key, ClientOptions(max_attempts=1)), options)
    if isinstance(source, str):
        opened = open_scorer(source, model)
        is_function = isinstance(opened, FunctionScorer) and is_of_trl(opened.function)
        return _FunctionPart(opened.function) if is_function else _ScorerPart(opened, options)  # type: ignore[attr-defined]
    if isinstance(source, Scorer) and not isinstance(source, RewardFunction):
        return _ScorerPart(source, options)
    if callable(source):
        return _FunctionPart(source)
    if isinstance(source, Comparer):
        return _ScorerPart(GroupJudge(source), options)
    raise ConfigError(f"{source!r} is no source of rewards; give a model, an address, a judge or a function")


class RewardFunction:
    """Several sources of reward as one function; made by `reward_function`.

    Args:
        parts: what is asked.
        weights: one a part.
        name: in logs; None takes the first part's.
    """

    def __init__(self, parts: Sequence[_Part], weights: Sequence[float], name: str | None = None) -> None:
        self.parts, self.weights = tuple(parts), tuple(weights)
        self.name = self.__name__ = name or "+".join(part.name for part in parts)
        self.batches_without_signal = 0

    def with_columns(self, columns: Columns) -> RewardFunction:
        """Give the functions of TRL's form among the sources what `load_columns` read of a file of prompts."""
        for part in self.parts:
            if isinstance(part, _FunctionPart):
                part.columns = columns
        return self

    @property
    def sources(self) -> list[object]:
        """What is asked: scorers and functions."""
        return [part.source for part in self.parts]

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Score as any scorer does. Raises ScoringError also where an answer gets no reward."""
        prompts = [as_plain(request.prompt) for request in requests for _ in request.completions]
        said = [as_plain(completion) for request in requests for completion in request.completions]
        # What the reward model's template reads beside messages goes along, under the names of TRL's columns.
        columns = {
            name: [getattr(request, name) for request in requests for _ in request.completions]
            for name in TEMPLATE_COLUMNS
            if any(getattr(request, name) for request in requests)
        }
        rewards = self.score(prompts, said, **columns)
        if None in rewards:
            place = rewards.index(None)
            raise ScoringError(f"{self.name} gave no reward for the answer {str(said[place])[:60]!r}")
        found = iter(float(reward) for reward in rewards if reward is not None)
        return [list(islice(found, len(request.completions))) for request in requests]

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: object) -> Any:
        """Return one reward a sample, None where nothing could score it. TRL calls this by keyword."""
        return self.score(prompts, completions, **columns)

    def score(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: object) -> Rewards:
        """Return one reward a sample, None where nothing could score it.

        Raises:
            UnreachableError: a server stayed away for longer than `wait_seconds`.
            ScoringError: a reward is NaN or infinite.
        """
        asked = [part.ask(prompts, completions, columns) for part in self.parts]
        return self._finish(prompts, asked, columns.get("log_metric"))

    def _finish(self, prompts: Sequence[Any], asked: Sequence[Rewards], log_metric: object) -> Rewards:
        """Check, weigh and add what the parts gave."""
        for part, rewards in zip(self.parts, asked, strict=True):
            _check(part.name, prompts, rewards)
            if callable(log_metric):
                _log_part(part, rewards, log_metric, alone=len(self.parts) == 1)
        total: Rewards = []
        for row in zip(*asked, strict=True):
            known = [weight * reward for weight, reward in zip(self.weights, row, strict=True) if reward is not None]
            total.append(math.fsum(known) if known else None)
        self._watch_signal(prompts, total)
        return total

    def _watch_signal(self, prompts: Sequence[Any], rewards: Rewards) -> None:
        """Warn once where the answers of a prompt never differ in reward."""
        groups: dict[str, set[float]] = {}
        for prompt, reward in zip(prompts, rewards, strict=True):
            if reward is not None:
                groups.setdefault(str(prompt), set()).add(reward)
        if len(rewards) <= len(groups):
            return
        has_signal = any(len(values) > 1 for values in groups.values())
        self.batches_without_signal = 0 if has_signal else self.batches_without_signal + 1
        if self.batches_without_signal == BATCHES_WITHOUT_SIGNAL:
            logger.warning(
                "%s: in %d batches all answers of a prompt had one reward, so there is nothing to learn from; raise "
                "temperature, or look whether answers are equal or the reward is clipped",
                self.__name__,
                BATCHES_WITHOUT_SIGNAL,
            )


class _AsyncRewardFunction(RewardFunction):
    """The same as a coroutine; every part waits in a thread of its own."""

    async def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: object) -> Any:
        """Return one reward a sample, None where nothing could score it. TRL awaits this."""
        calls = [asyncio.to_thread(part.ask, prompts, completions, columns) for part in self.parts]
        return self._finish(prompts, await asyncio.gather(*calls), columns.get("log_metric"))


class _Part(ABC):
    """One source of rewards."""

    name: str
    source: object

    @property
    def counts(self) -> Mapping[str, int]:
        """What a judge counts, such as verdicts that could not be read."""
        return {}

    @abstractmethod
    def ask(self, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, object]) -> Rewards:
        """Return one reward a sample."""


class _FunctionPart(_Part):
    """A function that TRL could call, sync or async."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.source = self.function = function
        self.columns: Columns = {}
        self.name = getattr(function, "__name__", type(function).__name__)

    def ask(self, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, object]) -> Rewards:
        """Call the function. Raises ScoringError when it fails, or gives another number of rewards."""
        # Whatever it raises, the run shall stop with a checkpoint.
        with calling(self.name):
            known = {**columns_of(self.columns, prompts), **columns} if self.columns else dict(columns)
            batch = {"prompts": prompts, "completions": completions, **known}
            given = self.function(**taken_by(self.function, batch))
            rewards = list(_result_of(given) if isinstance(given, Coroutine) else given)
            found = [None if reward is None else float(reward) for reward in rewards]
        if len(found) != len(prompts):
            raise ScoringError(f"{self.name} gave {len(found)} rewards for {len(prompts)} answers; give one for each")
        return found


def _result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, in a thread of its own: a notebook has a loop that runs already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


class _ScorerPart(_Part):
    """A scorer, all answers of a prompt in one request."""

    def __init__(self, scorer: Scorer, options: RewardOptions) -> None:
        self.source = self.scorer = scorer
        self.options = options
        self.name = str(scorer.name).rstrip("/").split("/")[-1]
        self.num_not_scored, self.has_scored = 0, False
        self._deviation: float | None = None
        if options.normalized and not isinstance(scorer, RewardScorer | RewardClient):
            raise ConfigError(f"{scorer.name} has no contract to normalise by; leave normalized out")
        if options.needs_parts and not capabilities_of(scorer).gives_parts:
            raise ConfigError(f"{scorer.name} does not say what its members give; leave combine and uncertainty out")
        if isinstance(scorer, RewardScorer):
            require_spread(scorer, options.combine if options.uncertainty is None else "uncertainty")
        if options.normalized and options.length and isinstance(scorer, RewardScorer) and len(scorer.members) > 1:
            raise ConfigError(
                f"{scorer.name}: each member is divided by a deviation of its own, a length penalty is in raw rewards; "
                "leave length or normalized out"
            )

    @property
    def counts(self) -> Mapping[str, int]:
        """What a judge counts, all tournaments so far."""
        return self.scorer.counts if isinstance(self.scorer, GroupJudge | RubricJudge) else {}

    def ask(self, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, object]) -> Rewards:
        """Score samples; None where the scorer refuses one."""
        tools, arguments = (_rows_of(columns.get(name)) for name in TEMPLATE_COLUMNS)
        requests, members = group_samples(prompts, completions, tools, arguments)
        found = self._patiently(lambda: self._read_judge(requests)) if self._is_judge else self._read_each(requests)
        errors = [part for row in found for part in row if isinstance(part, ScoringError)]
        if errors and not self.num_not_scored:
            logger.warning("%s: %s; such answers get no reward", self.name, errors[0])
        self.num_not_scored += len(errors)
        rows = [[None if isinstance(part, ScoringError) else part for part in row] for row in found]
        self.has_scored |= any(part is not None for row in rows for part in row)
        if not self.has_scored and self.num_not_scored >= FEWEST_TRIED:
            raise ScoringError(f"{self.name} scored none of the first {self.num_not_scored} answers: {errors[-1]}")
        unit = self._length_unit()
        return in_sample_order(
            [shape(self.options, r, row, unit) for r, row in zip(requests, rows, strict=True)], members
        )

    @property
    def _is_judge(self) -> bool:
        return isinstance(self.scorer, GroupJudge | RubricJudge)

    def _read_judge(self, requests: Sequence[ScoreRequest]) -> list[list[RewardParts | ScoringError]]:
        """Ask a judge, which says of each answer by itself why it has no reward."""
        return [
            [one if isinstance(one, ScoringError) else RewardParts(one) for one in row]
            for row in self.scorer.judge(requests)  # type: ignore[attr-defined]
        ]

    def _read_each(self, requests: Sequence[ScoreRequest]) -> list[list[RewardParts | ScoringError]]:
        """Score, and where a prompt fails each of its answers alone, so that one takes no other along."""

        def read(batch: Sequence[ScoreRequest]) -> list[list[RewardParts]]:
            return self._patiently(lambda: self._read(batch))

        found: list[list[RewardParts | ScoringError]] = []
        for request, row in zip(requests, try_halves(read, requests, ScoringError), strict=True):
            if not isinstance(row, Exception):
                found.append(list(row))
                continue
            single = [replace(request, completions=(one,)) for one in request.completions]
            alone = [row] if len(single) == 1 else try_halves(read, single, ScoringError)
            found.append([one if isinstance(one, ScoringError) else one[0] for one in alone])  # type: ignore[index]
        return found

    def _patiently(self, ask: Callable[[], Result]) -> Result:
        """Ask, and wait for a server that does not answer. Raises UnreachableError."""
        until, pause = time.monotonic() + self.options.wait_seconds, 0.5
        while True:
            try:
                return ask()
            except UnreachableError as error:
                if time.monotonic() + pause > until:
                    waited = f"after waiting {self.options.wait_seconds:g} s"
                    raise UnreachableError(f"{error}; given up {waited}") from error
                logger.warning("%s: %s; waiting %.1f s", self.name, error, pause)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _read(self, requests: Sequence[ScoreRequest]) -> list[list[RewardParts]]:
        scorer = self.scorer
        if isinstance(scorer, RewardScorer | RewardClient) and self.options.needs_parts:
            return scorer.score_parts(requests, normalized=self.options.normalized)
        return [[RewardParts(reward) for reward in row] for row in scorer.score_requests(requests)]

    def _length_unit(self) -> float:
        """Return what a length penalty, which is in raw rewards, is divided by. Raises ConfigError without one."""
        if not (self.options.normalized and self.options.length):
            return 1.0
        if self._deviation is None:
            scorer = self.scorer
            if isinstance(scorer, RewardClient):
                self._deviation = scorer.model_card().get("rewardsmith", {}).get("reward_std")
            else:
                self._deviation = scale_of(scorer)[1]
        if not self._deviation:
            raise ConfigError(
                f"{self.scorer.name} names no one standard deviation, and a length penalty is in raw rewards; leave "
                "length or normalized out"
            )
        return self._deviation


def _rows_of(column: object) -> Sequence[Any] | None:
    """Return a column that has one value a sample; anything else under its name is not of the template."""
    return column if isinstance(column, Sequence) and not isinstance(column, str) and any(column) else None


def _check(name: str, prompts: Sequence[Any], rewards: Rewards) -> None:
    """Refuse a reward that is no number: averaged into advantages it would ruin the policy without a word."""
    for prompt, reward in zip(prompts, rewards, strict=True):
        if reward is not None and not math.isfinite(reward):
            text = " ".join(str(prompt).split())[:60]
            raise ScoringError(
                f"{name} gave the reward {reward} for an answer to {text!r}; return None for what cannot be scored"
            )


def _log_part(part: _Part, rewards: Rewards, log_metric: LogMetric, *, alone: bool) -> None:
    known = [reward for reward in rewards if reward is not None]
    if known and not alone:
        log_metric(f"rewards/{part.name}/mean", math.fsum(known) / len(known))
    log_metric(f"rewards/{part.name}/not_scored", 1 - len(known) / len(rewards))
    for name, count in part.counts.items():
        log_metric(f"rewards/{part.name}/{name}", float(count))
