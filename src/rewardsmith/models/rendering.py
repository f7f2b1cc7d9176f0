"""From a prompt and a completion to the exact text and token ids that are scored.

One rule for training, scoring and serving. Conversations go through the chat template; plain text is prompt plus
completion, closed by the end-of-sequence token, as TRL feeds it. The rule is kept in the scoring contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from jinja2 import TemplateError

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import Completion, Message, Text, TokenIds

PAD_TOKENS = ("<|finetune_right_pad_id|>", "<pad>", "<|pad|>", "[PAD]", "<|padding|>", "<|endoftext|>")
NEW_PAD_TOKEN = "<|pad|>"
SAMPLE = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Good day."}]


@dataclass(frozen=True)
class TextPolicy:
    """Which special tokens stand around a plain text.

    Args:
        closed_by_tokenizer: the tokenizer itself frames a text ([CLS] ... [SEP] of encoders); nothing is added.
        bos_text: written before a decoder's text, "" when its tokenizer adds none.
        eos_text: written after it, unless it stands there already.
        appended_id: token that some foreign models score; it is put after every text.
        skipped_id: pad token of a foreign model that also ends its texts: Hugging Face's pooling passes over it.
        rendered: how a text out of a foreign chat template begins and ends, where it does not end in EOS; such a text
            is closed already.
        pair_separator: what a foreign encoder was trained to read between a question and its answer.
    """

    closed_by_tokenizer: bool
    bos_text: str = ""
    eos_text: str = ""
    appended_id: int | None = None
    skipped_id: int | None = None
    rendered: tuple[str, str] | None = None
    pair_separator: str | None = None

    def __post_init__(self) -> None:
        if self.rendered is not None:
            # JSON, in which a contract is kept, has lists only.
            object.__setattr__(self, "rendered", tuple(self.rendered))

    @classmethod
    def of(cls, tokenizer: Any) -> TextPolicy:
        """Read off what the tokenizer adds by itself."""
        framed = tokenizer("a")["input_ids"]
        bare = tokenizer("a", add_special_tokens=False)["input_ids"]
        start = next((i for i in range(len(framed)) if framed[i : i + len(bare)] == bare), 0)
        if framed[start + len(bare) :]:
            return cls(True)
        bos = tokenizer.bos_token if start and framed[0] == tokenizer.bos_token_id else ""
        return cls(False, bos or "", tokenizer.eos_token or "")

    def to_dict(self) -> dict[str, Any]:
        """Give the plain form for the scoring contract."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def finish(self, ids: list[int]) -> list[int]:
        """Give the ids up to the token that is scored."""
        end = len(ids)
        while self.skipped_id is not None and end > 1 and ids[end - 1] == self.skipped_id:
            end -= 1
        ids = ids[:end]
        return ids if self.appended_id is None or ids[-1:] == [self.appended_id] else [*ids, self.appended_id]


class Written(NamedTuple):
    """A rendered text and its token ids, as they are scored."""

    text: str
    ids: list[int]


class Renderer:
    """Render and tokenise by one rule.

    Args:
        tokenizer: its chat template ends in EOS once `prepare_tokenizer` has seen it.
        policy: which special tokens stand around a plain text; None reads it off the tokenizer.
    """

    def __init__(self, tokenizer: Any, policy: TextPolicy | None = None) -> None:
        self.tokenizer = tokenizer
        self.policy = policy or TextPolicy.of(tokenizer)

    def render(
        self,
        prompt: Text,
        completion: Completion,
        tools: Sequence[Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Give the full text that is scored.

        For a decoder its tokenisation without special tokens gives the scored ids, in every tool. Text that an
        encoder's tokenizer frames by itself is given bare.
        """
        if isinstance(completion, TokenIds):
            return self.tokenizer.decode(list(completion))
        separator = self.policy.pair_separator
        if separator is not None and not self.tokenizer.chat_template:
            prompt, completion = _text_of(prompt), _text_of(completion)
            separator = separator if prompt and completion else ""
            if isinstance(prompt, str) and isinstance(completion, str):
                return prompt + separator + completion
        messages = as_conversation(prompt, completion)
        if messages is not None:
            return self._apply_template(messages, tools, chat_template_kwargs)
        return self.frame(str(prompt) + str(completion))

    def frame(self, text: str) -> str:
        """Add the BOS and EOS text that a plain text lacks."""
        policy = self.policy
        if policy.bos_text and not text.startswith(policy.bos_text):
            text = policy.bos_text + text
        if policy.eos_text and not text.endswith(policy.eos_text) and not self.is_rendered(text):
            text += policy.eos_text
        return text

    def is_rendered(self, text: str) -> bool:
        """Whether a text shows the marks of a chat template that does not end in EOS."""
        if self.policy.rendered is None:
            return False
        start, end = self.policy.rendered
        # An ending of white space alone is no mark; then the beginning has to be there too.
        return text.endswith(end) and (bool(end.strip()) or (bool(start) and text.startswith(start)))

    def encode(
        self,
        prompt: Text,
        completion: Completion,
        tools: Sequence[Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Give the token ids that are scored; token ids pass through, up to the scored one."""
        return self.write(prompt, completion, tools, chat_template_kwargs).ids

    def write(
        self,
        prompt: Text,
        completion: Completion,
        tools: Sequence[Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> Written:
        """Return the text and the ids that are scored; token ids pass through and have no text."""
        if isinstance(completion, TokenIds):
            return Written("", self.policy.finish(list(completion)))
        conversation = as_conversation(prompt, completion) is not None
        if self.policy.pair_separator is not None and not self.tokenizer.chat_template:
            conversation = False
        text = self.render(prompt, completion, tools, chat_template_kwargs)
        return Written(text, self.encode_text(text, conversation))

    def encode_text(self, text: str, rendered: bool = False) -> list[int]:
        """Tokenise a text; `rendered` says that it came out of the chat template."""
        return self.policy.finish(self._tokenise(text, rendered))

    def _tokenise(self, text: str, rendered: bool) -> list[int]:
        if self.policy.closed_by_tokenizer:
            return self.tokenizer(text, add_special_tokens=not rendered)["input_ids"]
        text = text if rendered else self.frame(text)
        bos = self.policy.bos_text
        if bos and not rendered:
            # The text after BOS is tokenised as a text of its own, as a tokenizer that adds BOS does it.
            bare = self.tokenizer(text[len(bos) :], add_special_tokens=False)["input_ids"]
            return [self.tokenizer.bos_token_id, *bare]
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _apply_template(
        self, messages: list[dict[str, Any]], tools: Sequence[Any] | None, options: Mapping[str, Any] | None
    ) -> str:
        if not self.tokenizer.chat_template:
            raise ConfigError(
                "the tokenizer has no chat template, so conversations cannot be rendered; set chat_template_path "
                "or tokenizer.chat_template"
            )
        try:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, tools=tools, **(options or {}))
        except (TemplateError, TypeError) as error:
            # TypeError: a template that joins strings was given content in parts.
            roles = ", ".join(str(message["role"]) for message in messages)
            raise ScoringError(f"the chat template refused a conversation of the roles {roles}: {error}") from error
        for message in messages:
            content = message["content"]
            if isinstance(content, list) and str(content) in text:
                # A template for text alone prints the list itself, brackets and all.
                raise ScoringError(
                    f"the chat template takes text only, and content of role {message['role']} is in parts; give text"
                )
        return text


def _text_of(value: Any) -> Any:
    """Give the text of a single message; anything else as it is."""
    if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], Message):
        return value[0].content
    return value


def as_conversation(prompt: Text, completion: Completion) -> list[dict[str, Any]] | None:
    """Give the messages of prompt and completion, or None when both are plain text.

    A text completion of a conversation is the assistant's message; a text prompt before messages is the user's.
    """
    if isinstance(prompt, str) and isinstance(completion, str):
        return None
    before = [Message("user", prompt)] if isinstance(prompt, str) and prompt else list(prompt or ())
    after = [Message("assistant", completion)] if isinstance(completion, str) else list(completion)
    return [message.to_dict() for message in [*before, *after]]  # type: ignore[union-attr]


def template_marks(tokenizer: Any) -> tuple[str, str] | None:
    """Give what a chat template writes before a question and after its answer; None without a usable template."""
    if not tokenizer.chat_template:
        return None
    try:
        text = tokenizer.apply_chat_template(SAMPLE, tokenize=False)
    except (TemplateError, ValueError):
        return None
    start, question, _ = text.partition(SAMPLE[0]["content"])
    _, answer, end = text.rpartition(SAMPLE[1]["content"])
    return (start, end) if question and answer else None


def pair_separator(tokenizer: Any) -> str | None:
    """Give the text that makes one text of two in the tokenizer's own way; None when there is none."""
    if not tokenizer.sep_token:
        return None
    first, second = "one", "two"
    pair = tokenizer(first, second)["input_ids"]
    for count in (1, 2):
        separator = tokenizer.sep_token * count
        if tokenizer(first + separator + second)["input_ids"] == pair:
            return separator
    return None


def prepare_tokenizer(tokenizer: Any, model: Any = None, *, end_in_eos: bool = True) -> list[str]:
    """Give the tokenizer a pad token that is not EOS and a chat template that ends in EOS; say what was changed.

    `end_in_eos=False` leaves the template as it is, for models that were trained with it so.

    Pad equal to EOS makes Hugging Face's classifiers score the token before EOS; a template that ends in a newline
    makes tools score different tokens (docs/migrating-from-trl.md).
    """
    notes = _separate_pad(tokenizer, model)
    if model is not None:
        config = model.config.get_text_config()
        config.pad_token_id = tokenizer.pad_token_id
        if tokenizer.eos_token_id is not None:
            config.eos_token_id = tokenizer.eos_token_id
    if end_in_eos and tokenizer.chat_template and tokenizer.eos_token:
        notes += _end_template_in_eos(tokenizer)
    return notes


def _separate_pad(tokenizer: Any, model: Any) -> list[str]:
    """Choose a pad token that is none of the tokens a text holds."""
    taken = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in taken:
        return []
    before = tokenizer.pad_token
    vocabulary = tokenizer.get_vocab()
    rows = None if model is None else model.get_input_embeddings().num_embeddings
    for token in PAD_TOKENS:
        known = vocabulary.get(token)
        if known is not None and known not in taken and (rows is None or known < rows):
            tokenizer.pad_token = token
            break
    else:
        tokenizer.add_special_tokens({"pad_token": NEW_PAD_TOKEN})
        if rows is not None and tokenizer.pad_token_id >= rows:
            model.resize_token_embeddings(len(tokenizer))
    why = "there was none" if before is None else f"{before!r} also ends or begins a text"
    return [f"the pad token is now {tokenizer.pad_token!r} (id {tokenizer.pad_token_id}): {why}"]


def _end_template_in_eos(tokenizer: Any) -> list[str]:
    """Wrap a template that does not end in EOS so that it does, and check the wrapping on a sample."""
    original = tokenizer.chat_template
    if not isinstance(original, str):
        raise ConfigError("the tokenizer has several chat templates; set tokenizer.chat_template to the one to use")
    try:
        before = tokenizer.apply_chat_template(SAMPLE, tokenize=False)
    except TemplateError as error:
        return [f"the chat template refused a one-turn conversation and was left as it is: {error}"]
    eos = tokenizer.eos_token
    if before.endswith(eos):
        return []
    tokenizer.chat_template = (
        "{% set conversation %}" + original + "{% endset %}"
        "{% if add_generation_prompt %}{{ conversation }}{% else %}"
        "{% set conversation = conversation.rstrip() %}"
        "{{ conversation }}{% if not conversation.endswith(eos_token) %}{{ eos_token }}{% endif %}"
        "{% endif %}"
    )
    after = tokenizer.apply_chat_template(SAMPLE, tokenize=False)
    stripped = before.rstrip()
    if after != (stripped if stripped.endswith(eos) else stripped + eos):
        tokenizer.chat_template = original
        return ["the chat template does not end in EOS and could not be wrapped; the scored token is its last one"]
    ending = repr(before[-len(eos) - 2 :])
    return [f"the chat template ended in {ending}; it now ends in EOS {eos!r}, which is the token that is scored"]
