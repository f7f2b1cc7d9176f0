"""Ask a language model behind an OpenAI-compatible `/v1/chat/completions`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from rewardsmith.clients.exchange import (
    KEY_VARIABLE,
    Answer,
    check_answer,
    key_headers,
    pause_seconds,
    read_addresses,
    should_retry,
)
from rewardsmith.errors import ConfigError, ScoringError, UnreachableError

Messages = Sequence[Mapping[str, str]]
# What such servers also answer for a moment; the protocol's own client asks again at these, too.
RETRIED = frozenset({409, 500})
NEWER_LIMIT = "max_completion_tokens"


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How a chat model is asked.

    Args:
        max_tokens: of an answer.
        temperature: 0 for the likeliest answer.
        timeout_seconds: of one call.
        max_attempts: how often a call is tried in all.
        max_concurrent_calls: at a time.

    Raises:
        ConfigError: one of them is not above 0, or a negative temperature.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    timeout_seconds: float = 120.0
    max_attempts: int = 4
    max_concurrent_calls: int = 8

    def __post_init__(self) -> None:
        for name in ("max_tokens", "timeout_seconds", "max_attempts", "max_concurrent_calls"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name):g}")
        if not self.temperature >= 0:
            raise ConfigError(f"temperature must be 0 or more, not {self.temperature:g}")


class ChatModel:
    """A chat model of a server.

    Args:
        url: of the server; `/v1/chat/completions` is added where it is missing.
        model: its name there.
        api_key: sent as a Bearer token; None reads $REWARDSMITH_API_KEY.
        options: how to ask.
    """

    def __init__(self, url: str, model: str, api_key: str | None = None, options: ChatOptions | None = None) -> None:
        [self._address] = read_addresses(url)
        base = self._address.url.removesuffix("/chat/completions").removesuffix("/v1")
        self.endpoint, self.name, self.options = f"{base}/v1/chat/completions", model, options or ChatOptions()
        self._limit = "max_tokens"
        self._headers = key_headers(api_key or os.environ.get(KEY_VARIABLE))

    def ask_all(self, questions: Sequence[Messages]) -> list[str]:
        """Return the text of the answer to each conversation, in order.

        Raises:
            UnreachableError: the server does not answer.
            ScoringError: it answers something else than a text.
        """
        found = self.ask_each(questions)
        errors = [text for text in found if isinstance(text, ScoringError)]
        if errors:
            raise next((error for error in errors if isinstance(error, UnreachableError)), errors[0])
        return [text for text in found if isinstance(text, str)]

    def ask_each(self, questions: Sequence[Messages]) -> list[str | ScoringError]:
        """Return the text of the answer to each conversation, or the error that it alone met, in order."""
        if not questions:
            return []
        with (
            httpx.Client(headers=self._headers, timeout=self.options.timeout_seconds, auth=self._address.auth) as http,
            ThreadPoolExecutor(min(self.options.max_concurrent_calls, len(questions))) as pool,
        ):
            return list(pool.map(lambda messages: self._try(http, messages), questions))

    def _try(self, http: httpx.Client, messages: Messages) -> str | ScoringError:
        try:
            return self._ask(http, messages)
        except ScoringError as error:
            return error

    def _answer(self, http: httpx.Client, messages: Messages, limit: str) -> tuple[Answer, int]:
        """Return what a server says of a conversation, and at which attempt."""
        how = self.options
        body = {"model": self.name, "messages": list(messages), limit: how.max_tokens}
        body |= {"temperature": how.temperature}
        for attempt in range(1, how.max_attempts + 1):
            answer = _send(http, self.endpoint, body)
            if not _is_passing(answer) or attempt == how.max_attempts:
                break
            time.sleep(pause_seconds(answer, attempt))
        return answer, attempt

    def _ask(self, http: httpx.Client, messages: Messages) -> str:
        limit = self._limit
        answer, attempt = self._answer(http, messages, limit)
        if limit != NEWER_LIMIT and _wants_newer_limit(answer):
            self._limit = NEWER_LIMIT
            answer, attempt = self._answer(http, messages, NEWER_LIMIT)
        found = check_answer(answer, self.endpoint, attempt)
        try:
            text = _text_of(found["choices"][0]["message"]["content"])
        except (KeyError, IndexError, TypeError) as error:
            raise ScoringError(f"{self.endpoint} answered without choices[0].message.content") from error
        if not isinstance(text, str):
            raise ScoringError(f"{self.endpoint} answered no text; raise max_tokens where it thinks first")
        return text


def _wants_newer_limit(answer: Answer) -> bool:
    """Whether a server takes the newer name of the length of an answer only, as OpenAI's own does of newer models."""
    return isinstance(answer, httpx.Response) and answer.status_code == 400 and NEWER_LIMIT in answer.text


def _text_of(content: object) -> object:
    """Return the text of a message's content, which some servers give in parts."""
    if not isinstance(content, list):
        return content
    parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    return "".join(part for part in parts if isinstance(part, str)) if parts else None


def _is_passing(answer: Answer) -> bool:
    return should_retry(answer) or (isinstance(answer, httpx.Response) and answer.status_code in RETRIED)


def _send(http: httpx.Client, endpoint: str, body: Mapping[str, object]) -> Answer:
    try:
        return http.post(endpoint, json=body)
    except httpx.RequestError as error:
        return error


def require_places(question: str, names: Sequence[str]) -> None:
    """Refuse a question that would leave out what is judged. Raises ConfigError."""
    if missing := [name for name in names if f"{{{name}}}" not in question]:
        raise ConfigError(f"the question of a judge must hold {{{missing[0]}}}; it is {question[:60]!r}")


def fill(template: str, words: Mapping[str, str]) -> str:
    """Put words in the place of {names}; braces inside the words stay as they are."""
    return re.sub(r"\{(\w+)\}", lambda found: words.get(found[1], found[0]), template)
