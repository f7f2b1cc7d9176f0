"""`POST /v1/reward`: the native protocol. Prompt with completions, conversations, texts or token ids."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from rewardsmith.records import ScoreRequest
from rewardsmith.serving.intake import Truncation
from rewardsmith.serving.outcomes import Failure
from rewardsmith.serving.protocols.inputs import ChatMessage, Label, TokenId, to_completion, to_messages
from rewardsmith.serving.refusals import invalid
from rewardsmith.serving.service import Scored, Service, conversation_request, ids_request, text_request

CompletionBody = str | list[TokenId] | list[ChatMessage]


class RewardInput(BaseModel):
    """One thing to score: exactly one of `completions` (with `prompt`), `messages`, `text`, `token_ids`."""

    model_config = ConfigDict(extra="forbid")
    prompt: str | list[ChatMessage] | None = None
    completions: list[CompletionBody] | None = None
    messages: list[ChatMessage] | None = None
    text: str | None = None
    token_ids: list[TokenId] | None = None
    tools: list[Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class RewardBody(RewardInput):
    """One input at the top level, or many under `inputs`."""

    inputs: list[RewardInput] | None = None
    model: Label | None = None
    normalized: Annotated[bool, Field(description="use the contract's mean and standard deviation")] = False
    truncate: Annotated[Literal["left", "right"] | None, Field(description="cut long sequences at this end")] = None
    partial: Annotated[bool, Field(description="null for sequences that fail, instead of 500 for all")] = False


class RewardResult(BaseModel):
    """The rewards of one input, one per completion; `errors` has the reasons of nulls by index."""

    rewards: list[float | None]
    tokens: list[int]
    truncated: list[bool]
    errors: dict[int, str] = Field(default_factory=dict)


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
    routes = APIRouter(tags=["native"])

    @routes.post("/v1/reward")
    async def reward(body: RewardBody, http: Request) -> RewardAnswer:
        service.check_name(body.model)
        if body.normalized:
            service.normalise(0.0)
        truncation = Truncation(body.truncate) if body.truncate else None
        scored = await service.score(http, _requests(body), truncation)
        if not body.partial:
            scored.rewards()
        return RewardAnswer(
            model=service.name,
            normalized=body.normalized,
            scoring=service.card(),
            results=_results(service, scored, body.normalized),
            usage=scored.usage(),
        )

    return routes


def _requests(body: RewardBody) -> list[ScoreRequest]:
    own = {name: getattr(body, name) for name in RewardInput.model_fields}
    has_own = any(value is not None for value in own.values())
    if body.inputs is None:
        return [_request(body, "the body")]
    if has_own:
        raise invalid("give either inputs or a single input at the top level, not both")
    return [_request(item, f"input {number}") for number, item in enumerate(body.inputs)]


def _request(item: RewardInput, where: str) -> ScoreRequest:
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
    completions = tuple(to_completion(value, where) for value in item.completions or ())
    return ScoreRequest(prompt, completions, item.tools, item.chat_template_kwargs)


def _results(service: Service, scored: Scored, normalized: bool) -> list[RewardResult]:
    results, start = [], 0
    for size in scored.sizes:
        part = slice(start, start + size)
        start += size
        outcomes = scored.outcomes[part]
        rewards = [None if isinstance(outcome, Failure) else outcome for outcome in outcomes]
        if normalized:
            rewards = [None if value is None else service.normalise(value) for value in rewards]
        errors = {index: o.reason for index, o in enumerate(outcomes) if isinstance(o, Failure)}
        results.append(
            RewardResult(rewards=rewards, tokens=scored.tokens[part], truncated=scored.truncated[part], errors=errors)
        )
    return results
