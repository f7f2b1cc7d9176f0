"""The native protocol: `POST /v1/reward`, with prompt and completions, conversations, texts or token ids; and status.

Status is liveness, readiness, the model's card and metrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from rewardsmith.capabilities import OutcomeReader
from rewardsmith.records import Completion, ScoreRequest
from rewardsmith.scoring.answers import NO_ANSWER, NoAnswer
from rewardsmith.scoring.scorer import RewardParts
from rewardsmith.serving.limits import Failure, Outcome, Refusal, draining, hung, invalid
from rewardsmith.serving.protocols.inputs import (
    FIRST_ERROR,
    Ids,
    Label,
    Messages,
    new_router,
    to_completion,
    to_messages,
)
from rewardsmith.serving.requests import Truncation
from rewardsmith.serving.service import Scored, Service, conversation_request, ids_request, text_request

# What is none of these is refused by `to_completion`, or costs itself alone where that is asked for.
CompletionBody = Annotated[str | Ids | Messages | SkipJsonSchema[Any] | None, Field(union_mode="left_to_right")]


class RewardInput(BaseModel):
    """One thing to score: exactly one of `completions` (with `prompt`), `messages`, `text`, `token_ids`."""

    model_config = ConfigDict(extra="forbid")
    prompt: str | Messages | None = None
    completions: Annotated[list[CompletionBody], FIRST_ERROR] | None = None
    messages: Messages | None = None
    text: str | None = None
    token_ids: Ids | None = None
    tools: list[Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def refuse_unknown(cls, body: object) -> Any:
        """Name the first unknown field alone: an error for each of many would take seconds."""
        unknown = (
            next((name for name in body if name not in cls.model_fields), None) if isinstance(body, dict) else None
        )
        if unknown is not None:
            raise ValueError(f"the field {unknown[:40]!r} is not known; known: {', '.join(cls.model_fields)}")
        return body


class RewardBody(RewardInput):
    """One input at the top level, or many under `inputs`."""

    inputs: Annotated[list[RewardInput], FIRST_ERROR] | None = None
    model: Label | None = None
    normalized: Annotated[bool, Field(description="use the contract's mean and standard deviation")] = False
    truncate: Annotated[
        Literal["left", "right", "prompt"] | None,
        Field(description="cut long sequences at this end; prompt: its start only, rendered anew, never the answer"),
    ] = None
    partial: Annotated[
        bool, Field(description="null for completions that cannot be read or scored, instead of an error for all")
    ] = False
    return_parts: Annotated[bool, Field(description="also give what every reward is made of")] = False
    return_probabilities: Annotated[
        bool, Field(description="also give how a comparison of the two completions of every input ends")
    ] = False


class RewardPartsAnswer(BaseModel):
    """What one reward is made of, as in Python; empty or null is what the model does not have."""

    reward: float
    spread: Annotated[float | None, Field(description="standard deviation over the members of an ensemble")]
    members: Annotated[list[float | None], Field(description="the reward of each member")]
    attributes: Annotated[dict[str, float | None], Field(description="scores of a head with several objectives")]
    steps: Annotated[list[float | None], Field(description="score of each step of a solution")]


class OutcomesAnswer(BaseModel):
    """The probabilities that the first completion is preferred, the second, and neither; null: it knows no ties."""

    first: float
    second: float
    tie: float | None


class RewardResult(BaseModel):
    """The rewards of one input, one per completion; `errors` has the reasons of nulls by index.

    `parts`, null unless asked for, has one entry per completion; that of a failed one is null. `probabilities` are null
    unless asked for, and where a completion failed.
    """

    rewards: list[float | None]
    tokens: list[int]
    truncated: list[bool]
    errors: dict[int, str] = Field(default_factory=dict)
    parts: list[RewardPartsAnswer | None] | None = None
    probabilities: OutcomesAnswer | None = None


class RewardAnswer(BaseModel):
    """Rewards in the order of the inputs, and the rule by which they were computed."""

    object: Literal["list"] = "list"
    model: str
    normalized: bool
    scoring: dict[str, Any]
    results: list[RewardResult]
    usage: dict[str, int]


def router(service: Service) -> APIRouter:
    """Build the route."""
    routes = new_router("native")

    @routes.post("/v1/reward")
    async def reward(body: RewardBody, http: Request) -> RewardAnswer:
        service.check_name(body.model)
        if body.normalized:
            service.require_scale()
        reader = service.comparing() if body.return_probabilities else None
        truncation = Truncation(body.truncate) if body.truncate else None
        scored = await service.score(http, lambda: _requests(body), truncation, body.partial)
        if not body.partial:
            scored.require()
        return RewardAnswer(
            model=service.name,
            normalized=body.normalized,
            scoring=service.card(),
            results=_results(
                scored.normalised(service.model) if body.normalized else scored, body.return_parts, reader
            ),
            usage=scored.usage(),
        )

    return routes


def _completion(value: object, where: str, partial: bool) -> Completion:
    """Read a completion; null is one that is missing, and with `partial` so is what cannot be read."""
    try:
        return NO_ANSWER if value is None else to_completion(value, where)
    except Refusal as refusal:
        if not partial:
            raise
        return NoAnswer(str(refusal))


def _requests(body: RewardBody) -> list[ScoreRequest]:
    requests = _all_requests(body)
    if body.return_probabilities:
        for number, request in enumerate(requests):
            if len(request.completions) != 2:
                count = len(request.completions)
                raise invalid(f"input {number} has {count} completions; return_probabilities takes two of one prompt")
    return requests


def _all_requests(body: RewardBody) -> list[ScoreRequest]:
    own = {name: getattr(body, name) for name in RewardInput.model_fields}
    has_own = any(value is not None for value in own.values())
    if body.inputs is None:
        return [_request(body, "the body", body.partial)]
    if has_own:
        raise invalid("give either inputs or a single input at the top level, not both")
    return [_request(item, f"input {number}", body.partial) for number, item in enumerate(body.inputs)]


def _request(item: RewardInput, where: str, partial: bool) -> ScoreRequest:
    forms = [n for n in ("completions", "messages", "text", "token_ids") if getattr(item, n) is not None]
    if len(forms) != 1:
        given = " and ".join(forms) or "none of them"
        raise invalid(f"{where} needs one of completions, messages, text or token_ids; it has {given}")
    if forms[0] != "completions" and item.prompt is not None:
        raise invalid(f"{where} has a prompt beside {forms[0]}; a prompt goes with completions")
    if item.text is not None:
        return text_request(item.text)
    if item.token_ids is not None:
        return ids_request(item.token_ids)
    if item.messages is not None:
        return conversation_request(to_messages(item.messages, where), item.tools, item.chat_template_kwargs)
    prompt = item.prompt if isinstance(item.prompt, str) else to_messages(item.prompt, where) if item.prompt else ""
    answers = enumerate(item.completions or ())
    completions = tuple(_completion(value, f"{where}: completion {place}", partial) for place, value in answers)
    return ScoreRequest(prompt, completions, item.tools, item.chat_template_kwargs)


def _results(scored: Scored, return_parts: bool, reader: OutcomeReader | None) -> list[RewardResult]:
    results, start = [], 0
    for size in scored.sizes:
        part = slice(start, start + size)
        start += size
        outcomes = scored.outcomes[part]
        results.append(
            RewardResult(
                rewards=[None if isinstance(o, Failure) else o.reward for o in outcomes],
                tokens=scored.tokens[part],
                truncated=scored.truncated[part],
                errors={index: o.reason for index, o in enumerate(outcomes) if isinstance(o, Failure)},
                parts=[None if isinstance(o, Failure) else _parts(o) for o in outcomes] if return_parts else None,
                probabilities=None if reader is None else _probabilities(reader, outcomes),
            )
        )
    return results


def _probabilities(reader: OutcomeReader, outcomes: Sequence[Outcome]) -> OutcomesAnswer | None:
    first, second = outcomes
    if isinstance(first, Failure) or isinstance(second, Failure):
        return None
    return OutcomesAnswer(**reader.of(first, second)._asdict())


def _parts(parts: RewardParts) -> RewardPartsAnswer:
    """Write the parts as JSON can hold them: null for what is no number."""
    return RewardPartsAnswer(
        reward=parts.reward,
        spread=_number(parts.spread),
        members=list(map(_number, parts.members)),
        attributes={name: _number(value) for name, value in parts.attributes.items()},
        steps=list(map(_number, parts.steps)),
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def status_routes(service: Service) -> APIRouter:
    """Build the routes."""
    routes = new_router("status")

    @routes.get("/health")
    @routes.get("/livez")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/ready")
    async def ready() -> dict[str, str]:
        if service.engine.is_draining:
            raise draining()
        if not service.engine.is_alive():
            raise Refusal("the model thread is gone", 503, "not_ready")
        if service.engine.is_hung:
            raise hung(service.engine.busy_seconds)
        # A load balancer sends requests elsewhere meanwhile.
        if service.engine.is_full:
            raise Refusal("the queue is full", 503, "not_ready", {"Retry-After": "1"})
        return {"status": "ready"}

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        common = {"object": "model", "created": service.created, "owned_by": "rewardsmith"}
        cards = [{**common, "id": name, "root": service.name, "rewardsmith": service.card()} for name in service.names]
        return {"object": "list", "data": cards}

    @routes.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes
