"""From what a request says to token ids that the model can read; over-length is an error unless cutting is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rewardsmith.errors import RewardsmithError
from rewardsmith.records import Capabilities, Completion, ScoreRequest, Text, TokenIds
from rewardsmith.serving.refusals import invalid, too_large

# Arguments of apply_chat_template that are no variables of a template. A template of the caller's would change what a
# reward means, and could keep the tokenising thread busy for ever.
NOT_FOR_CALLERS = frozenset(
    {
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "max_length",
        "padding",
        "processor_kwargs",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)


class ServedModel(Protocol):
    """What serving needs of a model; `rewardsmith.scoring.RewardModel` has it."""

    name: str
    tokenizer: Any
    contract: Any

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked of it."""

    @property
    def max_length(self) -> int | None:
        """Longest sequence in tokens; None when there is no end."""

    def encode(self, request: ScoreRequest) -> list[list[int]]:
        """Give the token ids of every full sequence of a request."""

    def score_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        """Give one reward per id sequence of every group."""


@dataclass(frozen=True, slots=True)
class Truncation:
    """The caller's explicit wish to cut long sequences: which end goes, and the length that stays.

    The side "prompt" cuts the prompt's oldest turns and then its start, as `score(truncation="truncate_prompt")` does.
    """

    side: Literal["left", "right", "prompt"] = "left"
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """The sequences of one HTTP request.

    Args:
        rows: token ids, one list a completion, in the order of the requests.
        sizes: how many completions each score request has.
        truncated: whether a row was cut.
    """

    rows: list[list[int]]
    sizes: list[int]
    truncated: list[bool]


def encode_requests(
    model: ServedModel, requests: Sequence[ScoreRequest], truncation: Truncation | None, max_sequences: int
) -> Encoded:
    """Render, tokenise and check. Raises Refusal 422 naming input and completion, or 413 for too many."""
    sizes = [len(request.completions) for request in requests]
    if sum(sizes) > max_sequences:
        raise too_large(f"the request has {sum(sizes)} completions and the limit is {max_sequences}; split it")
    rows, cut = [], []
    for number, request in enumerate(requests):
        whole = _encode(model, request, number)
        for index, (ids, row) in enumerate(zip(whole, _cut_rows(model, request, whole, truncation), strict=True)):
            _check_length(row, model.max_length, f"input {number}, completion {index}")
            rows.append(row)
            cut.append(len(row) < len(ids))
    return Encoded(rows, sizes, cut)


def _encode(model: ServedModel, request: ScoreRequest, number: int) -> list[list[int]]:
    """Tokenise one request; what the template or tokenizer refuses is the caller's error."""
    _check_template_arguments(request, number)
    for part in (request.prompt, *request.completions):
        _check_part(model, part, number)
    try:
        return [list(map(int, ids)) for ids in model.encode(request)]
    except RewardsmithError as error:
        raise invalid(f"input {number}: {error}") from error
    except Exception as error:
        raise invalid(f"input {number} cannot be rendered or tokenised ({type(error).__name__})") from error


def _check_template_arguments(request: ScoreRequest, number: int) -> None:
    """Raise Refusal for chat_template_kwargs that would leave the model's own rule."""
    options = request.chat_template_kwargs or {}
    if refused := sorted(NOT_FOR_CALLERS & set(options)):
        raise invalid(f"input {number}: chat_template_kwargs may not hold {', '.join(refused)}")
    if options.get("add_generation_prompt"):
        raise invalid(f"input {number}: a reward is of a finished answer; leave add_generation_prompt out")


def _check_part(model: ServedModel, part: Text | Completion, number: int) -> None:
    """Raise Refusal for ids outside the vocabulary and for text that is no valid Unicode."""
    if isinstance(part, TokenIds):
        size = vocabulary_size(model)
        bad = next((i for i in part if not 0 <= i < size), None)
        if bad is not None:
            raise invalid(f"input {number}: token id {bad} is outside the vocabulary of {size}")
        return
    try:
        repr_bytes = part if isinstance(part, str) else "".join(str(message.content) for message in part)
        repr_bytes.encode("utf-8")
    except UnicodeEncodeError as error:
        raise invalid(f"input {number} holds a lone surrogate, which is no Unicode text; remove it") from error


def vocabulary_size(model: ServedModel) -> int:
    """Give how many token ids the model has embeddings for."""
    config: Any = getattr(getattr(model, "model", None), "config", None)
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text_config, "vocab_size", None) or len(model.tokenizer))


def _cut_rows(
    model: ServedModel, request: ScoreRequest, rows: list[list[int]], truncation: Truncation | None
) -> list[list[int]]:
    if truncation is None or truncation.side != "prompt":
        return [_cut(ids, model.max_length, truncation) for ids in rows]
    cut: Any = getattr(model, "cut_prompts", None)
    if cut is None:
        raise invalid(f"{model.name} cannot cut prompts; ask for left or right")
    try:
        return [list(map(int, ids)) for ids in cut(request, rows)]
    except RewardsmithError as error:
        raise invalid(str(error)) from error
    except Exception as error:
        raise invalid(f"the prompt cannot be cut: its rest cannot be rendered ({type(error).__name__})") from error


def _cut(ids: list[int], limit: int | None, truncation: Truncation | None) -> list[int]:
    if truncation is None:
        return ids
    keep = min(value for value in (limit, truncation.max_tokens, len(ids)) if value is not None)
    return ids[len(ids) - keep :] if truncation.side == "left" else ids[:keep]


def _check_length(ids: list[int], limit: int | None, where: str) -> None:
    if not ids:
        raise invalid(f"{where} has no tokens; send some text")
    if limit is not None and len(ids) > limit:
        raise invalid(
            f"{where} has {len(ids)} tokens and the model reads {limit}; shorten it by {len(ids) - limit}, "
            "or ask for truncation"
        )
