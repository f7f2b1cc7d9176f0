"""What every protocol calls: score requests in, rewards out, with the client's patience watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request

from rewardsmith._version import __version__
from rewardsmith.capabilities import GivesOutcomes, OutcomeReader
from rewardsmith.errors import ConfigError
from rewardsmith.records import ScoreRequest, Text, TokenIds
from rewardsmith.scoring.ensemble import normalised
from rewardsmith.scoring.scorer import scale_of
from rewardsmith.serving.limits import Failure, Outcome, Refusal, ServerSettings, invalid
from rewardsmith.serving.metrics import VISIT, Metrics, Visit
from rewardsmith.serving.queue import Engine
from rewardsmith.serving.requests import NOTHING_SENT, Build, EncodingLimits, ServedModel, Tokeniser, Truncation


@dataclass(frozen=True, slots=True)
class Scored:
    """Outcomes of one HTTP request, one per sequence in order, with their token counts and which were cut."""

    outcomes: list[Outcome]
    tokens: list[int]
    truncated: list[bool]
    sizes: list[int]

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(self.tokens)

    def usage(self) -> dict[str, int]:
        """Return the usage block of OpenAI and vLLM."""
        return {"prompt_tokens": self.num_tokens, "total_tokens": self.num_tokens}

    def headers(self) -> dict[str, str]:
        """Say which sequences were cut, for protocols whose body has no place for it."""
        cut = [str(index) for index, truncated in enumerate(self.truncated) if truncated]
        return {"X-Rewardsmith-Truncated": ",".join(cut)} if cut else {}

    def normalised(self, model: object) -> Scored:
        """Return the same with rewards on the scale of the model's checkpoint, or of each member's."""
        return replace(self, outcomes=[o if isinstance(o, Failure) else normalised(model, o) for o in self.outcomes])

    def rewards(self) -> list[float]:
        """Return every reward. Raises Refusal 500 naming the sequences that have none."""
        self.require()
        return [outcome.reward for outcome in self.outcomes if not isinstance(outcome, Failure)]

    def rewards_or_null(self) -> list[float | None]:
        """Return every reward, None for an answer that was not sent. Raises Refusal 500 naming others without one."""
        self.require()
        return [None if isinstance(outcome, Failure) else outcome.reward for outcome in self.outcomes]

    def require(self) -> None:
        """Raise Refusal 500 naming the sequences that were sent and have no reward."""
        bad = {i: o.reason for i, o in enumerate(self.outcomes) if isinstance(o, Failure) and o is not NOTHING_SENT}
        if bad:
            first = next(iter(bad))
            listed = ", ".join(map(str, list(bad)[:20])) + (", ..." if len(bad) > 20 else "")
            raise Refusal(f"no reward for sequence {listed} of {len(self.outcomes)}: {bad[first]}", 500, "model_error")


class Service:
    """One model with its engine, shared by all protocols.

    Args:
        model: what is served.
        settings: limits and names.
    """

    def __init__(self, model: ServedModel, settings: ServerSettings) -> None:
        if not model.capabilities.scores_ids:
            why = "it compares answers" if model.capabilities.compares else "its members tokenise differently"
            raise ConfigError(
                f"{model.name} cannot be served: a server scores single texts, and {why}; score files with "
                "rewardsmith score, or use it in Python"
            )
        self.model = model
        self.settings = settings
        self.metrics = Metrics()
        self.engine = Engine(model, settings.limits, self.metrics)
        self.metrics.busy_seconds.set_function(lambda: self.engine.busy_seconds)
        self.names = settings.served_names or _names(model.name)
        self.created = int(time.time())
        self._tokeniser = Tokeniser(model, EncodingLimits(settings.max_sequences, settings.limits.max_queued_tokens))

    @property
    def name(self) -> str:
        """The model's name in answers."""
        return self.names[0]

    def check_name(self, asked: str | None) -> None:
        """Raise Refusal 404 when another model is asked for. No name means this one."""
        if asked and asked not in self.names:
            served = ", ".join(self.names)[:500]
            raise Refusal(f"the model {asked[:80]!r} is not served here; served: {served}", 404, "model_not_found")

    async def score(
        self, http: Request, build: Build, truncation: Truncation | None = None, partial: bool = False
    ) -> Scored:
        """Score what `build` makes of the body, unless the client leaves first.

        `partial` makes a completion that cannot be read or encoded a failure of its own, too.

        Raises Refusal; failures of single sequences stand in the result.
        """
        task = asyncio.ensure_future(self._score(http.scope.get(VISIT), build, truncation, partial))
        leaving = asyncio.ensure_future(_left(http))
        try:
            await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            self.metrics.disconnected.inc()
            raise Refusal("the client left", 499, "client_left")
        finally:
            task.cancel()
            leaving.cancel()
            # Both are awaited, so that no task ends in an error that nobody reads.
            await asyncio.gather(task, leaving, return_exceptions=True)

    async def _score(self, visit: Visit | None, build: Build, truncation: Truncation | None, partial: bool) -> Scored:
        with self.engine.admit() as admission:
            started = time.monotonic()
            encoded = await admission.in_time(self._tokeniser.encode(build, truncation, partial))
            self.metrics.tokenise_seconds.observe(time.monotonic() - started)
            self.metrics.truncated.inc(sum(encoded.truncated))
            if visit is not None:
                visit.held.end_turn()
                visit.sequences, visit.tokens = len(encoded.rows), sum(map(len, encoded.rows))
            failures = encoded.failures
            # What could not be read or encoded is not sent to the model; its failure keeps its place.
            scored = iter(await admission.score([row for i, row in enumerate(encoded.rows) if i not in failures]))
            outcomes = [failures[i] if i in failures else next(scored) for i in range(len(encoded.rows))]
        return Scored(outcomes, [len(row) for row in encoded.rows], encoded.truncated, encoded.sizes)

    def require_scale(self) -> None:
        """Refuse normalised rewards of checkpoints that name no mean and standard deviation. Raises Refusal 422."""
        try:
            for member in getattr(self.model, "members", (self.model,)):
                scale_of(member)
        except ConfigError as error:
            raise invalid(str(error)) from error

    def comparing(self) -> OutcomeReader:
        """Return what says how comparisons end. Raises Refusal 422 where the rewards give no probabilities."""
        if not isinstance(self.model, GivesOutcomes):
            raise invalid(f"{self.name} gives no probabilities")
        try:
            return self.model.outcome_reader()
        except ConfigError as error:
            raise invalid(str(error)) from error

    def reward_scale(self) -> tuple[float | None, float | None]:
        """Return mean and standard deviation of the contract, or of a foreign model's config; None without them."""
        source = self.model.contract or getattr(self.model, "imported", None)
        return getattr(source, "reward_mean", None), getattr(source, "reward_std", None)

    def card(self) -> dict[str, Any]:
        """Say which model gives the rewards and by which rule."""
        mean, std = self.reward_scale()
        contract = self.model.contract
        return {
            "id": self.name,
            "max_tokens": self.model.max_length,
            "has_contract": contract is not None,
            "rule": str(getattr(self.model, "rule", None) or "") or None,
            "scored_token": getattr(contract, "scored_token", None),
            "chat_template_sha256": getattr(contract, "chat_template_sha256", None),
            "dtype": _dtype(self.model),
            "reward_mean": mean,
            "reward_std": std,
            "server": f"rewardsmith {__version__}",
        }

    def warm_up(self) -> None:
        """Score one short text, so that a model that cannot score fails at start-up. Raises ScoringError."""
        self.model.score_encoded([self.model.encode(ScoreRequest("Hello", ("Good day.",)))])

    def close(self) -> None:
        """End both threads."""
        self.engine.stop()
        self._tokeniser.stop()


def text_request(text: str) -> ScoreRequest:
    """Ask for the reward of one full text."""
    return ScoreRequest("", (text,))


def ids_request(ids: Sequence[int]) -> ScoreRequest:
    """Ask for the reward of one full sequence of token ids."""
    return ScoreRequest("", (TokenIds(ids),))


def conversation_request(
    messages: Text, tools: Sequence[Any] | None = None, chat_template_kwargs: dict[str, Any] | None = None
) -> ScoreRequest:
    """Ask for the reward of one whole conversation."""
    completion: tuple[Any, ...] = ("",) if isinstance(messages, str) else (messages,)
    return ScoreRequest("", completion, tools, chat_template_kwargs)


async def _left(http: Request) -> None:
    """Return when the client disconnects."""
    while (await http.receive())["type"] != "http.disconnect":
        continue


def _names(name: str) -> tuple[str, ...]:
    tail = name.rstrip("/").rpartition("/")[2]
    return (name, tail) if tail and tail != name else (name,)


def _dtype(model: object) -> str | None:
    dtype = getattr(getattr(model, "model", None), "dtype", None)
    return None if dtype is None else str(dtype).removeprefix("torch.")
