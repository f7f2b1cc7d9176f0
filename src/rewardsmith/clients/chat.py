"""Ask a language model behind an OpenAI-compatible `/v1/chat/completions`."""

from __future__ import annotations

import os
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
from rewardsmith.errors import ScoringError

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How a chat model is asked.

    Args:
        max_tokens: of an answer.
        temperature: 0 for the likeliest answer.
        timeout_seconds: of one call.
        max_attempts: how often a call is tried in all.
        max_concurrent_calls: at a time.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    timeout_seconds: float = 120.0
    max_attempts: int = 4
    max_concurrent_calls: int = 8


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
        self._headers = key_headers(api_key or os.environ.get(KEY_VARIABLE))

    def ask_all(self, questions: Sequence[Messages]) -> list[str]:
        """Return the text of the answer to each conversation, in order.

        Raises:
            UnreachableError: the server does not answer.
            ScoringError: it answers something else than a text.
        """
        if not questions:
            return []
        with (
            httpx.Client(headers=self._headers, timeout=self.options.timeout_seconds, auth=self._address.auth) as http,
            ThreadPoolExecutor(min(self.options.max_concurrent_calls, len(questions))) as pool,
        ):
            return list(pool.map(lambda messages: self._ask(http, messages), questions))

    def _ask(self, http: httpx.Client, messages: Messages) -> str:
        how = self.options
        body = {"model": self.name, "messages": list(messages), "max_tokens": how.max_tokens}
        body |= {"temperature": how.temperature}
        for attempt in range(1, how.max_attempts + 1):
            answer = _send(http, self.endpoint, body)
            if not should_retry(answer) or attempt == how.max_attempts:
                break
            time.sleep(pause_seconds(answer, attempt))
        found = check_answer(answer, self.endpoint, attempt)
        try:
            text = found["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise ScoringError(f"{self.endpoint} answered without choices[0].message.content") from error
        if not isinstance(text, str):
            raise ScoringError(f"{self.endpoint} answered no text; raise max_tokens where it thinks first")
        return text


def _send(http: httpx.Client, endpoint: str, body: Mapping[str, object]) -> Answer:
    try:
        return http.post(endpoint, json=body)
    except httpx.TransportError as error:
        return error
