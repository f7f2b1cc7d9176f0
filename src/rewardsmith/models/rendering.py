"""From a prompt and a completion to the exact text and token ids that are scored.

One rule for training, scoring and serving, kept in the scoring contract. Conversations go through the chat template;
plain text is prompt plus completion, closed by the end-of-sequence token, as TRL feeds it (`TextPolicy`). A text that
begins as the template's texts do was rendered by a client and is closed as the template closes it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models import long_texts, templates
from rewardsmith.models.long_texts import LongTexts
from rewardsmith.models.templates import TemplateMarks, apply_template, as_messages
from rewardsmith.records import Completion, Message, PreferenceGroup, Text, TokenIds

logger = logging.getLogger(__name__)

# What happens to control tokens that stand in a prompt or an answer.
SPECIAL_TOKENS = ("allow", "as_text", "refuse")
# Stand for control tokens of a content while its template is written; no text holds these private characters.
HIDE, SHOW = "\ue0f0", "\ue0f1"


@dataclass(frozen=True)
class TextPolicy:
    """Which special tokens stand around a plain text.

    Args:
        closed_by_tokenizer: the tokenizer itself frames a text ([CLS] ... [SEP] of encoders); nothing is added.
        bos_text: written before a decoder's text, "" when its tokenizer adds none.
        eos_text: written after it, unless it stands there already.
        eos_gap: written between the text and an EOS that is added.
        strips_end: characters that go from the end of a text before it is closed.
        appended_id: token that some foreign models score; it is put after every text.
        skipped_id: pad token of a foreign model that also ends its texts: Hugging Face's pooling passes over it.
        pair_separator: what a foreign encoder was trained to read between a question and its answer.
    """

    closed_by_tokenizer: bool
    bos_text: str = ""
    eos_text: str = ""
    eos_gap: str = ""
    strips_end: str = ""
    appended_id: int | None = None
    skipped_id: int | None = None
    pair_separator: str | None = None

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> TextPolicy:
        """Read off what the tokenizer adds by itself."""
        framed = tokenizer("a")["input_ids"]
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        start = next((i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), 0)
        if framed[start + len(bare) :]:
            return cls(True)
        bos = tokenizer.bos_token if start and framed[0] == tokenizer.bos_token_id else ""
        return cls(False, bos or "", tokenizer.eos_token or "")

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for the scoring contract; what is not set is left out."""
        kept = {"closed_by_tokenizer", "bos_text", "eos_text"}
        return {name: value for name, value in asdict(self).items() if name in kept or value not in (None, "")}

    def finish(self, ids: list[int]) -> list[int]:
        """Return the ids up to the token that is scored."""
        ids = without_end(ids, self.skipped_id)
        return ids if self.appended_id is None or ids[-1:] == [self.appended_id] else [*ids, self.appended_id]

    def close(self, text: str) -> str:
        """Return a plain text with the EOS that it lacks."""
        if not self.eos_text:
            return text
        if self.strips_end:
            text = text.rstrip(self.strips_end)
        return text if text.endswith(self.eos_text) else text + self.eos_gap + self.eos_text


class Composed(NamedTuple):
    """A text as it is given to the tokenizer.

    Args:
        said: the text that is scored, as people and other tools read it.
        text: what is tokenised; None where token ids were given.
        before: ids that stand before it, or all of them.
        framed: whether the tokenizer frames it by itself.
        hidden: what the marks in it stand for.
    """

    said: str
    text: str | None
    before: Sequence[int] = ()
    framed: bool = False
    hidden: Sequence[str] = ()


class Renderer:
    """Render and tokenise by one rule.

    Args:
        tokenizer: its chat template ends in the scored token once `prepare_tokenizer` has seen it.
        policy: which special tokens stand around a plain text; None reads it off the tokenizer.
        special_tokens: what happens to control tokens inside prompts and answers: "allow" (they act as in any
            tokenizer), "as_text" (they are tokenised as plain characters), or "refuse" (a ScoringError). Token ids, and
            texts that a client rendered whole, are taken as they are.
    """

    reads_steps = False

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, policy: TextPolicy | None = None, special_tokens: str = "allow"
    ) -> None:
        if special_tokens not in SPECIAL_TOKENS:
            raise ConfigError(
                f"special_tokens {special_tokens!r} is not known; give one of {', '.join(SPECIAL_TOKENS)}"
            )
        self.tokenizer = tokenizer
        # Too long texts are ours to refuse, cut and count; the tokenizer's own warning names no row and no remedy.
        tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
        self.policy = policy or TextPolicy.of(tokenizer)
        self.special_tokens = special_tokens
        self.wrote_plainly = False  # a conversation, with the built-in template, for want of the tokenizer's own
        self._marks_of: dict[str, TemplateMarks | None] = {}

    def with_special_tokens(self, special_tokens: str) -> Renderer:
        """Return the same rule with another treatment of control tokens."""
        return Renderer(self.tokenizer, self.policy, special_tokens)

    @property
    def marks(self) -> TemplateMarks | None:
        """What the chat template writes around a conversation; read once for each template."""
        key = str(self.tokenizer.chat_template)
        if key not in self._marks_of:
            self._marks_of[key] = templates.template_marks(self.tokenizer)
        return self._marks_of[key]

    def render(
        self,
        prompt: Text,
        completion: Completion,
        tools: Sequence[Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the full text that is scored.

        For a decoder its tokenisation without special tokens gives the scored ids, in every tool. Text that an
        encoder's tokenizer frames by itself is given bare.
        """
        if isinstance(completion, TokenIds):
            return str(self.tokenizer.decode(list(completion)))
        plain = self._plain_text(prompt, completion)
        if plain is not None:
            return self._framed(plain)
        return self._apply_template(as_messages(prompt, completion), tools, chat_template_kwargs)

    def frame(self, text: str) -> str:
        """Return a text with the BOS and EOS that it lacks; one that a client rendered ends as the template ends it."""
        if self.is_rendered(text):
            return self._close_rendered(text)
        bos = self.policy.bos_text
        text = self.policy.close(text)
        return text if not bos or text.startswith(bos) else bos + text

    def is_rendered(self, text: str) -> bool:
        """Whether a text begins as the texts of the chat template do, or with its BOS and holds a turn of it.

        Its beginning is the caller's, its end may be an answer's: how a text ends never says that it was rendered.
        """
        marks = self.marks
        body = text.removeprefix(self.tokenizer.bos_token or "")
        if marks is None or _undated(body, marks).startswith(marks.starts or ("\0",)):
            return marks is not None
        # A system message may be the first that a template writes.
        return marks.writes_bos and len(body) < len(text) and bool(turn := marks.turn.strip()) and turn in body

    def encode(
        self,
        prompt: Text,
        completion: Completion,
        tools: Sequence[Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Return the token ids that are scored; token ids pass through, up to the scored one."""
        return self.ids(self.compose(prompt, completion, tools, chat_template_kwargs))

    def compose(
        self,
        prompt: Text,
        completion: Completion,
        tools: Sequence[Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> Composed:
        """Return what is tokenised; token ids pass through, up to the scored one."""
        if isinstance(completion, TokenIds):
            return Composed("", None, self._without_padding(list(completion)))
        hidden, prompt, completion = self._hide(prompt, completion)
        plain = self._plain_text(prompt, completion)
        if plain is not None:
            composed = self._compose_text(plain)
            return composed._replace(said=self._shown(self._framed(plain), hidden), hidden=hidden)
        text = self._apply_template(as_messages(prompt, completion), tools, chat_template_kwargs)
        return Composed(self._shown(text, hidden), text, (), self._frames_itself(text), hidden)

    def compose_all(self, group: PreferenceGroup) -> list[Composed]:
        """Return what is tokenised of each completion; token ids are taken as they are, padding too."""
        options = (group.tools, group.chat_template_kwargs)
        return [
            Composed("", None, c) if isinstance(c, TokenIds) else self.compose(group.prompt, c, *options)
            for c in group.completions
        ]

    def ids(self, composed: Composed, limit: int | None = None) -> list[int]:
        """Tokenise. Raises TooLongError, before it does, for a text that certainly has more tokens than `limit`."""
        if composed.text is not None and limit is not None:
            text = self._shown(composed.text, composed.hidden)
            if self._is_long(text, limit):
                self.long_texts.require(text, limit)
        return self.ids_behind(composed, 0)

    def bounded_ids(self, texts: Sequence[Composed], limit: int | None) -> list[list[int] | None]:
        """Tokenise texts of which nothing is cut; None of one that certainly has more tokens than `limit`."""
        return [None if limit is not None and self.exceeds(text, limit) else self.ids(text) for text in texts]

    def exceeds(self, composed: Composed, limit: int) -> bool:
        """Whether a text certainly has more tokens than `limit`."""
        text = composed.text
        return text is not None and self._is_long(text, limit) and self.long_texts.exceed(text, limit)

    @staticmethod
    def _is_long(text: str, limit: int) -> bool:  # so long that it pays to ask, before it is tokenised, whether it fits
        return len(text) > max(long_texts.PIECE, 4 * limit)

    def ids_behind(self, composed: Composed, place: int) -> list[int]:
        """Tokenise a text from a character on; what stands before all texts stays, and token ids do."""
        if composed.text is None:
            return self.policy.finish(list(composed.before))
        text = composed.text[place:]
        return self.policy.finish([*composed.before, *self._tokenise(text, composed.framed, composed.hidden)])

    @cached_property
    def long_texts(self) -> LongTexts:
        """What is certain of texts before they are tokenised."""
        return LongTexts(self.tokenizer, tokenise_whole)

    def encode_text(self, text: str, rendered: bool = False) -> list[int]:
        """Tokenise a whole text; `rendered` says that it came out of the chat template as it stands."""
        return self.ids(self._compose_text(text, rendered))

    def _compose_text(self, text: str, rendered: bool = False) -> Composed:
        if rendered or self.is_rendered(text):
            text = text if rendered else self._close_rendered(text)
            return Composed(text, text, (), self._frames_itself(text))
        if self.policy.closed_by_tokenizer:
            framed, last = self._frames_itself(text), self.tokenizer.sep_token or self.tokenizer.eos_token or ""
            # What the text already says, the tokenizer must not say again.
            text = text.removesuffix(last) if framed else text if text.endswith(last) else text + last
            return Composed(text, text, (), framed)
        text, bos = self.frame(text), self.policy.bos_text
        # The text after BOS is tokenised as a text of its own, as a tokenizer that adds BOS does it.
        return Composed(text, text[len(bos) :], (self.tokenizer.bos_token_id,) if bos else ())

    def _framed(self, plain: str) -> str:
        return plain if self.policy.pair_separator and not self.is_rendered(plain) else self.frame(plain)

    def _plain_text(self, prompt: Text, completion: Completion) -> str | None:
        """Return prompt plus completion where both are text, None for a conversation."""
        separator = self.policy.pair_separator
        if separator is not None and not self.tokenizer.chat_template:
            prompt, completion = _text_of(prompt), _text_of(completion)
            separator = separator if prompt and completion else ""
        if not isinstance(prompt, str) or not isinstance(completion, str):
            return None
        return prompt + (separator or "") + completion

    def _frames_itself(self, text: str) -> bool:
        """Whether the tokenizer frames a rendered text: an encoder's does, unless the template wrote [CLS]."""
        first = self.tokenizer.cls_token or self.tokenizer.bos_token
        return self.policy.closed_by_tokenizer and not (first and text.startswith(first))

    def _close_rendered(self, text: str) -> str:
        """Return a text that a client rendered as the template itself would have written it."""
        marks, bos = self.marks, self.tokenizer.bos_token or ""
        if marks is None:
            return text
        body = marks.close(_undated(text.removeprefix(bos), marks), self.policy.strips_end)
        return (bos if marks.writes_bos else "") + body

    def _without_padding(self, ids: list[int]) -> list[int]:
        """Return token ids up to the last that is no padding, which Hugging Face scores, too."""
        pad = self.tokenizer.pad_token_id
        # A pad token that also ends texts says nothing about where one ends.
        return ids if pad == self.tokenizer.eos_token_id else without_end(ids, pad)

    @cached_property
    def _control_tokens(self) -> re.Pattern[str]:
        return templates.control_pattern(self.tokenizer)

    def _hide(self, prompt: Text, completion: Completion) -> tuple[list[str], Text, Completion]:
        """Put marks in the place of control tokens in contents; returns what the marks stand for, and both parts."""
        if self.special_tokens == "allow":
            return [], prompt, completion
        hidden: list[str] = []

        def hide(text: str) -> str:
            if self.special_tokens == "refuse" and (found := self._control_tokens.search(text)):
                raise ScoringError(
                    f"the text holds the control token {found[0]!r}; remove it, or score with special_tokens='as_text'"
                )

            def mark(found: re.Match[str]) -> str:
                hidden.append(found[0])
                return f"{HIDE}{len(hidden) - 1}{SHOW}"

            return self._control_tokens.sub(mark, text)

        def part(value: Any) -> Any:
            if isinstance(value, str):
                return hide(value)
            return tuple(replace(m, content=hide(m.content)) if isinstance(m.content, str) else m for m in value)

        are_texts = isinstance(prompt, str) and isinstance(completion, str)
        if are_texts and self.is_rendered(str(prompt) or str(completion)):
            # What a client rendered keeps its control tokens: the whole text, or the prompt before an answer.
            return hidden, prompt, part(completion) if prompt else completion
        return hidden, part(prompt) if prompt else prompt, part(completion)

    def _tokenise(self, text: str, framed: bool, hidden: Sequence[str] = ()) -> list[int]:
        """Tokenise; what is `hidden` in the text becomes the plain characters that it stands for."""
        if not hidden:
            return tokenise_whole(self.tokenizer, text, add_special_tokens=framed)
        ids: list[int] = []
        place = 0
        for found in [*self._control_tokens.finditer(text), None]:
            piece = text[place : found.start() if found else len(text)]
            if piece:
                shown = self._shown(piece, hidden)
                ids += tokenise_whole(self.tokenizer, shown, add_special_tokens=False, split_special_tokens=True)
            if found:
                ids.append(int(self.tokenizer.convert_tokens_to_ids(found[0])))  # type: ignore[arg-type]
                place = found.end()
        return self.tokenizer.build_inputs_with_special_tokens(ids) if framed else ids

    @staticmethod
    def _shown(text: str, hidden: Sequence[str]) -> str:
        """Return a text with what its marks stand for."""
        return re.sub(f"{HIDE}(\\d+){SHOW}", lambda m: hidden[int(m[1])], text) if hidden else text

    def _apply_template(
        self, messages: list[dict[str, Any]], tools: Sequence[Any] | None, options: Mapping[str, Any] | None
    ) -> str:
        template = None
        if not self.tokenizer.chat_template:
            template = templates.plain_template(not self.policy.closed_by_tokenizer, bool(self.policy.bos_text))
            if not self.wrote_plainly:
                self.wrote_plainly = True
                logger.warning(
                    "the tokenizer has no chat template; conversations are written as Human: ... Assistant: ... (a "
                    "template of your own: chat_template_path)"
                )
        return apply_template(self.tokenizer, messages, tools, options, template)


def _undated(text: str, marks: TemplateMarks) -> str:
    """Return a text that a client rendered by its clock with the date that the template writes here."""
    for pattern, written in marks.dates:
        text = re.sub(pattern, written, text, count=1)
    return text


def _text_of(value: object) -> Any:
    """Return the text of a single message; anything else as it is."""
    if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], Message):
        return value[0].content
    return value


def without_end(ids: list[int], token: int | None) -> list[int]:
    """Return ids without the copies of a token at their end; the first id always stays."""
    end = len(ids)
    while token is not None and end > 1 and ids[end - 1] == token:
        end -= 1
    return ids[:end]


def tokenise_whole(tokenizer: PreTrainedTokenizerBase, text: str, **options: bool) -> list[int]:
    """Return the ids of a text. Raises ScoringError where the tokenizer panics, which is no `Exception`."""
    try:
        return tokenizer(text, **options)["input_ids"]
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ScoringError(f"the tokenizer fails at a text of {len(text)} characters; shorten it") from error
