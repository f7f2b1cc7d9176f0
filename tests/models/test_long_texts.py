"""What is said of a long text before it is tokenised holds when it is; what a cut leaves is the same either way."""

import random

import pytest
import tiny_models
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rewardsmith.errors import TooLongError
from rewardsmith.models import long_texts
from rewardsmith.models.long_texts import LongTexts, common_start, cuttable_ids, first_ids
from rewardsmith.models.rendering import Renderer, tokenise_whole
from rewardsmith.models.tokenizer import prepare_tokenizer
from rewardsmith.records import Message
from rewardsmith.scoring.truncation import cut_shared_start, fit_dialogues

CORPUS = ["good bad fine nice aaaaaaaa aaaaaaaaaaaa    \n\n indent w1 w2 h\u00e9llo \U0001f600 na\u00efve"] * 50
UNITS = ["a", " ", "good bad fine ", "\n", "\U0001f600", "e\u0301", "ab ", "\u2588", "\u0958", "\u2581 ", "A", "x, 1! "]


def wrapped(tokenizer, trainer):
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    blanks = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), blanks])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return wrapped(tokenizer, trainers.UnigramTrainer(vocab_size=60, special_tokens=["<unk>"], unk_token="<unk>"))


def byte_fallback():
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    specials = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    return wrapped(tokenizer, trainers.BpeTrainer(vocab_size=400, special_tokens=specials))


def word_pieces():
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return wrapped(tokenizer, trainers.WordPieceTrainer(vocab_size=150, special_tokens=["<unk>"]))


def normalised_bytes():
    tokenizer = tiny_models.qwen_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    return tokenizer


TOKENIZERS = {
    "bytes": tiny_models.qwen_tokenizer,
    "bytes after NFC": normalised_bytes,
    "unigram": unigram,
    "byte fallback": byte_fallback,
    "word pieces": word_pieces,
    "words": tiny_models.bert_tokenizer,
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_no_text_has_fewer_tokens_than_its_bytes_say(name, monkeypatch):
    monkeypatch.setattr(long_texts, "PIECE", 256)
    tokenizer, chance = TOKENIZERS[name](), random.Random(0)
    bounds, told = LongTexts(tokenizer, tokenise_whole), 0
    for unit in [*UNITS, *("".join(chance.choices(UNITS, k=40)) for _ in range(20))]:
        text = unit * (3000 // len(unit) + 1)
        count = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        assert bounds.fewest(text) <= count, unit
        for limit in (5, 50, 500, count):
            assert not bounds.exceed(text, limit) or count > limit, unit
        told += bounds.exceed(text, 50)
    assert told > 3


def test_a_tokenizer_of_an_unknown_way_has_no_bound():
    class Slow:
        def __call__(self, text, **options):
            raise AssertionError("a text was tokenised")

    assert LongTexts(Slow(), tokenise_whole).fewest("a" * 10**6) == 0
    assert not LongTexts(Slow(), tokenise_whole).exceed("a" * 10**6, 5)
    tokenizer = tiny_models.qwen_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("a", "")
    assert not LongTexts(tokenizer, tokenise_whole).exceed("a" * 10**6, 5)


def renderer_of(maker):
    tokenizer = maker()
    prepare_tokenizer(tokenizer)
    return Renderer(tokenizer)


def texts_of(renderer, start, kind):
    answers = ("good", "bad fine", "nice " * 30)
    if kind == "chat":
        return [renderer.compose((Message("user", start),), (Message("assistant", a),)) for a in answers]
    if kind == "dialogue":
        return [renderer.compose("", start + a) for a in answers]
    return [renderer.compose(start, a) for a in answers]


@pytest.mark.parametrize("kind", ["chat", "plain", "dialogue"])
@pytest.mark.parametrize("maker", [tiny_models.qwen_tokenizer, tiny_models.llama_tokenizer, tiny_models.bert_tokenizer])
def test_what_a_cut_leaves_is_that_of_the_whole_text(maker, kind, monkeypatch):
    monkeypatch.setattr(long_texts, "PIECE", 512)
    renderer, limit = renderer_of(maker), 100
    if kind == "chat" and not renderer.tokenizer.chat_template:
        pytest.skip("it has no chat template")
    chance = random.Random(1)
    start = " ".join(chance.choices(["good", "bad", "fine", "nice", "w\u00e4re"], k=9000)) + " "
    texts = texts_of(renderer, start, kind)
    found = cuttable_ids(renderer, texts, limit)
    assert found.place > len(start) // 2
    assert found.too_long == [False] * 3
    whole = [renderer.ids(text) for text in texts]
    assert cut_shared_start(found.ids, limit) == cut_shared_start(whole, limit)
    fitted = fit_dialogues(renderer, texts, limit)
    assert (fitted.sequences, fitted.cut) == (cut_shared_start(whole, limit), [True] * 3)
    assert first_ids(renderer, texts[0], limit)[:limit] == whole[0][:limit]
    short = texts_of(renderer, "good ", kind)
    assert cuttable_ids(renderer, short, limit).ids == [renderer.ids(text) for text in short]


def test_a_start_whose_end_depends_on_all_of_it_is_read_whole_or_refused(monkeypatch):
    monkeypatch.setattr(long_texts, "PIECE", 512)
    renderer = renderer_of(byte_fallback_of_one_letter)
    texts = [renderer.compose("a" * 30_001, answer) for answer in ("b", "ab")]
    found = cuttable_ids(renderer, texts, 50)
    assert (found.place, found.ids) == (0, [renderer.ids(text) for text in texts])
    monkeypatch.setattr(long_texts, "MOST_WHOLE", 1000)
    with pytest.raises(TooLongError, match="its start cannot be cut: the tokens of its end depend on all of its 3000"):
        cuttable_ids(renderer, texts, 50)


def byte_fallback_of_one_letter():
    """Joins letters from the left, by threes, so that every token depends on where the text began."""
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "aa": 2, "aaa": 3, "<e>": 4}, [("a", "a"), ("aa", "a")]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<e>", pad_token="b")


def test_what_follows_the_common_start_alone_may_be_too_long(monkeypatch):
    monkeypatch.setattr(long_texts, "PIECE", 512)
    renderer = renderer_of(tiny_models.qwen_tokenizer)
    texts = [renderer.compose("good ", answer) for answer in ("fine", "bad " * 5000)]
    assert cuttable_ids(renderer, texts, 50).too_long == [False, True]
    assert renderer.bounded_ids(texts, 50) == [renderer.ids(texts[0]), None]
    with pytest.raises(TooLongError, match="the answer and its markup alone have over 50 tokens"):
        fit_dialogues(renderer, texts, 50)


def test_the_common_start_is_counted_in_characters():
    assert common_start(["abcd", "abce", "abc"]) == 3
    assert common_start(["x" * 1000 + "a", "x" * 1000 + "b"]) == 1000
    assert common_start(["a", "b"]) == 0
    assert common_start(["same", "same"]) == 4
