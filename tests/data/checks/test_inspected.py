"""`inspect` gives one record that prints short, shows itself in a notebook, and fits JSON and a page."""

import json

import pytest

from rewardsmith import inspect
from rewardsmith.errors import DataError

ROWS = [
    {"prompt": f"question {n}", "chosen": f"a longer answer {n}", "rejected": "short", "annotator": "ada"}
    for n in range(20)
]


def test_the_record_is_short_in_a_session_and_whole_in_json():
    found = inspect([*ROWS, ROWS[0]])
    assert repr(found).startswith("<inspected 21 rows in memory: 21 comparisons on 20 prompts; the longer")
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (plain["rows_read"], plain["duplicates"]["count"]) == (21, 1)


def test_every_section_has_figures_and_the_page_holds_them_and_the_rows_that_are_named():
    found = inspect([*ROWS, ROWS[0]])
    page = found.to_html().decode()
    for section in found.sections():
        assert section.means
        assert f">{section.title}</h2>" in page
    assert "Rows named above" in page
    assert "a longer answer 0" in page


def test_a_notebook_shows_the_verdict_with_the_figures_to_look_at():
    html = inspect([*ROWS, ROWS[0]])._repr_html_()
    assert 'class="verdict' in html
    assert "figures to look at" in html
    assert "<html" not in html


def test_lengths_are_a_figure_of_two_panels():
    figure = inspect(ROWS).plot_lengths()
    assert [axes.get_title() for axes in figure.axes] == ["20 prompts", "40 completions"]


def test_several_paths_are_one_set_and_no_row_is_an_error(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    found = inspect([tmp_path / "one.jsonl", tmp_path / "two.jsonl"])
    assert found.found.several_files.count == 20
    with pytest.raises(DataError, match="nothing to inspect: it holds no rows"):
        inspect([])
