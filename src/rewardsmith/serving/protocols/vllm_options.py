"""The options that vLLM's pooling routes share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from rewardsmith.clients.probability import probability
from rewardsmith.serving.protocols.inputs import Label
from rewardsmith.serving.requests import Truncation
from rewardsmith.serving.service import Scored, Service


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
        """Give the explicit wish to cut: -1 keeps what the model reads, k keeps k tokens, the last ones by default."""
        if self.truncate_prompt_tokens is None:
            return None
        keep = None if self.truncate_prompt_tokens == -1 else self.truncate_prompt_tokens
        return Truncation(self.truncation_side or "left", keep)

    def values(self, scored: Scored) -> list[float]:
        """Give the raw rewards, or their logistic function where asked for. Raises Refusal 500."""
        rewards = scored.rewards()
        asked = next((v for v in (self.use_activation, self.activation, self.softmax) if v is not None), False)
        return [probability(value) for value in rewards] if asked else rewards


class ChatOptions(VllmOptions):
    """The options of a request that may hold a conversation."""

    tools: list[Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: Literal[False] = False


def envelope(service: Service, request_id: str, data: list[dict[str, Any]], scored: Scored) -> dict[str, Any]:
    """Give vLLM's list answer."""
    return {
        "id": request_id,
        "object": "list",
        "created": service.created,
        "model": service.name,
        "data": data,
        "usage": {**scored.usage(), "completion_tokens": 0, "prompt_tokens_details": None},
    }
