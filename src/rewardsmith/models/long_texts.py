"""What is certain of a long text before it is tokenised, and the tokens of its end or beginning alone.

Tokenising costs 3 to 12 seconds and 250 to 900 MiB a million characters, so a text that cannot fit is told by its bytes
first: a token has at most so many bytes of each value. What normalisers and pre-tokenizers may drop is not counted.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rewardsmith.errors import ScoringError, TooLongError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rewardsmith.models.rendering import Composed, Renderer

# Shorter texts are tokenised at once; longer ones in pieces of this many characters, until they are too long.
PIECE = 2**15
# A longer part of a text is longer by so much: no multiple of a token of one letter, again and again.
LONGER = 16_411
# What a cut changes dies out within so many tokens; an end that is not found again in a longer one is not used.
MARGIN = 64
# Characters of a text that is tokenised whole where its end alone does not say what its tokens are.
MOST_WHOLE = 2**20
CHUNK = 2**13
ALNUM = np.array([chr(byte).isalnum() and byte < 128 for byte in range(256)])
KEPT = np.array([ALNUM[byte] and not chr(byte).isupper() for byte in range(256)])
BLANKS = np.array([chr(byte).isspace() and byte < 128 for byte in range(256)])
HIGH = np.arange(256) >= 128
CLASSES = np.stack([np.ones(256, bool), ALNUM, HIGH, BLANKS, ~(ALNUM | HIGH | BLANKS)])
# They keep every byte, NFC aside, which is applied before bytes are counted.
LOSSLESS = {"NFC", "Prepend", "Replace", "Sequence", "ByteLevel", "Split", "Digits", "Metaspace", "Punctuation"}
# They keep ASCII letters in lower case and digits, and what stands between blanks apart.
KEEPS_LETTERS = LOSSLESS | {"Lowercase", "NFKC", "NFD", "NFKD", "StripAccents", "Strip", "Precompiled"}
KEEPS_LETTERS |= {"BertNormalizer", "BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
SPLITS_AT_BLANKS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Metaspace"}
REPLACED = ("``", "''", " ")  # by what ALBERT, T5 and Gemma write in their place
RUNS_OF_BLANKS = " {2,}"
Tokenise = Callable[[str], list[int]]
Counts = NDArray[np.int64]


class LongTexts:
    """The bounds of one tokenizer; one whose way is not known has none, and reads every text whole.

    Args:
        tokenizer: a fast one, of the library `tokenizers`.
        tokenise: returns the ids of a piece of a text; a ScoringError where the tokenizer fails at it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tokenise: Callable[..., list[int]]) -> None:
        self._tokenizer, self._tokenise = tokenizer, tokenise

    def require(self, text: str, limit: int) -> None:
        """Refuse a text that certainly has more tokens than `limit`. Raises TooLongError."""
        if self.exceed(text, limit):
            raise TooLongError(
                f"the text has over {limit} tokens, the model reads {limit}; shorten it", f"over {limit}"
            )

    def exceed(self, text: str, limit: int) -> bool:
        """Whether a text certainly has more tokens than `limit`; a text of a few characters a token is not asked."""
        if len(text) <= max(PIECE, 4 * limit):
            return False
        return self.fewest(text) > limit or self._has_more(text, 2 * limit)

    def fewest(self, text: str) -> int:
        """Return a number of tokens that a text has at least, by its bytes."""
        way = self._way
        if way is None:
            return 0
        for old, new in way.replaced:
            text = text.replace(old, new)
        if way.composes and not text.isascii():
            text = unicodedata.normalize("NFC", text)
        data = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
        counts = np.bincount(data, minlength=256)
        if way.most is None:
            return int((ALNUM[data[1:]] & (data[:-1] == ord(" "))).sum())
        one = np.where(way.counted, -(-counts // np.maximum(way.most[:256], 1)), 0)
        whole = way.counted_classes * -(-(CLASSES @ counts) // np.maximum(way.most[256:], 1))
        return int(max(one.max(), whole.max()))

    @cached_property
    def _way(self) -> _Way | None:
        return _Way.of(self._tokenizer)

    def _has_more(self, text: str, limit: int) -> bool:
        """Whether the pieces of a text have more tokens than `limit` in all; the count stops there.

        At each cut a few tokens differ from those of the whole text, so `limit` leaves room: it is twice what is asked.
        """
        if self._way is None:
            return False
        count = 0
        for piece in _pieces(text):
            if not self._way.is_lossless and not piece.endswith(" "):
                # A word of any length may be one token, of unknown letters.
                return False
            try:
                count += len(self._tokenise(self._tokenizer, piece, add_special_tokens=False)) - 1
            except ScoringError:
                # The whole text will fail in the same way, and be answered for it.
                return False
            if count > limit:
                return True
        return False


class _Way:
    """What a tokenizer does with bytes.

    Args:
        most: the most bytes of each value, then of each class, in one token; None where a word may be one token.
        counted: which values surely stand in tokens.
        replaced: what is written in place of what before anything else.
        kinds: its parts, where all of them keep every byte.
    """

    def __init__(
        self,
        most: Counts | None = None,
        counted: NDArray[np.bool_] | None = None,
        replaced: Sequence[tuple[str, str]] = (),
        kinds: set[str] | None = None,
    ) -> None:
        self.most, self.replaced, self.is_lossless = most, replaced, kinds is not None
        # Letters and the accents behind them may become one character.
        self.composes = kinds is None or "NFC" in kinds
        self.counted = np.zeros(256, bool) if counted is None else counted
        # Of a class that is not all counted nothing is sure.
        self.counted_classes = (self.counted >= CLASSES).all(axis=1)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> _Way | None:
        """Read a tokenizer's parts; None for one that is not known well enough."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        whole = json.loads(backend.to_str())
        parts = [*_parts(whole["normalizer"]), *_parts(whole["pre_tokenizer"])]
        kinds = {part["type"] for part in parts}
        if not kinds <= KEEPS_LETTERS or not all(map(_keeps_letters, parts)):
            return None
        model, added = whole["model"], whole["added_tokens"]
        strips = any(token["lstrip"] or token["rstrip"] for token in added)
        if model["type"] not in ("BPE", "Unigram"):
            return cls() if kinds & SPLITS_AT_BLANKS and not strips else None
        if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
            return None
        replaced = [(part["pattern"]["String"], part["content"]) for part in parts if _is_plain_replace(part)]
        replaced += [(" ", part["replacement"]) for part in parts if part["type"] == "Metaspace"]
        is_bytes = "ByteLevel" in kinds or bool(model.get("byte_fallback"))
        is_lossless = is_bytes and kinds <= LOSSLESS and not any(map(_is_pattern, parts))
        texts = list(_texts(backend.get_vocab(with_added_tokens=True), added, replaced, "ByteLevel" in kinds))
        counted = np.zeros(256, bool)
        counted[[text[0] for text in texts if len(text) == 1]] = True
        counted &= ~BLANKS if is_lossless and strips else is_lossless | KEPT
        return cls(_most_in_one(texts), counted, replaced, kinds if is_lossless else None)


def _parts(part: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if part is None:
        return
    yield part
    for inner in part.get("normalizers") or part.get("pretokenizers") or ():
        yield from _parts(inner)


def _keeps_letters(part: Mapping[str, Any]) -> bool:
    if part["type"] != "Replace":
        return str(part.get("behavior")).lower() != "removed"
    return part["pattern"].get("String") in REPLACED or part["pattern"].get("Regex") == RUNS_OF_BLANKS


def _is_plain_replace(part: Mapping[str, Any]) -> bool:
    return part["type"] == "Replace" and "String" in part["pattern"]


def _is_pattern(part: Mapping[str, Any]) -> bool:
    return part["type"] == "Replace" and "Regex" in part["pattern"]


def _texts(
    vocabulary: Mapping[str, int], added: Sequence[Mapping[str, Any]], replaced: Sequence[tuple[str, str]], shown: bool
) -> Iterator[bytes]:
    """Yield the bytes of every token; those that are found before blanks are replaced, in either spelling.

    Args:
        shown: whether the vocabulary shows each byte as a character.
    """
    names = [token["content"] for token in added]
    yield from (_bytes_of(token, shown) for token in vocabulary.keys() - set(names))
    for name in names:
        yield name.encode("utf-8", "replace")
        for old, new in replaced:
            name = name.replace(old, new)
        yield name.encode("utf-8", "replace")


def _byte_alphabet() -> dict[str, int]:
    """Return which byte each character of a byte-level vocabulary stands for."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


ALPHABET = _byte_alphabet()
FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


def _bytes_of(token: str, shown: bool) -> bytes:
    """Return the bytes that a token of the vocabulary stands for."""
    if found := FALLBACK.fullmatch(token):
        return bytes([int(found[1], 16)])
    if shown and all(character in ALPHABET for character in token):
        return bytes(ALPHABET[character] for character in token)
    return token.encode("utf-8", "replace")


def _most_in_one(texts: Sequence[bytes]) -> Counts:
    """Return the most bytes of each value, then of each class, that one of the texts holds. Shapes: [256 + classes]."""
    most = np.zeros(256 + len(CLASSES), dtype=np.int64)
    for start in range(0, len(texts), CHUNK):
        part = texts[start : start + CHUNK]
        owners = np.repeat(np.arange(len(part)), [len(text) for text in part])
        data = np.frombuffer(b"".join(part), np.uint8)
        counts = np.bincount(owners * 256 + data, minlength=256 * len(part)).reshape(len(part), 256)
        most = np.maximum(most, np.concatenate([counts.max(0), (counts @ CLASSES.T.astype(np.int64)).max(0)]))
    return most


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces that end behind a blank, where there is one."""
    start = 0
    while start < len(text):
        end = min(len(text), start + PIECE)
        blank = text.rfind(" ", start, end) if end < len(text) else -1
        end = blank + 1 if blank >= start + PIECE // 2 else end
        yield text[start:end]
        start = end


class Cuttable(NamedTuple):
    """Texts that begin alike, tokenised for cutting their common start to a limit.

    Args:
        place: the character from which they were tokenised, 0 for all of each; what is before it is cut in any case.
        ids: of each text; only the first ones of a text that is too long.
        too_long: whether what follows the common start has certainly more tokens than the limit.
    """

    place: int
    ids: list[list[int]]
    too_long: list[bool]


def cuttable_ids(renderer: Renderer, texts: Sequence[Composed], limit: int) -> Cuttable:
    """Tokenise texts of which the common start may be cut, without more of it than is needed.

    What any cut to `limit` tokens leaves is the same as of the whole texts; the first token of each is there.

    Raises:
        TooLongError: the start is too long to be tokenised, and the tokens of its end cannot be told without it.
    """
    plain = [text.text for text in texts if text.text is not None]
    shared = common_start(plain) if len(plain) == len(texts) else 0
    place, bounds = 0, renderer.long_texts
    if shared and bounds.exceed(plain[0][:shared], limit):

        def tokenise(part: str) -> list[int]:
            return renderer.ids_behind(texts[0]._replace(text=part, before=()), 0)

        place = place_of_end(plain[0], shared, limit, tokenise)
    found = Cuttable(place, [], [])
    for text in texts:
        is_long = text.text is not None and bounds.exceed(text.text[shared:], limit)
        part = text._replace(text=(text.text or "")[: shared + PIECE]) if is_long else text
        ids = renderer.ids_behind(part, place)
        if place and _begins_in_text(text):
            ids = [*renderer.ids_behind(text._replace(text=plain[0][:PIECE]), 0)[:1], *ids]
        found.ids.append(ids)
        found.too_long.append(is_long)
    return found


def prompt_tokens_behind(tokenizer: PreTrainedTokenizerBase, prompt: str, text: Composed, place: int) -> int:
    """Count the tokens of a prompt that stand behind a place of the text, as places in its `cuttable_ids`."""
    whole = text.text or ""
    start = max(0, whole.find(prompt)) if place else 0
    before = len(tokenizer(whole[:start], add_special_tokens=False)["input_ids"]) if start else 0
    count = len(tokenizer(prompt[max(0, place - start) :])["input_ids"]) - before
    return count + (place > 0 and _begins_in_text(text))


def _begins_in_text(text: Composed) -> bool:
    """Whether the first id of a text is one of its own words, or a BOS that its template wrote."""
    return not text.before and not text.framed


def common_start(texts: Sequence[str]) -> int:
    """Return how many characters all texts begin with."""
    low, high = min(texts), max(texts)
    known, most = 0, min(len(low), len(high))
    while known < most:
        middle = (known + most + 1) // 2
        known, most = (middle, most) if low[known:middle] == high[known:middle] else (known, middle - 1)
    return known


def place_of_end(text: str, end: int, limit: int, tokenise: Tokenise) -> int:
    """Return a place in a text from which its tokens up to `end` are those of the whole text, and over `limit`.

    They are when a longer part of the text ends in the same tokens. 0 where the whole text is to be tokenised.

    Raises:
        TooLongError: no such place was found, and the whole is too long to be tokenised.
    """
    size = max(PIECE, 8 * limit)
    # Marks of hidden control tokens hold no blank, and may not be cut.
    while size + PIECE < end:
        place, before = _blank_before(text, end - size), _blank_before(text, end - size - LONGER)
        ids = tokenise(text[place:end])[MARGIN:]
        if len(ids) > limit + MARGIN:
            if tokenise(text[before:end])[-len(ids) :] == ids:
                return place
            break
        size *= 2
    if len(text) <= MOST_WHOLE:
        return 0
    raise TooLongError(
        f"its start cannot be cut: the tokens of its end depend on all of its {len(text)} characters; shorten it",
        f"over {limit}",
    )


def first_ids(renderer: Renderer, text: Composed, count: int | None) -> list[int]:
    """Return at least the first `count` ids of a text: of a part of it where a longer part begins in the same ones."""
    whole = text.text or ""
    size = max(PIECE, 8 * (count or 0))
    while count and size + PIECE < len(whole):
        parts = [whole[: _blank_before(whole, end)] for end in (size, size + LONGER)]
        ids, again = (renderer.ids_behind(text._replace(text=part), 0) for part in parts)
        if len(ids) >= count + MARGIN:
            if again[:count] == ids[:count]:
                return ids[:count]
            break
        size *= 2
    return renderer.ids(text)


def _blank_before(text: str, place: int) -> int:
    """Return the place of the last blank in the piece before a place; the place itself where there is none."""
    blank = text.rfind(" ", max(0, place - PIECE // 4), place)
    return place if blank < 0 else blank
