"""Text that others wrote, made safe to look at: what cannot be seen is named, what is long is cut and counted.

Escaping for HTML is the template's work (autoescape); this file removes what escaping leaves: marks that turn the
direction of writing, null bytes, invisible characters, lone surrogates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 480
LINES = 14
# A list of names that is longer is shown by its number.
LONG_LIST = 40

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Direction marks, zero width, separators, tags, surrogates and non-characters: shown by their number.
_UNSEEN = re.compile(
    "[\x80-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text as the report holds it: the part in sight, the part to unfold, and how many characters were left out."""

    shown: str
    rest: str
    left_out: int
    total: int


def clean(value: object) -> str:
    """Give `value` as text in which nothing is invisible and nothing changes the direction of writing.

    Example:
        >>> clean("a\\x00b\\u202ec")
        'a␀b⟨U+202E⟩c'
    """
    text = str(value).replace("\r\n", "\n")
    text = _CONTROLS.sub(lambda match: "␡" if match[0] == "\x7f" else chr(0x2400 + ord(match[0])), text)
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def excerpt(value: object, limit: int) -> Excerpt:
    """Give the beginning of a text and, up to `limit` characters of it, what can be unfolded."""
    text = str(value)
    kept = text[:limit]
    border = min(SHOWN, len(kept))
    lines = [match.end() for match in re.finditer("\n", kept[:border])]
    if len(lines) > LINES:
        border = lines[LINES]
    # A few characters more are no reason to unfold.
    if len(text) - border < 80 and len(kept) == len(text):
        border = len(kept)
    space = kept.rfind(" ", max(0, border - 30), border)
    if border < len(kept) and space > 0:
        border = space
    return Excerpt(clean(kept[:border]), clean(kept[border:]), len(text) - len(kept), len(text))


def words(name: object) -> str:
    """Give a key such as `tie_rate` as words."""
    return clean(name).replace("_", " ")


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Give each name the shortest end of its path that no other name shares; of a long list of names, their number."""
    parts = {name: [part for part in re.split(r"[/\\]+", name) if part] or [name] for name in names}
    short = {}
    for name, own in parts.items():
        size = 1
        while size < len(own) and any(other != name and parts[other][-size:] == own[-size:] for other in parts):
            size += 1
        short[name] = clean("/".join(own[-size:]))
        if len(short[name]) > LONG_LIST and name.count(", ") > 1:
            short[name] = f"all {name.count(', ') + 1} data sets"
    return short
