"""Hostile text: shown, never run."""

import html
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardsmith.collecting.texts import (
    conversation,
    plain,
    render_diff,
    render_markdown,
    render_page,
    render_raw,
    render_undiffed,
)

PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "[a](  JaVaScRiPt:alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a]: javascript:alert(1)\n\n[a]",
    "<javascript:alert(1)>",
    "![x](https://example.org/track.png)",
    "<svg/onload=alert(1)>",
    "<math><mtext></table><mglyph><style><img src onerror=alert(1)>",
    '[a](https://e.org/" onmouseover="alert(1))',
    "```<script>\n</code></pre><script>alert(1)</script>\n```",
    "<form action=//evil><button>x",
    "{{ 7 * 7 }}{% raw %}",
)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("render", [render_markdown, render_page, render_raw])
def test_payloads_are_inert(render, payload):
    page = str(render(payload)).lower()
    for forbidden in (
        "<script",
        "<img",
        "<svg",
        "<math",
        "<style",
        "<form",
        'href="javascript',
        'href="data',
        "<iframe",
    ):
        assert forbidden not in page
    assert not re.search(r"<[a-z][^>]*\son[a-z]+=", page)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_text_renders_and_only_known_tags_come_out(text):
    page = str(render_markdown(text))
    assert "<script" not in page.lower()
    page.encode()


def test_invisible_characters_are_marked():
    page = str(render_markdown("a\u202eb\u200bc"))
    assert page.count("unseen-mark") == 2
    assert "U+202E" in page
    assert "U+200B" in page


def test_latex_keeps_its_backslashes_and_underscores():
    page = str(render_markdown(r"so \(a_1 \\ b_2\) and $$x_1*y*z$$"))
    assert r"\(a_1 \\ b_2\)" in page
    assert "$$x_1*y*z$$" in page


def test_huge_and_deeply_nested_texts_take_no_time():
    started = time.perf_counter()
    for text in ("> " * 30_000, "[" * 60_000, "*a " * 20_000, "x" * 2_000_000, "- " * 30_000):
        render_markdown(text)
    # A bound that only a blow-up breaks, not a measurement.
    assert time.perf_counter() - started < 60


def test_headings_of_a_text_are_no_headings_of_the_page():
    assert "<h" not in str(render_markdown("# a\n\n## b"))
    assert str(render_page("## a\n\n#### b")).lower().startswith("<h2>a</h2>\n<h3>b</h3>")


def test_a_diff_marks_what_the_other_lacks():
    left, right = render_diff("the old cat", "the new cat")
    assert "<del>old</del>" in left
    assert "<ins>new</ins>" in right
    assert render_diff("a " * 10_000, "b") is None


def test_stored_prompts_are_read_in_every_form():
    assert conversation("hi") == [{"role": "user", "text": "hi"}]
    assert conversation("") == []
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}]
    assert conversation(parts) == [{"role": "user", "text": "a\n[image]"}]
    assert plain([{"role": "assistant", "content": "x"}, {"role": "assistant", "content": None}]) == "x\n\n"


@pytest.mark.parametrize(
    "text",
    [r"$\{x_1\}$", "$a*b*c$", r"$x_i \, y_i$", r"\begin{align}a_1 &= b \\ c*d*e &= f\end{align}"],
)
def test_latex_between_single_dollars_and_in_environments_stays_as_it_was_written(text):
    page = str(render_markdown(f"so {text}, then"))
    assert html.unescape(page) == f"<p>so <code>{text}</code>, then</p>\n"


@pytest.mark.parametrize(
    "text", ["$5 and $10_000", "from $3 to *at most* $7", "$HOME_DIR and $MY_PATH", "a$b_c$d", r"\$5_000 and $6"]
)
def test_prices_and_shell_variables_are_no_formulas(text):
    assert "<code>" not in str(render_markdown(text))


def test_a_text_that_is_too_long_to_render_or_to_compare_says_so():
    assert "shown as it was written" in str(render_markdown("**b** " * 20_000))
    assert "differences are not marked" in str(render_undiffed("a"))


@pytest.mark.parametrize("text", ["12*13 = 12*10 + 12*3", "(a+b)*(c+d)*e", "2**3**2", "x*y*z"])
def test_the_stars_of_a_product_are_shown(text):
    assert html.unescape(str(render_markdown(text))) == f"<p>{text}</p>\n"


def test_emphasis_around_words_is_emphasis():
    page = str(render_markdown("*a* (*b*) **N**ational \u8fd9*\u5f3a*\u8c03 ***c***"))
    assert page.count("<em>") == 4
    assert page.count("<strong>") == 2
