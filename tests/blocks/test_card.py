import pytest

from rewardsmith.blocks.card import new_card, require_folder, to_markdown, write_section
from rewardsmith.blocks.kinds import FindingLine, Findings, Paragraph, Table
from rewardsmith.errors import ConfigError
from rewardsmith.records import Estimate

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
