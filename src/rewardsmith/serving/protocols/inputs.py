"""The forms of input that several protocols share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import Field, WithJsonSchema

from rewardsmith.errors import DataError
from rewardsmith.records import Completion, Message, ScoreRequest, TokenIds, as_text
from rewardsmith.scoring.answers import NO_ANSWER, is_ids
from rewardsmith.serving.limits import invalid
from rewardsmith.serving.metrics import VISIT
from rewardsmith.serving.service import ids_request, text_request

# The first wrong element ends the reading of a list: errors of a million elements cost minutes and gigabytes.
FIRST_ERROR = Field(fail_fast=True)
MOST_IDS = 2**31
TokenId = Annotated[int, Field(ge=0, lt=MOST_IDS, strict=True)]
Label = Annotated[str, Field(max_length=512)]
Texts = Annotated[list[str], FIRST_ERROR]
Ids = Annotated[list[TokenId], FIRST_ERROR]
ManyIds = Annotated[list[Ids], FIRST_ERROR]
ManyTexts = str | Texts | Ids | ManyIds
# Checked by `to_messages`: a class of its own for each of a hundred thousand messages takes a second.
ChatMessage = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "title": "ChatMessage",
            "description": "One turn; further keys go to the chat template.",
            "properties": {
                "role": {"type": "string"},
                "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {}}, {"type": "null"}]},
            },
            "required": ["role"],
            "additionalProperties": True,
        }
    ),
]
Messages = Annotated[list[ChatMessage], FIRST_ERROR]
# A null is an answer that is missing: it has no score, and the others keep theirs.
Document = str | dict[str, Any] | None
Documents = Annotated[list[Document], FIRST_ERROR]


class ParsedRequest(Request):
    """A request whose body the outer layer has parsed already."""

    async def json(self) -> Any:
        """Return the parsed body and let go of it."""
        visit = self.scope[VISIT]
        parsed, visit.body = visit.body, None
        return parsed


class ParsedRoute(APIRoute):
    """A route that takes the parsed body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler of FastAPI."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(ParsedRequest(request.scope, request.receive))

        return handle


def new_router(*tags: str) -> APIRouter:
    """Make the router of a protocol; `tags` name the tools that speak it."""
    return APIRouter(tags=list(tags), route_class=ParsedRoute)


def to_messages(messages: list[dict[str, Any]], where: str = "messages") -> tuple[Message, ...]:
    """Turn a body's messages into the record's form. Raises Refusal 422 for none, or one of another kind."""
    for number, message in enumerate(messages):
        if not isinstance(message.get("role"), str):
            raise invalid(f"{where}: message {number} needs a role, which is a text")
        if not isinstance(message.get("content"), str | list | None):
            raise invalid(f"{where}: the content of message {number} is a text, a list of parts or null")
    try:
        value = as_text(messages, where)
    except DataError as error:
        raise invalid(str(error)) from error
    assert not isinstance(value, str)
    return value


def requests_of(value: ManyTexts) -> list[ScoreRequest]:
    """Read "input" as OpenAI defines it: a text, texts, token ids, or lists of them. Raises Refusal 422 when empty."""
    if isinstance(value, str):
        return [text_request(value)]
    if not value:
        raise invalid("input is empty; send at least one text or list of token ids")
    if isinstance(value[0], int):
        return [ids_request(value)]  # type: ignore[arg-type]
    return [text_request(item) if isinstance(item, str) else ids_request(item) for item in value]  # type: ignore[arg-type]


def to_completion(value: object, where: str) -> Completion:
    """Read a completion: text, token ids of the whole sequence, or messages. Raises Refusal 422 for anything else."""
    if isinstance(value, str):
        return value
    if is_ids(value) and max(value) < MOST_IDS:
        return TokenIds(value)
    messages = [value] if isinstance(value, dict) and "role" in value else value
    if isinstance(messages, list) and all(isinstance(message, dict) for message in messages):
        return to_messages(messages, where)
    # What was sent is not quoted: it may be a text.
    kind = type(value).__name__
    raise invalid(f"{where} must be a text, a list of token ids or a list of messages; what came is another {kind}")


def to_document(value: str | Mapping[str, Any] | None) -> Completion:
    """Read a document, which is a completion; null where it is missing."""
    return NO_ANSWER if value is None else document_text(value)


def document_text(value: str | Mapping[str, Any] | None) -> str:
    """Read a query or a document: a text, or an object with "text"."""
    if isinstance(value, str):
        return value
    text = value.get("text") if value is not None else None
    if not isinstance(text, str):
        raise invalid('a document must be a text or an object with a "text"')
    return text
