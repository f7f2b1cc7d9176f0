"""Special tokens: padding, BOS, EOS, the chat template, the size of the vocabulary. Nothing is computed here."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

from transformers.utils import chat_template_utils

from rewardsmith.doctor.subject import MOST_CHARACTERS, REFUSED, Subject
from rewardsmith.errors import one_line
from rewardsmith.findings import Finding, Level
from rewardsmith.records import Message

QUESTION, ANSWER = "What is the capital of France?", "Paris is the capital of France."
SAID = (Message("assistant", ANSWER),)
MOMENTS = (datetime(2001, 2, 3, 4, 5, 6), datetime(2013, 11, 27, 17, 48, 59))
# What a template may drop: what it is called, the prompt, the answer, and how bad it is.
SAMPLES: tuple[tuple[str, tuple[Message, ...], tuple[Message, ...], Level], ...] = (
    (
        "the end or the middle of a long text",
        (Message("user", " ".join(f"Line {i} of the question." for i in range(400))),),
        (Message("assistant", " ".join(f"Line {i} of the answer." for i in range(400))),),
        "red",
    ),
    (
        "earlier turns",
        (Message("user", "My name is Ada."), Message("assistant", "Hello Ada."), Message("user", "Who am I?")),
        (Message("assistant", "You are Ada."),),
        "red",
    ),
    ("the system message", (Message("system", "Answer in rhyme."), Message("user", QUESTION)), SAID, "yellow"),
    (
        "reasoning inside an answer",
        (Message("user", QUESTION),),
        (Message("assistant", f"<think>It begins with P.</think>{ANSWER}"),),
        "yellow",
    ),
)
REPAIRED = "`rewardsmith train` repairs it in what it saves"


def check_pad_token(subject: Subject) -> Finding:
    """Find a pad token that is missing, is EOS, or differs between tokenizer and config.

    Hugging Face's classifiers score the right-most token that is not `config.pad_token_id`, whatever the mask says.
    """
    tokenizer, config_id = subject.tokenizer, getattr(subject.config, "pad_token_id", None)
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    name = "pad token"
    if pad is None:
        message = "the tokenizer has no pad token; tools then pad with EOS and score the token before EOS"
        return Finding(subject.fault, name, message, f"set a pad token that is not EOS; {REPAIRED}")
    if subject.is_decoder and eos is not None and eos in (pad, config_id):
        message = f"pad equals EOS ({tokenizer.eos_token!r}, id {eos}): Hugging Face scores the token before EOS"
        return Finding(subject.fault, name, message, f"set another pad token and config.pad_token_id; {REPAIRED}")
    if config_id is None and subject.is_decoder:
        message = f"config.pad_token_id is missing, the tokenizer pads with id {pad}: batches cannot be scored"
        return Finding(subject.fault, name, message, f"set config.pad_token_id = {pad}; {REPAIRED}")
    if config_id != pad:
        message = f"config.pad_token_id is {config_id}, the tokenizer pads with id {pad}: padding is read as text"
        return Finding(subject.fault, name, message, f"set config.pad_token_id = {pad}; {REPAIRED}")
    return Finding("green", name, f"{tokenizer.pad_token!r} (id {pad}) is not EOS and is the config's")


def check_vocabulary(subject: Subject) -> Finding:
    """Find tokens without an embedding: their ids crash a GPU or read foreign memory."""
    rows = getattr(subject.config, "vocab_size", None)
    if subject.model is not None:
        rows = subject.model.get_input_embeddings().num_embeddings
    size = max(subject.tokenizer.get_vocab().values(), default=-1) + 1
    if rows is not None and size > rows:
        remedy = "call model.resize_token_embeddings(len(tokenizer)) before training, or load the matching tokenizer"
        return Finding("red", "vocabulary", f"the tokenizer has ids up to {size - 1}, the model {rows} rows", remedy)
    return Finding("green", "vocabulary", f"{size} token ids, {rows} embedding rows")


def check_chat_template(subject: Subject) -> Finding:
    """Find a chat template that is missing, ambiguous, or cannot render a question with its answer."""
    template = subject.tokenizer.chat_template
    name = "chat template"
    if not template:
        if not subject.is_decoder or (subject.contract and subject.contract.chat_template_sha256 is None):
            return Finding("green", name, "none; this model was saved for plain texts")
        remedy = "set tokenizer.chat_template (or chat_template_path in training); plain texts need none"
        return Finding(
            "yellow",
            name,
            "there is none: conversations are written as Human: ... Assistant: ..., and other tools refuse them",
            remedy,
        )
    if not isinstance(template, str):
        remedy = "set tokenizer.chat_template to the one that the model is scored with"
        return Finding("red", name, f"there are {len(template)} templates, and nothing says which one scores", remedy)
    try:
        text = rendered_conversation(subject)
    except REFUSED as error:
        return Finding(
            "red", name, f"it cannot render one question with its answer: {one_line(error, MOST_CHARACTERS)}", "mend it"
        )
    if ANSWER not in text or QUESTION not in text:
        lost = "answer" if ANSWER not in text else "question"
        return Finding("red", name, f"the rendered text does not hold the {lost}", "mend the template's loop")
    return Finding("green", name, "it renders a question with its answer")


def check_whole_texts(subject: Subject) -> Finding | None:
    """Find a chat template that cuts long answers, drops a part of them, or forgets earlier turns."""
    if not isinstance(subject.tokenizer.chat_template, str):
        return None
    name = "whole texts"
    for what, prompt, answer, level in SAMPLES:
        try:
            text = subject.renderer.render(prompt, answer)
        except REFUSED:
            # Some templates take no system message and no reasoning; a refusal is not silent.
            continue
        if any(str(message.content) not in text for message in (*prompt, *answer)):
            remedy = "use a template that writes texts whole: two answers may become one"
            return Finding(level, name, f"the chat template drops {what}", remedy)
    return Finding("green", name, "long answers, reasoning and earlier turns are rendered whole")


def check_template_is_constant(subject: Subject) -> Finding | None:
    """Find a chat template that writes the date, the time or something random: one text, another reward tomorrow."""
    if not isinstance(subject.tokenizer.chat_template, str):
        return None
    name = "constant template"
    try:
        texts = [_rendered_at(subject, moment) for moment in (*MOMENTS, MOMENTS[0])]
    except REFUSED:
        return None
    if texts[0] != texts[2]:
        message = "the chat template writes something random: the same text gets another reward each time"
        return Finding("red", name, message, "remove it from the template")
    if texts[0] != texts[1]:
        message = "the chat template writes the date or time: the same text gets another reward tomorrow"
        return Finding("red", name, message, "write a fixed date into the template, and train with it")
    return Finding("green", name, "it writes the same at any time")


def check_ending(subject: Subject) -> Finding | None:
    """Find a scored sequence that does not end in EOS: tools that add or strip something score other tokens."""
    if not subject.is_decoder:
        return None
    eos = subject.tokenizer.eos_token
    name = "ending"
    if eos is None:
        remedy = "set tokenizer.eos_token, so that the end of an answer has a token of its own"
        return Finding(subject.fault, name, "the tokenizer has no EOS token: the last word is scored", remedy)
    try:
        text = rendered_conversation(subject)
    except REFUSED:
        text = subject.renderer.render(QUESTION, ANSWER)
    if text.endswith(eos):
        return Finding("green", name, f"a rendered conversation ends in EOS {eos!r}")
    remedy = f"let the template end in {eos!r} and nothing after it; {REPAIRED}"
    if text.rstrip().endswith(eos):
        after = text[len(text.rstrip()) :]
        message = f"the template ends in {after!r} after EOS: tools that strip it score another token"
        return Finding(subject.fault, name, message, remedy)
    message = f"the rendered text ends in {text[-12:]!r}, EOS {eos!r} is missing: tools that append it score another"
    return Finding(subject.fault, name, message, remedy)


def check_eos_inside(subject: Subject) -> Finding | None:
    """Find EOS before the answer where a tool that looks for the first EOS or pad would score the prompt."""
    if not subject.is_decoder:
        return None
    eos = subject.tokenizer.eos_token_id
    name = "EOS inside"
    if eos is None or not subject.tokenizer.chat_template:
        return Finding("green", name, "no template that could write EOS into the prompt")
    try:
        ids = conversation_ids(subject)
    except REFUSED:
        return Finding("green", name, "not looked at: the template renders nothing")
    inner = ids[:-1].count(eos)
    # A template that ends in a newline has its closing EOS before the last token.
    text = rendered_conversation(subject)
    inner -= int(ids[-1] != eos and text.rstrip().endswith(subject.tokenizer.eos_token))
    if inner <= 0:
        return Finding("green", name, "EOS stands only at the end")
    ends = text.rstrip().endswith(subject.tokenizer.eos_token)
    if not ends or eos in (subject.tokenizer.pad_token_id, getattr(subject.config, "pad_token_id", None)):
        why = "and none ends the answer" if not ends else "and EOS is also the pad token"
        message = f"the template writes {inner} EOS before the answer, {why}: a token of the prompt may be scored"
        return Finding(subject.fault, name, message, f"close earlier turns by another token; {REPAIRED}")
    return Finding("green", name, f"EOS also closes earlier turns ({inner}); the last one is scored, as pad is not EOS")


def check_double_bos(subject: Subject) -> Finding | None:
    """Find two BOS tokens: written by the template and added again by the tokenizer."""
    if not subject.is_decoder:
        return None
    tokenizer, bos = subject.tokenizer, subject.tokenizer.bos_token_id
    name = "double BOS"
    if bos is None:
        return Finding("green", name, "there is no BOS token")
    text, ids = _any_text(subject)
    if ids[:2] == [bos, bos]:
        message = f"the rendered text starts with two BOS tokens: {tokenizer.decode(ids[:3])!r}"
        return Finding("red", name, message, "let either the template or the text write BOS, not both")
    again = list(tokenizer(text)["input_ids"])
    if again[:2] == [bos, bos]:
        message = "the template writes BOS and the tokenizer adds another where special tokens are on"
        remedy = f"tokenise rendered text with add_special_tokens=False; {REPAIRED}"
        return Finding("yellow", name, message, remedy)
    return Finding("green", name, f"{'one' if ids[:1] == [bos] else 'no'} BOS, however the text is tokenised")


def _rendered_at(subject: Subject, moment: datetime) -> str:
    """Render the sample conversation as if it were `moment`."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls(*moment.timetuple()[:6], tzinfo=tz)

    # transformers gives templates `strftime_now`, which asks this name for the time.
    library: Any = chat_template_utils
    kept = library.datetime
    library.datetime = Clock
    try:
        return rendered_conversation(subject)
    finally:
        library.datetime = kept


def rendered_conversation(subject: Subject) -> str:
    """Render the sample conversation; without a template the same as plain text."""
    if not subject.tokenizer.chat_template:
        return subject.renderer.render(QUESTION, ANSWER)
    return subject.renderer.render((Message("user", QUESTION),), (Message("assistant", ANSWER),))


def conversation_ids(subject: Subject) -> list[int]:
    """Return the token ids of the sample conversation."""
    if not subject.tokenizer.chat_template:
        return subject.renderer.encode(QUESTION, ANSWER)
    return list(subject.renderer.encode((Message("user", QUESTION),), (Message("assistant", ANSWER),)))


def _any_text(subject: Subject) -> tuple[str, list[int]]:
    try:
        return rendered_conversation(subject), conversation_ids(subject)
    except REFUSED:
        return subject.renderer.render(QUESTION, ANSWER), subject.renderer.encode(QUESTION, ANSWER)


TOKEN_CHECKS = (
    check_pad_token,
    check_vocabulary,
    check_chat_template,
    check_whole_texts,
    check_template_is_constant,
    check_ending,
    check_eos_inside,
    check_double_bos,
)
