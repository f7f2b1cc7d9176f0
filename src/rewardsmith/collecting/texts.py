"""Show hostile text: Markdown without HTML, sanitised again, with invisible characters made visible; diffs.

Raw HTML is shown as text, since it is part of what annotators judge. Images are left out: they could track readers or
tell them who wrote an answer.
"""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markupsafe import Markup

LONGEST_RENDERED = 64 * 1024
LONGEST_DIFF_WORDS = 6_000
TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
    "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
# Direction overrides and isolates, zero-width characters, soft hyphen, tags: what changes a text without being seen.
# Joiners (200C, 200D) stay: Persian and emoji need them.
UNSEEN = re.compile(
    "[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)
LONG_NOTE = Markup(f'<p class="soft">Longer than {LONGEST_RENDERED:,} characters: shown as it was written.</p>')
DIFF_NOTE = Markup(f'<p class="soft">Longer than {LONGEST_DIFF_WORDS:,} words: differences are not marked.</p>')
HEADING, HEADING_END = re.compile(r"<h([1-6])>"), re.compile(r"</h[1-6]>")
MATH = re.compile(
    r"\\\((?:.{1,2000}?)\\\)|\\\[(?:.{1,4000}?)\\\]|\$\$(?:.{1,4000}?)\$\$"
    r"|\\begin\{([A-Za-z]{1,20}\*?)\}.{1,4000}?\\end\{\1\}"
    # One dollar on either side, as Pandoc reads it, and only around what looks like a formula: prices are none.
    r"|(?<![\w$])\$(?=[^$\n]{0,400}?[\\^_{=*])(?=[^\s$])(?:\\.|[^$\\\n]){0,400}?(?<!\s)\$(?![\w$])",
    re.DOTALL,
)


PRODUCT = re.compile(r"(?<=[A-Za-z0-9)])\*(?=[A-Za-z0-9(])|(?<=[0-9)])\*\*(?=[0-9(])")


def _math(state: StateInline, silent: bool) -> bool:
    r"""Keep LaTeX as written: \(...\), \[...\], $...$ and environments would lose backslashes and underscores."""
    if state.src[state.pos] not in "\\$":
        return False
    found = MATH.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        token = state.push("code_inline", "code", 0)
        token.content = found[0]
    state.pos = found.end()
    return True


def _product(state: StateInline, silent: bool) -> bool:
    """Keep the stars of 12*13*2, (a+b)*(c+d)*e and 2**3**2, which Markdown reads as emphasis and does not show."""
    found = PRODUCT.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        state.pending += found[0]
    state.pos = found.end()
    return True


def _make_reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    reader.inline.ruler.before("escape", "math", _math)
    reader.inline.ruler.before("emphasis", "product", _product)
    return reader.disable(["image"])


_reader = _make_reader()
_cleaner = nh3.Cleaner(
    tags=TAGS,
    attributes={"a": {"href"}, "ol": {"start"}},
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer nofollow",
)


def storable(text: str) -> str:
    """Return text that UTF-8 and PostgreSQL can hold: NUL and halves of surrogate pairs are replaced."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


# A thousand answers of the longest kind are 100 MB.
@lru_cache(maxsize=1024)
def render_markdown(text: str) -> Markup:
    """Return Markdown as safe HTML; text beyond 64 KiB is shown as it is.

    Headings become bold paragraphs, so that a text is no part of the page's own outline.

    Example:
        >>> print(render_markdown("**b** <script>"))
        <p><strong>b</strong> &lt;script&gt;</p>
        <BLANKLINE>
    """
    if len(text) > LONGEST_RENDERED:
        return LONG_NOTE + render_raw(text)
    safe = _cleaner.clean(_reader.render(storable(text)))
    safe = HEADING.sub(r'<p class="h\1">', safe)
    safe = HEADING_END.sub("</p>", safe)
    safe = safe.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
    safe = safe.replace("<pre>", '<pre tabindex="0">')
    return Markup(show_unseen(safe))


@lru_cache(maxsize=64)
def render_page(text: str) -> Markup:
    """Return Markdown of our own people as safe HTML; its headings follow that of the page, without a gap."""
    safe = _cleaner.clean(_reader.render(storable(text)))
    levels = sorted(set(HEADING.findall(safe)))
    for place, level in enumerate(levels):
        safe = re.sub(rf"(</?)h{level}>", rf"\g<1>H{min(6, place + 2)}>", safe)
    return Markup(show_unseen(safe))


@lru_cache(maxsize=1024)
def render_raw(text: str) -> Markup:
    """Return text as it is, character by character."""
    return Markup(f'<pre class="raw" tabindex="0">{show_unseen(html.escape(storable(text)))}</pre>')


def show_unseen(safe_html: str) -> str:
    """Mark invisible characters; href is the only attribute with foreign text, and it is percent-encoded."""
    return UNSEEN.sub(lambda m: f'<span class="unseen-mark">U+{ord(m[0]):04X}</span>', safe_html)


def render_diff(first: str, second: str) -> tuple[Markup, Markup] | None:
    """Return both texts with the words marked that the other lacks; None for texts too long to compare."""
    words = [re.findall(r"\s+|\w+|[^\w\s]", storable(text)) for text in (first, second)]
    if max(map(len, words)) > LONGEST_DIFF_WORDS:
        return None
    sides: tuple[list[str], list[str]] = ([], [])
    matcher = difflib.SequenceMatcher(None, words[0], words[1], autojunk=True)
    for kind, a, b, c, d in matcher.get_opcodes():
        for side, tag, part in ((0, "del", words[0][a:b]), (1, "ins", words[1][c:d])):
            text = show_unseen(html.escape("".join(part)))
            sides[side].append(text if kind == "equal" or not text else f"<{tag}>{text}</{tag}>")
    left, right = (Markup(f'<pre class="raw" tabindex="0">{"".join(side)}</pre>') for side in sides)
    return left, right


def render_undiffed(text: str) -> Markup:
    """Return a text whose differences were asked for and that is too long to compare, saying so."""
    return DIFF_NOTE + render_raw(text)


def plain(value: Any) -> str:
    """Return the text of a stored prompt or completion: a string, or messages."""
    if isinstance(value, str):
        return value
    return "\n\n".join(content_text(message.get("content")) for message in value if isinstance(message, dict))


def content_text(content: object) -> str:
    """Return the text of a message's content, which may be a list of parts."""
    if isinstance(content, list):
        parts = [
            part.get("text", f"[{part.get('type', 'part')}]") if isinstance(part, dict) else str(part)
            for part in content
        ]
        return "\n".join(map(str, parts))
    return "" if content is None else str(content)


def conversation(prompt: Any) -> list[dict[str, str]]:
    """Return a stored prompt as roles and texts."""
    if isinstance(prompt, str):
        return [{"role": "user", "text": prompt}] if prompt else []
    roles: Sequence[Any] = prompt or []
    return [{"role": str(m.get("role", "user")), "text": content_text(m.get("content"))} for m in roles]
