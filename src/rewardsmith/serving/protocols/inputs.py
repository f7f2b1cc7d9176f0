"""The forms of input that several protocols share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rewardsmith.errors import DataError
from rewardsmith.records import Completion, Message, ScoreRequest, TokenIds, as_text
from rewardsmith.serving.refusals import invalid
from rewardsmith.serving.service import ids_request, text_request

TokenId = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Label = Annotated[str, Field(max_length=512)]


class ChatMessage(BaseModel):
    """One turn; further keys go to the chat template."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str | list[Any] | None = None


ManyTexts = str | list[str] | list[TokenId] | list[list[TokenId]]


def to_messages(messages: list[ChatMessage], where: str = "messages") -> tuple[Message, ...]:
    """Turn a body's messages into the record's form. Raises Refusal 422 for none."""
    try:
        value = as_text([message.model_dump() for message in messages], where)
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


def to_completion(value: str | list[TokenId] | list[ChatMessage], where: str) -> Completion:
    """Read a completion: text, token ids of the whole sequence, or messages."""
    if isinstance(value, str):
        return value
    if value and isinstance(value[0], int):
        return TokenIds(value)  # type: ignore[arg-type]
    return to_messages(value, where)  # type: ignore[arg-type]


def document_text(value: str | Mapping[str, Any]) -> str:
    """Read a document of a rerank request: a text, or an object with "text"."""
    if isinstance(value, str):
        return value
    text = value.get("text")
    if not isinstance(text, str):
        raise invalid('a document must be a text or an object with a "text"')
    return text
