import re

import pytest

from rewardsmith.blocks.html import prose, render_blocks, render_page, spread, write_cell
from rewardsmith.blocks.kinds import (
    Cell,
    Details,
    FindingLine,
    Findings,
    Page,
    Paragraph,
    Section,
    Table,
    Verdict,
)
from rewardsmith.errors import DataError
from rewardsmith.records import Estimate

ESTIMATE = Estimate(0.5, 1000, 0.4, 0.6)


def test_a_cell_holds_a_number_its_interval_and_n():
    cell = write_cell(Cell(ESTIMATE, sign="▲ "))
    assert (cell.text, cell.sub) == ("▲ 0.500", "0.400 to 0.600\nn=1,000")
    assert write_cell(Estimate(float("nan"), 3)).text == "undefined (n=3)"
    assert [write_cell(value).text for value in ("x", 1200, 0.25, None)] == ["x", "1,200", "0.250", "undefined"]


def test_only_a_single_column_of_estimates_is_spread():
    table = Table("", ("metric", "value"), [["accuracy", ESTIMATE]])
    assert spread(table).header == ("metric", "value", "95% interval", "n")
    mixed = Table("", ("metric", "value"), [["accuracy", ESTIMATE], ["n", 3]])
    assert spread(mixed) is mixed


def test_what_stands_between_backticks_is_code_and_all_else_is_text():
    assert prose("see `a <b>` & more") == "see <code>a &lt;b&gt;</code> &amp; more"
    assert prose("one ` alone") == "one ` alone"


def test_a_heading_without_a_break_may_be_broken_and_a_number_may_not():
    block = Table("", ("data", "q" * 30, "n"), [["a", "x", 1.9e-16]])
    html = str(render_blocks([block]))
    assert f'<th scope="col" class="long"><bdi>{"q" * 30}' in html
    assert '<th scope="col"><bdi>n' in html
    assert re.search(r'class="short number "><bdi>1\.9e-16', html)


def test_every_kind_of_block_is_drawn_and_escaped():
    blocks = [
        Verdict("<b>", "good"),
        Paragraph("a\u202eb"),
        Details("more", [Findings([FindingLine("red", "x", "y")])]),
    ]
    page = render_page(Page("<title>", [Section("S", "", "", blocks)], verdict=Verdict("v"), facts=["f"])).decode()
    for words in ("&lt;b&gt;", "a⟨U+202E⟩b", "<summary>more</summary>", "✖ red", "&lt;title&gt;"):
        assert words in page
    piece = render_blocks(blocks)
    assert "<html" not in piece
    assert "&lt;b&gt;" in piece


def test_a_page_that_cannot_be_made_small_is_an_error():
    with pytest.raises(DataError, match=r"above 0\.001 MB"):
        render_page(Page("t", [Section("S", "x" * 2000, "")]), 1000)


def test_a_piece_for_a_notebook_has_no_style_for_what_stands_around_it():
    style = render_blocks([]).partition("<style>")[2].partition("</style>")[0]
    assert style.startswith(".rewardsmith {\n& {")
    assert style.count("{") == style.count("}")
    assert not re.search(r"(?m)^\s*(:root|html|body) \{", style)
