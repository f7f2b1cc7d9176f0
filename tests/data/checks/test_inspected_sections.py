"""The figures of `inspect`: what is to be looked at is marked, and what is undefined is called so."""

from rewardsmith import inspect
from rewardsmith.blocks.kinds import Facts, Histogram, Table
from rewardsmith.data.checks.inspected_sections import bins
from rewardsmith.data.checks.lengths import Distribution


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
