"""What vLLM and SGLang serve: `/classify`, `/pooling`, `/score`, and `/v1/embeddings`, whose embedding is `[reward]`.

vLLM's `add_special_tokens` is accepted; our rule adds BOS and EOS exactly where a text lacks them, so a text that
came out of a chat template never gets a second BOS.
"""

from __future__ import annotations

import base64
import struct
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from rewardsmith.records import ScoreRequest
from rewardsmith.scoring.scorer import probability
from rewardsmith.serving.limits import invalid
from rewardsmith.serving.protocols.inputs import (
    Document,
    Documents,
    Ids,
    Label,
    ManyIds,
    ManyTexts,
    Messages,
    Texts,
    document_text,
    new_router,
    requests_of,
    to_document,
    to_messages,
)
from rewardsmith.serving.requests import Truncation
from rewardsmith.serving.service import Scored, Service, conversation_request

Side = Document | Documents


class VllmOptions(BaseModel):
    """Fields of every vLLM pooling request; others of vLLM's are accepted and have no effect on a reward.

    `use_activation`, and its older spellings `activation` and `softmax`: true asks for the logistic function of the
    reward. Not given means raw, as vLLM answers for a checkpoint with `problem_type: regression`.
    """

    model: Label | None = None
    use_activation: bool | None = None
    activation: bool | None = None
    softmax: bool | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, lt=2**31)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    request_id: Label | None = None

    def truncation(self) -> Truncation | None:
        """Return the explicit wish to cut: -1 keeps what the model reads, k the last k tokens by default."""
        if self.truncate_prompt_tokens is None:
            return None
        keep = None if self.truncate_prompt_tokens == -1 else self.truncate_prompt_tokens
        return Truncation(self.truncation_side or "left", keep)

    def values(self, scored: Scored) -> list[float | None]:
        """Return the raw rewards, or their logistic function where asked for; None for null. Raises Refusal 500."""
        rewards = scored.rewards_or_null()
        asked = next((v for v in (self.use_activation, self.activation, self.softmax) if v is not None), False)
        return [probability(value) if asked and value is not None else value for value in rewards]


class VllmClassify(VllmOptions):
    """A conversation or texts: exactly one of `input` and `messages`."""

    input: ManyTexts | None = None
    messages: Messages | None = None
    tools: list[Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: Literal[False] = False

    def requests(self) -> list[ScoreRequest]:
        """Read `input` or `messages`. Raises Refusal 422 unless exactly one is there."""
        if self.input is not None and self.messages is None:
            return requests_of(self.input)
        if self.messages is not None and self.input is None:
            return [conversation_request(to_messages(self.messages), self.tools, self.chat_template_kwargs)]
        raise invalid("give exactly one of input and messages")


class ClassifyBody(VllmClassify):
    """vLLM's form, or SGLang's: `text` or `input_ids`, one or many."""

    text: str | Texts | None = None
    input_ids: Ids | ManyIds | None = None


class PoolingBody(VllmClassify):
    """vLLM's body. A sequence reward model has no reward per token, so "classify" is the only task."""

    task: Literal["classify"] | None = None
    encoding_format: Literal["float"] = "float"


class ScoreBody(VllmOptions):
    """One query against each document, or as many queries as documents, pairwise."""

    model_config = ConfigDict(populate_by_name=True)
    queries: Side = Field(validation_alias=AliasChoices("queries", "text_1", "data_1", "query"))
    documents: Side = Field(validation_alias=AliasChoices("documents", "items", "text_2", "data_2"))


def vllm(service: Service) -> APIRouter:
    """Build the routes."""
    routes = new_router()

    @routes.post("/classify", tags=["vLLM", "SGLang"])
    @routes.post("/v1/classify", tags=["vLLM", "SGLang"])
    async def classify(body: ClassifyBody, http: Request) -> Response:
        service.check_name(body.model)
        if body.text is not None or body.input_ids is not None:
            return await _sglang(service, body, http)
        scored = await service.score(http, body.requests, body.truncation())
        data: list[dict[str, Any]] = [
            {"index": index, "label": "LABEL_0", "probs": [value], "num_classes": 1}
            for index, value in enumerate(body.values(scored))
        ]
        return _answer(service, f"classify-{body.request_id or uuid4().hex}", data, scored)

    @routes.post("/pooling", tags=["vLLM"])
    async def pooling(body: PoolingBody, http: Request) -> Response:
        service.check_name(body.model)
        scored = await service.score(http, body.requests, body.truncation())
        data = [{"index": i, "object": "pooling", "data": [value]} for i, value in enumerate(body.values(scored))]
        return _answer(service, f"pool-{body.request_id or uuid4().hex}", data, scored)

    @routes.post("/score", tags=["vLLM"])
    @routes.post("/v1/score", tags=["vLLM"])
    async def score(body: ScoreBody, http: Request) -> Response:
        service.check_name(body.model)
        scored = await service.score(http, lambda: _pairs(body), body.truncation())
        data = [{"index": i, "object": "score", "score": value} for i, value in enumerate(body.values(scored))]
        return _answer(service, f"score-{body.request_id or uuid4().hex}", data, scored)

    return routes


async def _sglang(service: Service, body: ClassifyBody, http: Request) -> Response:
    given = [v for v in (body.text, body.input_ids, body.input, body.messages) if v is not None]
    if len(given) != 1:
        raise invalid("give exactly one of text, input_ids, input and messages")
    value: Any = given[0]
    scored = await service.score(http, lambda: requests_of(value), body.truncation())
    answers = [
        {"embedding": [reward], "meta_info": {"id": uuid4().hex, "prompt_tokens": tokens}}
        for reward, tokens in zip(scored.rewards(), scored.tokens, strict=True)
    ]
    is_single = isinstance(value, str) or isinstance(value[0], int)
    return JSONResponse(answers[0] if is_single else answers, headers=scored.headers())


def _answer(service: Service, request_id: str, data: list[dict[str, Any]], scored: Scored) -> Response:
    """Return vLLM's list answer."""
    answer = {
        "id": request_id,
        "object": "list",
        "created": service.created,
        "model": service.name,
        "data": data,
        "usage": {**scored.usage(), "completion_tokens": 0, "prompt_tokens_details": None},
    }
    return JSONResponse(answer, headers=scored.headers())


def _pairs(body: ScoreBody) -> list[ScoreRequest]:
    queries = [document_text(value) for value in _many(body.queries)]
    documents = [to_document(value) for value in _many(body.documents)]
    if not queries or not documents:
        raise invalid("queries and documents need at least one text each")
    if len(queries) == 1:
        return [ScoreRequest(queries[0], tuple(documents))]
    if len(queries) != len(documents):
        raise invalid(f"{len(queries)} queries and {len(documents)} documents; give one query or as many as documents")
    return [ScoreRequest(query, (document,)) for query, document in zip(queries, documents, strict=True)]


def _many(side: Side) -> Documents:
    return side if isinstance(side, list) else [side]


class EmbeddingsBody(BaseModel):
    """OpenAI's body. `dimensions` can only be 1."""

    input: ManyTexts
    model: Label | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Literal[1] | None = None
    user: Label | None = None


def openai(service: Service) -> APIRouter:
    """Build the route."""
    routes = new_router("SGLang", "OpenAI")

    @routes.post("/v1/embeddings")
    async def embeddings(body: EmbeddingsBody, http: Request) -> Response:
        service.check_name(body.model)
        scored = await service.score(http, lambda: requests_of(body.input))
        data = [
            {"object": "embedding", "index": index, "embedding": _encode(reward, body.encoding_format)}
            for index, reward in enumerate(scored.rewards())
        ]
        answer = {"object": "list", "data": data, "model": service.name, "usage": scored.usage()}
        return JSONResponse(answer, headers=scored.headers())

    return routes


def _encode(reward: float, encoding: str) -> Any:
    """Return a list of one number, or its little-endian float32 in base64, which the openai client asks for."""
    return [reward] if encoding == "float" else base64.b64encode(struct.pack("<f", reward)).decode()
