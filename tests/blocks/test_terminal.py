import io

from rich.console import Console

from rewardsmith.blocks.kinds import Cell, Details, Example, Examples, FindingLine, Findings, StripRow, Strips, Table
from rewardsmith.blocks.terminal import print_blocks
from rewardsmith.records import Estimate

ESTIMATE = Estimate(0.5, 1000, 0.4, 0.6)


def printed(*blocks, width: int = 80) -> str:
    output = io.StringIO()
    print_blocks(blocks, Console(file=output, width=width))
    return output.getvalue()


def test_a_table_of_estimates_has_columns_for_interval_and_n():
    text = printed(Table("caption", ("metric", "value"), [["accuracy", ESTIMATE]]))
    assert all(words in text for words in ("caption", "95% interval", "0.400 to 0.600", "1,000"))


def test_a_forest_plot_is_a_table_and_its_badge_is_written():
    text = printed(Strips("c", [StripRow("emoji", ESTIMATE, badge="accused")], signed=True))
    assert "accused: emoji" in text
    assert "+0.500" in text


def test_findings_stand_with_their_level_and_advice_and_markup_of_texts_is_text():
    text = printed(Findings([FindingLine("red", "[bold]bad[/bold]", "do this")]))
    assert "red    [bold]bad[/bold]" in text
    assert "do this" in text


def test_examples_are_cut_and_details_are_unfolded():
    block = Examples("Examples", [Example("1.", "p", [("chosen", "", "x" * 900)])])
    text = printed(Details("more", [block]), width=300)
    assert "  prompt: p" in text
    assert "x" * 200 in text
    assert "x" * 201 not in text


def test_what_cannot_be_seen_is_named():
    assert "a⟨U+202E⟩b" in printed(Table("c", ("x", "y", "z"), [[Cell("a\u202eb"), 1, 2.0]]))
