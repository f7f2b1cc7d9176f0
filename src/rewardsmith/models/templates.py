"""Chat templates: what one writes around an answer, and its text of a conversation, run within limits.

A template may keep only what follows `</think>`, a tokenizer may fold case or map what it does not know to one token:
two answers then become the same ids, and nothing can be learnt from comparing them. Both are counted here.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from rewardsmith.errors import ASK, ConfigError, ScoringError, TemplateError, one_line
from rewardsmith.records import Completion, Message, PreferenceGroup, Text, TokenIds, text_key

QUESTION, ANSWER = "Hello?", "Good day."
SAMPLE = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
# For tokenizers without a template: the markup of HH-RLHF, which any vocabulary can spell.
TURNS = (
    "{% for message in messages %}{% set content = message['content'] or '' %}"
    "{% if message['role'] == 'system' %}{{ content }}{% else %}"
    "{{ '\n\n' + ('Assistant' if message['role'] == 'assistant' else 'Human') + ': ' + content }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n\nAssistant:' }}"
)
BOS, EOS, END = "{{ bos_token or '' }}", "{% else %}{{ eos_token or '' }}", "{% endif %}"
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NAMED, PLAIN_NAME = {"chatml": CHATML}, "plain"
BUILT_IN = (PLAIN_NAME, *NAMED)
# Arguments of apply_chat_template that are no variables of a template, and the tokens that it writes. A row that sets
# one would leave the rule by which its neighbours are scored; a template of its own could also keep a process busy.
NOT_FOR_ROWS = frozenset(PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES).union(
    ("chat_template", "continue_final_message", "conversation", "documents", "max_length", "padding"),
    ("tokenizer_kwargs", "processor_kwargs", "return_assistant_tokens_mask", "return_dict", "return_tensors"),
    ("tokenize", "tools", "truncation"),
)
# Llama 3.1's own date for where no clock is at hand; any fixed one makes a reward the same tomorrow.
FIXED_DATE = time.strptime("2024-07-26", "%Y-%m-%d")
DATE_FORMAT = "%d %B %Y"
CLOCK = "strftime_now"
DATE_MACRO = f"{{% macro {CLOCK}(format) %}}"
_CASE = re.compile(r"format == '([^']*)' %\}([^{]*)\{")
SECONDS_PER_TEMPLATE = 10.0
# What a template has left that took too long once: a file of such rows would take days.
SECONDS_AFTER_THAT = 1.0
_took_too_long: set[str] = set()
MAX_GROWTH = 16
MAX_WRITTEN = 1 << 20


@dataclass(frozen=True, slots=True)
class TemplateMarks:
    """What a chat template writes before the first message and after the last answer.

    Args:
        starts: how its texts begin, without BOS; several where a system message changes the beginning.
        end: what stands after the answer.
        writes_bos: whether it writes the BOS token.
        turn: what stands between a question and its answer.
        strips: whether the blanks at the end of an answer are left out.
        dates: pattern of a date that the template once wrote by the clock, and the fixed one that it writes.
        eos: the tokenizer's, "" where it has none.
        first_token: characters of `end` up to the end of its first control token; 0 where it has none.
    """

    starts: tuple[str, ...]
    end: str
    writes_bos: bool
    turn: str = ""
    strips: bool = False
    dates: tuple[tuple[str, str], ...] = ()
    eos: str = ""
    first_token: int = 0

    def close(self, body: str, strips: str = "") -> str:
        """Return a text that a client rendered, without BOS, ending as the template would have ended it.

        Args:
            strips: characters that go from its end first; "" for white space.
        """
        eos = self.eos or "\0"
        is_closed = self.end.endswith(eos)
        # The client's template may lack this end, a part of it, or write white space after it.
        stripped = self._without_second_end(body.rstrip(strips or None), eos)
        if written := self._written_of_end(stripped, eos):
            return stripped[: len(stripped) - written] + self.end
        if is_closed and stripped.endswith(eos):
            return stripped
        if is_closed or not body.endswith(self.end):
            # Blanks after an answer are its own unless the template strips them; before an empty one, the turn's.
            return (stripped if self.strips and not body.endswith(self.turn or "\0") else body) + self.end
        return body

    def _without_second_end(self, text: str, eos: str) -> str:
        """Return a text without an EOS that a client put after the template's whole end."""
        end = self.end.rstrip()
        rest = (before := text.removesuffix(eos)).rstrip()
        is_second = len(before) < len(text) and end and rest.endswith(end)
        # Right after an end that is EOS itself, it may be the answer that ends so.
        return rest if is_second and (rest != before or not end.endswith(eos)) else text

    def _written_of_end(self, text: str, eos: str) -> int:
        """Count the characters of the end that a text ends in: a whole control token of it, or all but EOS."""
        end = self.end
        before_eos = len(end.removesuffix(eos).rstrip())
        sizes = {before_eos} if before_eos > 2 else set()
        if self.first_token:
            sizes |= set(range(self.first_token, len(end) + 1))
        return max((n for n in sizes if not end[n - 1].isspace() and text.endswith(end[:n])), default=0)


def template_marks(tokenizer: PreTrainedTokenizerBase) -> TemplateMarks | None:
    """Return what the tokenizer's template writes around a conversation; None without a usable template."""
    if not tokenizer.chat_template:
        return None
    system = _around(tokenizer, [{"role": "system", "content": "Be brief."}, *SAMPLE])
    # A template may refuse a conversation without a system message.
    alone = _around(tokenizer, SAMPLE) or system
    if alone is None:
        return None
    bos = tokenizer.bos_token or ""
    found = [part[0].removeprefix(bos) for part in (alone, system) if part is not None]
    common = os.path.commonprefix(found)  # noqa: RUF071 - character by character is what is meant
    # A beginning that both share tells only where it holds a token that no writer types by chance.
    if any(token in common for token in control_tokens(tokenizer)):
        found = [common]
    starts = tuple(dict.fromkeys(start for start in found if start.strip()))
    blank = _around(tokenizer, SAMPLE, ANSWER + "\n")
    return TemplateMarks(
        starts,
        alone[1],
        bool(bos) and alone[0].startswith(bos),
        alone[2],
        blank is None,
        tuple(_dates(str(tokenizer.chat_template), alone[0])),
        tokenizer.eos_token or "",
        first.end() if (first := control_pattern(tokenizer).search(alone[1])) else 0,
    )


def _dates(template: str, start: str) -> Iterator[tuple[str, str]]:
    """Yield the pattern of each date that `fix_date` fixed and that stands in the beginning of the texts, and the date.

    What the template writes before it is part of the pattern.
    """
    macro, found, _ = template.removeprefix(DATE_MACRO).partition("{% endmacro %}")
    if not found or not template.startswith(DATE_MACRO):
        return
    for format, written in [*_CASE.findall(macro), (DATE_FORMAT, time.strftime(DATE_FORMAT, FIXED_DATE))]:
        before, there, _ = start.partition(written)
        if there:
            pieces = re.split(r"(%-?[a-zA-Z])", format)
            pattern = "".join(r"\w+" if piece.startswith("%") else re.escape(piece) for piece in pieces)
            yield f"(?<={re.escape(before[-16:])}){pattern}", written


def _around(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], answer: str = ANSWER
) -> tuple[str, str, str] | None:
    """Return what stands before the first content, after the answer, and between it and the question.

    None where the template refuses the conversation or drops one of these.
    """
    messages = [*messages[:-1], {**messages[-1], "content": answer}]
    try:
        text = apply_template(tokenizer, messages)
    except ScoringError:
        return None
    first = str(messages[0]["content"])
    start, found, _ = text.partition(first)
    before, answer, end = text.rpartition(answer)
    return (start, end, before.rpartition(QUESTION)[2]) if found and answer else None


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Return every token that a tokenizer takes for more than its characters."""
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return {token for token in special | set(tokenizer.all_special_tokens) if token}


def control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Return what finds the `control_tokens` of a tokenizer in a text, longer ones first."""
    names = sorted(control_tokens(tokenizer), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, names)) or r"(?!)")


def named_template(name: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the template of a Jinja file, or a built-in one: "plain" or "chatml". Raises ConfigError."""
    if name == PLAIN_NAME:
        framed, bare = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
        frames_itself = framed[-len(bare) :] != bare
        return plain_template(not frames_itself, not frames_itself and len(framed) > len(bare))
    if name in NAMED:
        return NAMED[name]
    if Path(name).is_file():
        return Path(name).read_text(encoding="utf-8")
    raise ConfigError(f"chat template {name!r}: no such file, and none of {', '.join(BUILT_IN)}")


def plain_template(writes_eos: bool, writes_bos: bool) -> str:
    """Return the built-in template: an encoder's tokenizer frames a text by itself, few decoders write BOS."""
    return (BOS if writes_bos else "") + TURNS + (EOS if writes_eos else "") + END


def refused_options(options: Mapping[str, Any]) -> list[str]:
    """Return the names that no row may set: another template, another scored token, an answer that is left open."""
    return sorted(n for n in options if n in NOT_FOR_ROWS or (n == "add_generation_prompt" and options[n]))


def apply_template(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Any] | None = None,
    options: Mapping[str, Any] | None = None,
    template: str | None = None,
) -> str:
    """Return the text of a conversation.

    Args:
        options: variables for the template.
        template: in place of the tokenizer's own.

    Raises:
        ScoringError: the template refuses the conversation, fails, takes too long, or writes too much or badly.
    """
    if refused := refused_options(options or {}):
        raise ScoringError(f"chat_template_kwargs may not hold {', '.join(refused)}: it would leave the model's rule")
    options = {**(options or {}), **({} if template is None else {"chat_template": template})}
    roles = ", ".join(str(message.get("role")) for message in messages)
    name = str(options.get("chat_template") or tokenizer.chat_template)
    seconds = SECONDS_AFTER_THAT if name in _took_too_long else SECONDS_PER_TEMPLATE
    try:
        with time_limit(seconds):
            text = str(tokenizer.apply_chat_template(list(messages), tokenize=False, tools=tools, **options))
    except TimeLimitError as error:
        _took_too_long.add(name)
        raise ScoringError(f"the chat template took over {seconds:g} s for the roles {roles}") from error
    except MemoryError as error:
        raise ScoringError(f"the chat template wrote more than memory holds for the roles {roles}") from error
    except Exception as error:
        # A template is a program of the checkpoint's: whatever it raises costs this conversation and no other.
        why = one_line(error)
        raise TemplateError(f"the chat template refused a conversation of the roles {roles}: {why}; {ASK}") from error
    given = sum(len(str(message.get("content"))) for message in messages) + len(str(tools or ""))
    if len(text) > MAX_WRITTEN + MAX_GROWTH * given:
        raise ScoringError(f"the chat template wrote {len(text)} characters around {given}: it writes without end")
    for message in messages:
        content = message.get("content")
        if isinstance(content, list) and str(content) in text:
            # A template for text alone prints the list itself, brackets and all.
            raise ScoringError(
                f"the chat template takes text only, and content of role {message['role']} is in parts; give text"
            )
    return text


def as_messages(prompt: Text, completion: Completion) -> list[dict[str, Any]]:
    """Return the messages of prompt and completion.

    A text completion of a conversation is the assistant's message; a text prompt before messages is the user's.
    """
    before = [Message("user", prompt)] if isinstance(prompt, str) and prompt else list(prompt or ())
    after = [Message("assistant", completion)] if isinstance(completion, str) else list(completion)
    return [message.to_dict() for message in [*before, *after]]  # type: ignore[union-attr]


class TimeLimitError(Exception):
    """Code ran longer than it may."""


class _Watch:
    """A thread that ends code of other threads that runs over its time."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock, self._ends = threading.Condition(), dict[int, float]()
        threading.Thread(target=self._run, name="rewardsmith-time-limit", daemon=True).start()

    def begin(self, seconds: float) -> int:
        thread = threading.get_ident()
        with self._lock:
            self._ends[thread] = time.monotonic() + seconds
            self._lock.notify()
        return thread

    def end(self, thread: int) -> bool:
        """Return whether the code was in time; an error that is on its way is called back."""
        with self._lock:
            if self._ends.pop(thread, None) is not None:
                return True
            _raise_in(thread, None)
            return False

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._ends:
                    self._lock.wait()
                now = time.monotonic()
                for thread in [t for t, end in self._ends.items() if end < now]:
                    del self._ends[thread]
                    _raise_in(thread, TimeLimitError)
            # Coarse on purpose: most templates are done long before anybody looks.
            time.sleep(0.25)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )


_watch: _Watch | None = None


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the code inside after so many seconds, in any thread; only Python code can be ended.

    Raises:
        TimeLimitError: it took longer.
    """
    global _watch
    if _watch is None or _watch.pid != os.getpid():
        # A fork has the object but not its thread.
        _watch = _Watch()
    watch = _watch
    thread = watch.begin(seconds)
    try:
        yield
    finally:
        if not watch.end(thread):
            raise TimeLimitError


SAME_TOKENS = "comparisons of different texts that become the same tokens"
LOST_TEXT = "answers whose text the chat template drops"


def count_same_tokens(group: PreferenceGroup, ids: Sequence[Sequence[int]]) -> int:
    """Count the comparisons whose sides differ as texts and not as ids. Shapes: ids [K][L]."""
    return sum(
        list(ids[edge.better]) == list(ids[edge.worse])
        and text_key(group.completions[edge.better]) != text_key(group.completions[edge.worse])
        for edge in group.comparisons
    )


def count_lost_texts(group: PreferenceGroup, texts: Sequence[str]) -> int:
    """Count the completions whose own text, blanks at its ends aside, is not in the rendered text."""
    return sum(
        any(part.strip() not in text for part in _parts(completion))
        for completion, text in zip(group.completions, texts, strict=True)
    )


def _parts(completion: Completion) -> list[str]:
    """Return the pieces of text that a rendering must hold."""
    if isinstance(completion, TokenIds):
        return []
    return [completion] if isinstance(completion, str) else [p for m in completion for p in _message_parts(m)]


def _message_parts(message: Message) -> list[str]:
    if isinstance(message.content, str):
        return [message.content]
    parts = message.content if isinstance(message.content, list | tuple) else ()
    return [str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part]
