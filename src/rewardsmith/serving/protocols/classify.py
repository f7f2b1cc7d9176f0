"""`POST /classify`: vLLM's form (`input` or `messages`) and SGLang's (`text` or `input_ids`), told apart by the body.

vLLM's `add_special_tokens` is accepted; our rule adds BOS and EOS exactly where a text lacks them, so a text that
came out of a chat template never gets a second BOS.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from rewardsmith.serving.protocols.inputs import ChatMessage, Label, ManyTexts, TokenId, requests_of, to_messages
from rewardsmith.serving.protocols.vllm_options import ChatOptions, envelope
from rewardsmith.serving.refusals import invalid
from rewardsmith.serving.service import Service, conversation_request


class VllmClassify(ChatOptions):
    """vLLM's body: exactly one of `input` and `messages`."""

    input: ManyTexts | None = None
    messages: list[ChatMessage] | None = None


class SglangClassify(BaseModel):
    """SGLang's body: `text` or `input_ids`, one or many."""

    model: Label | None = None
    text: str | list[str] | None = None
    input_ids: list[TokenId] | list[list[TokenId]] | None = None


class ClassifyBody(VllmClassify):
    """Either form."""

    text: str | list[str] | None = None
    input_ids: list[TokenId] | list[list[TokenId]] | None = None


def router(service: Service) -> APIRouter:
    """Build the routes."""
    routes = APIRouter(tags=["vLLM", "SGLang"])

    @routes.post("/classify")
    @routes.post("/v1/classify")
    async def classify(body: ClassifyBody, http: Request) -> Response:
        service.check_name(body.model)
        if body.text is not None or body.input_ids is not None:
            return await _sglang(service, body, http)
        return await _vllm(service, body, http)

    return routes


async def _vllm(service: Service, body: ClassifyBody, http: Request) -> Response:
    requests = vllm_requests(body)
    scored = await service.score(http, requests, body.truncation())
    data: list[dict[str, Any]] = [
        {"index": index, "label": "LABEL_0", "probs": [value], "num_classes": 1}
        for index, value in enumerate(body.values(scored))
    ]
    answer = envelope(service, f"classify-{body.request_id or uuid4().hex}", data, scored)
    return JSONResponse(answer, headers=scored.headers())


def vllm_requests(body: VllmClassify) -> list[Any]:
    """Read vLLM's `input` or `messages`. Raises Refusal 422 unless exactly one is there."""
    if body.input is not None and body.messages is None:
        return requests_of(body.input)
    if body.messages is not None and body.input is None:
        return [conversation_request(to_messages(body.messages), body.tools, body.chat_template_kwargs)]
    raise invalid("give exactly one of input and messages")


async def _sglang(service: Service, body: ClassifyBody, http: Request) -> Response:
    given = [v for v in (body.text, body.input_ids, body.input, body.messages) if v is not None]
    if len(given) != 1:
        raise invalid("give exactly one of text, input_ids, input and messages")
    value: Any = given[0]
    scored = await service.score(http, requests_of(value), body.truncation())
    answers = [
        {"embedding": [reward], "meta_info": {"id": uuid4().hex, "prompt_tokens": tokens}}
        for reward, tokens in zip(scored.rewards(), scored.tokens, strict=True)
    ]
    is_single = isinstance(value, str) or isinstance(value[0], int)
    return JSONResponse(answers[0] if is_single else answers, headers=scored.headers())
