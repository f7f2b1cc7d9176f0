"""`inspect` gives one record that prints short, shows itself in a notebook, and fits JSON and a page."""

import json

import pytest

from rewardsmith import inspect
from rewardsmith.blocks.kinds import Facts, Histogram, Table
from rewardsmith.data.checks.inspected import bins
from rewardsmith.data.checks.lengths import Distribution
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


def test_only_a_pair_with_a_preference_is_drawn_as_the_better_and_the_worse_answer():
    def drawn(rows):
        page = inspect([*rows, rows[0]]).to_html().decode()
        assert "Rows named above" in page
        return page.count('class="side first"'), page.count('class="side second"')

    assert drawn([{"prompt": "q", "completions": ["a", "b", "c"], "ranks": [1, 2, 1]}]) == (0, 0)
    assert drawn(ROWS) == (2, 2)


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


def facts(rows):
    sections = inspect(rows).sections()
    blocks = [block for section in sections for block in section.blocks if isinstance(block, Facts)]
    return {fact.label: fact for block in blocks for fact in block.items}


def pair(prompt, chosen="a longer answer", rejected="short", **more):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def test_repeated_and_equal_rows_are_marked_and_clean_ones_are_good():
    found = facts([pair("p"), pair("p"), pair("q", "same", "same")])
    assert (found["repeated judgements"].value, found["repeated judgements"].tone) == ("1", "warn")
    assert (found["identical sides"].value, found["identical sides"].tone) == ("1", "warn")
    assert (found["pairs judged both ways"].value, found["pairs judged both ways"].tone) == ("0", "good")


def test_what_is_undefined_is_called_so():
    ties = [{"prompt": "p", "completions": ["a", "b"], "ranks": [1, 1]}]
    assert facts(ties)["the longer wins"].value == "undefined"
    assert facts([pair("p")])["pairs judged by several"].note == "so agreement is not known"


def test_annotators_and_lengths_have_tables_and_histograms():
    sections = {section.title: section for section in inspect([pair("p", annotator="ada")]).sections()}
    tables = [block for block in sections["Where the labels come from"].blocks if isinstance(block, Table)]
    assert [table.caption for table in tables] == ["Sources", "Annotators"]
    drawn = [block for block in sections["Lengths"].blocks if isinstance(block, Histogram)]
    assert [(block.y_title, len(block.labels) == len(block.counts)) for block in drawn] == [
        ("prompts", True),
        ("completions", True),
    ]


def test_the_last_bin_is_named_by_what_it_holds():
    known = Distribution(4, 1.5, {"max": 9}, [0, 1, 2, 5], [1, 1, 2])
    assert bins(known) == [("0", 1), ("1", 1), ("2 or more", 2)]
