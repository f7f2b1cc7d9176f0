"""x"""

import io

import pytest
from rich.console import Console

from rewardsmith.blocks.html import render_blocks
from rewardsmith.blocks.kinds import (
    Cell,
    Details,
    Example,
    Examples,
    Fact,
    Facts,
    FindingLine,
    Findings,
    Histogram,
    Paragraph,
    Section,
    StripRow,
    Strips,
    Table,
)
from rewardsmith.blocks.text import new_card, print_blocks, print_sections, require_folder, to_markdown, write_section
from rewardsmith.errors import ConfigError
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


FIGURES = Facts([Fact("rows read", "2,000", "6 of them left out", "warn"), Fact("ties", "0")])


def test_figures_stand_with_their_notes_in_every_medium():
    assert printed(FIGURES).split() == ["rows", "read", "2,000", "6", "of", "them", "left", "out", "ties", "0"]
    html = render_blocks([FIGURES])
    assert '<dd class="value warn"><bdi>2,000</bdi></dd><dd class="note"><bdi>6 of them left out</bdi>' in html
    assert to_markdown([FIGURES]) == "- rows read: 2,000 (6 of them left out)\n- ties: 0"


def test_a_histogram_is_drawn_as_bars_where_its_bins_are_named():
    named = Histogram("lengths", "words", [0, 10, 20], [4, 2], labels=["0-9", "10 or more"])
    assert [line.count("█") for line in printed(named).splitlines()][-2:] == [40, 20]
    assert printed(Histogram("lengths", "words", [0, 10, 20], [4, 2])) == ""


def test_sections_stand_under_their_titles():
    output = io.StringIO()
    print_sections([Section("Size", "", "", [FIGURES])], Console(file=output, width=80))
    assert output.getvalue().startswith("\nSize\n  rows read")


TABLE = Table("", ("", "value"), [["accuracy | x", Estimate(0.5, 10, 0.4, 0.6)]])


def test_a_section_is_replaced_and_the_rest_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("# Mine\n\nMy own words.\n")
    for value in ("first", "second"):
        write_section(tmp_path, "Measured", "evaluation of a", [Paragraph(value)])
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("# Mine\n\nMy own words.\n")
    assert "second" in card
    assert "first" not in card


def test_blocks_are_markdown_and_names_break_no_table():
    assert to_markdown([TABLE]).splitlines() == [
        "|  | value | 95% interval | n |",
        "|---|---:|---:|---:|",
        "| accuracy x | 0.500 | 0.400 to 0.600 | 10 |",
    ]
    assert to_markdown([Findings([FindingLine("red", "a <b>")])]) == "- red: a b"


def test_a_new_card_has_metadata_that_the_hub_reads():
    card = new_card("Reward model: x", [TABLE], library_name="transformers", tags=["reward-model"])
    assert card.startswith("---\nlibrary_name: transformers\ntags:\n- reward-model\n---\n\n# Reward model: x\n")


def test_only_a_folder_has_a_card():
    with pytest.raises(ConfigError, match="is no folder of a model"):
        require_folder("https://example.org")
