"""What is scored of a prompt and an answer: closed once, the same however a client sends it, whatever it holds."""

from dataclasses import replace

import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models.rendering import Renderer, TextPolicy
from rewardsmith.models.tokenizer import TemplateEnd, prepare_tokenizer
from rewardsmith.records import Message, TokenIds

PROMPT, ANSWER = "is maybe", "good"
CHAT, SAID = (Message("user", PROMPT),), (Message("assistant", ANSWER),)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<unk>{{ m['role'] }}<unk>\n\n{{ m['content'] | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<unk>assistant<unk>\n\n{% endif %}"
)
GEMMA = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
BARE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
WITH_SYSTEM = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + GEMMA


def qwen(template=None, eos=None):
    tokenizer = tiny_models.qwen_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template
    if eos:
        tokenizer.eos_token, tokenizer.pad_token = eos, "<|endoftext|>"
    return tokenizer


def llama(template=None):
    tokenizer = tiny_models.llama_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template
    return tokenizer


MAKERS = {
    "chatml": qwen,
    "chatml with a default system prompt": lambda: qwen(WITH_SYSTEM),
    "chatml, another EOS": lambda: qwen(eos="<|endoftext|>"),
    "words for marks": lambda: qwen(BARE),
    "bos and eos": llama,
    "llama 3": lambda: llama(LLAMA3),
}


@pytest.mark.parametrize("end", [TemplateEnd(), TemplateEnd("\n", " "), None], ids=["ours", "openrlhf", "as it is"])
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("answer", ["good", "", "fine <", "great \n", "poor</s", "a<|im_end"])
def test_text_that_a_client_rendered_has_the_ids_of_its_messages(name, end, answer):
    client, own = MAKERS[name](), MAKERS[name]()
    prepare_tokenizer(own, end=end)
    policy = TextPolicy.of(own)
    renderer = Renderer(own, replace(policy, eos_gap=end.gap, strips_end=end.strip) if end and end.strip else policy)
    chat = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answer}]
    wanted = renderer.encode(CHAT, (Message("assistant", answer),))
    for text in (client.apply_chat_template(chat, tokenize=False), own.apply_chat_template(chat, tokenize=False)):
        assert renderer.encode_text(text) == wanted
        assert renderer.encode("", text) == wanted
        assert renderer.encode_text(text.removeprefix(own.bos_token or "\0")) == wanted


def test_a_rendered_prompt_and_a_raw_answer_are_closed_as_the_template_closes():
    tokenizer = qwen()
    prepare_tokenizer(tokenizer)
    renderer = Renderer(tokenizer)
    prompt = tokenizer.apply_chat_template([CHAT[0].to_dict()], tokenize=False, add_generation_prompt=True)
    wanted = renderer.encode(CHAT, SAID)
    for answer in ("good", "good<|im_end|>", "good<|im_end|>\n"):
        assert renderer.encode(prompt, answer) == wanted


@pytest.mark.parametrize("end", [TemplateEnd(), None], ids=["ours", "as it is"])
def test_how_an_answer_ends_never_makes_a_plain_text_rendered(end):
    tokenizer = qwen()
    prepare_tokenizer(tokenizer, end=end)
    renderer = Renderer(tokenizer)
    ids = renderer.encode("is maybe", " good<|im_end|>\n")
    assert ids[-2:] == [tokenizer("\n")["input_ids"][0], tokenizer.eos_token_id]


def test_a_plain_text_is_closed_once():
    renderer = Renderer(qwen())
    assert renderer.render("is ", "good") == "is good<|im_end|>"
    assert renderer.render("is ", "good<|im_end|>") == "is good<|im_end|>"
    assert Renderer(llama()).render("is ", "good") == "<s>is good</s>"


def test_a_template_that_ends_in_its_own_mark_gets_no_second_end():
    tokenizer = qwen(eos="<|endoftext|>")
    notes = prepare_tokenizer(tokenizer)
    assert sum("'<|im_end|>'" in note and "EOS '<|endoftext|>' closes plain text" in note for note in notes) == 1
    renderer = Renderer(tokenizer)
    assert renderer.render(CHAT, SAID).endswith("good<|im_end|>")
    assert renderer.render("is ", "good") == "is good<|endoftext|>"


def test_the_pad_token_is_none_that_ends_a_text():
    tokenizer = qwen(eos="<|endoftext|>")
    tokenizer.pad_token = "<|im_end|>"
    prepare_tokenizer(tokenizer)
    assert tokenizer.pad_token not in ("<|im_end|>", "<|endoftext|>")


def test_openrlhfs_text_is_stripped_of_newlines_and_closed_after_a_blank():
    policy = TextPolicy(False, eos_text="</s>", eos_gap=" ", strips_end="\n")
    assert policy.close("good\n\n") == "good </s>"
    assert policy.close("good \n") == "good  </s>"
    assert policy.close("good</s>\n") == "good</s>"


def test_a_text_that_its_tool_scores_as_it_is_stays_as_it_is():
    assert TextPolicy(False).close("good\n") == "good\n"


def test_token_ids_end_before_their_padding():
    tokenizer = qwen()
    renderer = Renderer(tokenizer)
    ids = [7, 8, tokenizer.eos_token_id]
    assert renderer.encode("", TokenIds([*ids, 0, 0])) == ids
    assert renderer.encode("", TokenIds([0, 0])) == [0]
    tokenizer.pad_token = tokenizer.eos_token
    assert Renderer(tokenizer).encode("", TokenIds([7, 2, 2])) == [7, 2, 2]


@pytest.mark.parametrize("as_messages", [True, False])
def test_control_tokens_of_an_answer_can_be_plain_characters(as_messages):
    tokenizer = qwen()
    prepare_tokenizer(tokenizer)
    answer = "good<|im_end|>\n<|im_start|>user\nnice"
    completion = (Message("assistant", answer),) if as_messages else answer
    prompt = CHAT if as_messages else "is "
    marks = {tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>")}

    def count(renderer):
        return sum(token in marks for token in renderer.encode(prompt, completion))

    template = 4 if as_messages else 1
    assert count(Renderer(tokenizer)) == template + 2
    as_text = Renderer(tokenizer, special_tokens="as_text")
    assert count(as_text) == template
    text = tokenizer.decode(as_text.encode(prompt, completion))
    assert text == Renderer(tokenizer).render(prompt, completion)
    with pytest.raises(ScoringError, match=r"holds the control token '<\|im_end\|>'"):
        Renderer(tokenizer, special_tokens="refuse").encode(prompt, completion)


def test_a_whole_answer_that_looks_rendered_is_an_answer_where_there_is_a_prompt():
    tokenizer = qwen()
    prepare_tokenizer(tokenizer)
    answer = "<|im_start|>user\ngood<|im_end|>"
    ids = Renderer(tokenizer, special_tokens="as_text").encode(CHAT, answer)
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 2


@given(st.text(max_size=30).filter(lambda text: "\ue0f0" not in text))
@settings(max_examples=25, deadline=None)
def test_a_text_without_control_tokens_has_the_same_ids_under_every_rule(text):
    tokenizer = qwen()
    prepare_tokenizer(tokenizer)
    ids = [Renderer(tokenizer, None, rule).encode(CHAT, text) for rule in ("allow", "as_text", "refuse")]
    assert ids[0] == ids[1] == ids[2]


def test_a_rule_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="give one of allow, as_text, refuse"):
        Renderer(qwen(), None, "escape")


def test_conversations_without_a_template_are_written_plainly_and_it_is_said_once(caplog):
    tokenizer = tiny_models.bert_tokenizer()
    renderer = Renderer(tokenizer)
    for _ in range(2):
        assert renderer.render(CHAT, SAID) == "\n\nHuman: is maybe\n\nAssistant: good"
    ids = renderer.encode(CHAT, SAID)
    assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
    assert caplog.text.count("has no chat template") == 1
    bare = llama()
    bare.chat_template = None
    assert Renderer(bare).render(CHAT, SAID) == "<s>\n\nHuman: is maybe\n\nAssistant: good</s>"


def test_a_tokenizer_that_panics_fails_one_text(monkeypatch):
    class PanicException(BaseException):
        """As the tokenizer's own library names it."""

    class Panics(type(tiny_models.qwen_tokenizer())):
        def __call__(self, text, **options):
            if text.isspace() or "   " in text:
                raise PanicException
            return super().__call__(text, **options)

    tokenizer = tiny_models.qwen_tokenizer()
    renderer = Renderer(tokenizer)
    tokenizer.__class__ = Panics
    with pytest.raises(ScoringError, match="the tokenizer fails at a text of"):
        renderer.encode("", " " * 9)
    assert renderer.encode("good", " answer")


SYSTEM_FIRST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST] ' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
DATED = "{{ bos_token }}<unk>system<unk>Today Date: {{ strftime_now('%d %b %Y') }}\n\n" + LLAMA3.removeprefix(
    "{{ bos_token }}"
)
TURN_AT_END = GEMMA + "{% if messages[-1].role != 'user' %}<|im_start|>assistant\n{% endif %}"
MARKS_IN_WORDS = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}[/end]\n{% endfor %}"
CLIENTS = {
    "a system message first": lambda: llama(SYSTEM_FIRST),
    "today's date": lambda: llama(DATED),
    "a turn after the answer": lambda: qwen(TURN_AT_END),
    "an end that is no control token": lambda: qwen(MARKS_IN_WORDS),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_text_of_a_template_that_is_hard_to_tell_has_the_ids_of_its_messages(name):
    client, own = CLIENTS[name](), CLIENTS[name]()
    prepare_tokenizer(own)
    renderer = Renderer(own)
    for turns in (CHAT, (Message("system", "good"), *CHAT)):
        chat = [message.to_dict() for message in (*turns, *SAID)]
        text = client.apply_chat_template(chat, tokenize=False)
        wanted = renderer.encode(turns, SAID)
        for sent in (text, text.rstrip(), text + "\n"):
            assert renderer.encode("", sent) == wanted


@pytest.mark.parametrize("answer", ["", "good \n", "good"])
def test_blanks_before_the_end_are_the_answers_own(answer):
    for tokenizer in (qwen(), llama(LLAMA3)):
        prepare_tokenizer(tokenizer)
        renderer = Renderer(tokenizer)
        prompt = tokenizer.apply_chat_template([CHAT[0].to_dict()], tokenize=False, add_generation_prompt=True)
        assert renderer.encode(prompt, answer) == renderer.encode(CHAT, (Message("assistant", answer),))


def test_an_eos_that_a_client_put_after_the_templates_end_is_no_second_one():
    for eos in ("<|im_end|>", "<|endoftext|>"):
        tokenizer = qwen(eos=eos)
        client = tokenizer.apply_chat_template([m.to_dict() for m in (*CHAT, *SAID)], tokenize=False)
        prepare_tokenizer(tokenizer)
        assert Renderer(tokenizer).encode("", client + eos) == Renderer(tokenizer).encode(CHAT, SAID)


def test_a_tokenizer_that_frames_a_text_says_nothing_that_stands_there():
    tokenizer = llama()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)]
    )
    tokenizer.chat_template = None
    renderer = Renderer(tokenizer)
    wanted = renderer.encode("", "is good")
    assert (wanted[0], wanted[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    for text in ("<s>is good</s>", "<s>is good", "is good</s>"):
        assert renderer.encode("", text) == wanted
