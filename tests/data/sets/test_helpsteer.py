"""HelpSteer, HelpSteer2 and HelpSteer3: answers rated by attributes, preferences with their strength, edits."""

import json

import pytest
from published_ratings import steer
from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.data.sets.helpsteer import prompt_turns
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison

PAIR = ROWS["helpsteer2-preference"][0]


def test_consecutive_answers_to_one_prompt_are_compared_by_helpfulness(read_published):
    (group,) = read_published("helpsteer", ROWS["helpsteer"])
    assert [side[0].content for side in group.completions] == ["Loire.", "Paris."]
    assert group.ratings["helpfulness"] == (4.0, 1.0)
    assert group.ratings["correctness"] == (4.0, 0.0)
    assert set(group.ratings) == {"helpfulness", "correctness", "coherence", "complexity", "verbosity"}
    assert group.comparisons == (Comparison(0, 1),)


def test_another_prompt_begins_another_group(read_published):
    other = {**steer("Po.", 3, 3, 3, 1, 1), "prompt": "Name another."}
    groups = read_published("helpsteer2", [*ROWS["helpsteer2"], other])
    assert [len(group) for group in groups] == [2, 1]
    assert groups[0].comparisons == (Comparison(0, 1, "tie"),)


def test_lists_of_all_raters_count_by_their_mean(read_published):
    rows = [{**row, "helpfulness": ratings} for row, ratings in zip(ROWS["helpsteer2"], ([4, 3], [1, 2]), strict=True)]
    (group,) = read_published("helpsteer2", rows)
    assert group.ratings["helpfulness"] == (3.5, 1.5)
    assert group.metadata["raters"][0]["helpfulness"] == [4, 3]


@pytest.mark.parametrize(
    ("strength", "expected"),
    [(-3, Comparison(0, 1, margin=3.0)), (2, Comparison(1, 0, margin=2.0)), (0, Comparison(0, 1, "tie"))],
)
def test_the_sign_of_the_strength_says_who_wins(strength, expected, read_published):
    (group,) = read_published("helpsteer2-preference", [{**PAIR, "preference_strength": strength}])
    assert group.comparisons == (expected,)


def test_every_annotator_gives_a_comparison_when_asked_in_helpsteer(read_published):
    (group,) = read_published("helpsteer2-preference:raters", [PAIR])
    assert group.comparisons == (
        Comparison(1, 0, margin=3.0, annotator="rater 1"),
        Comparison(0, 1, margin=1.0, annotator="rater 2"),
    )


def test_marks_in_the_prompt_are_turns():
    text = "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nName a river."
    assert [(m.role, m.content) for m in prompt_turns(text, "row 1")] == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Name a river."),
    ]


def test_dirty_rows_are_counted_in_helpsteer(read_dirty):
    bad = {**PAIR, "preference_strength": 4}
    unrated = {**PAIR, "all_preferences_unprocessed": [{"strength": -100}]}
    assert read_dirty("helpsteer2-preference", [bad, PAIR]).reasons == {"out of range": 1}
    assert read_dirty("helpsteer2-preference:raters", [unrated, PAIR]).reasons == {"no judgement": 1}
    first = ROWS["helpsteer2"][0]
    found = read_dirty("helpsteer2", [{**first, "helpfulness": None}, {**first, "prompt": " "}, first])
    assert found.reasons == {"null value": 1, "empty prompt": 1}


def test_a_copy_of_the_repository_gives_its_splits_and_its_other_files_on_request(tmp_path):
    first, second = ROWS["helpsteer2"]
    listed = {**first, "helpfulness": [4, 3], "response": "Disputed."}
    files = {
        "train": [first, second],
        "validation": [second],
        "preference/preference": ROWS["helpsteer2-preference"],
        "disagreements/disagreements": [listed],
    }
    for name, rows in files.items():
        path = tmp_path / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_preferences(tmp_path, reader="helpsteer2", split="train").report.rows == 2
    assert load_preferences(tmp_path, reader="helpsteer2", split="validation").report.rows == 1
    assert load_preferences(tmp_path / "disagreements").report.rows == 1
    assert load_preferences(tmp_path / "preference").report.reader == "helpsteer2-preference"
    with pytest.raises(DataError, match="name one with --reader"):
        load_preferences(tmp_path, split="train")


ROW = ROWS["helpsteer3"][0]


@pytest.mark.parametrize(
    ("strength", "expected"),
    [(-3, Comparison(0, 1, margin=3.0)), (1, Comparison(1, 0, margin=1.0)), (0, Comparison(0, 1, "tie"))],
)
def test_the_sign_of_the_preference_says_who_wins(strength, expected, read_published):
    (group,) = read_published("helpsteer3", [{**ROW, "overall_preference": strength}])
    assert group.prompt[0].content == "Name a river."
    assert group.comparisons == (expected,)
    assert group.metadata["reasonings"] == ["a river", "both fine"]


def test_every_annotator_gives_a_comparison_when_asked_in_helpsteer3(read_published):
    (group,) = read_published("helpsteer3:raters", [ROW])
    assert group.comparisons == (
        Comparison(0, 1, margin=3.0, annotator="rater 1"),
        Comparison(0, 1, "tie", annotator="rater 2"),
    )


@pytest.mark.parametrize(("name", "worse"), [("helpsteer3-edit", "Paris."), ("helpsteer3-edit-quality", "London.")])
def test_edits_prefer_the_good_edit(name, worse, read_published):
    (group,) = read_published(name, ROWS[name])
    assert [side[0].content for side in group.completions] == ["Loire.", worse]
    assert group.comparisons == (Comparison(0, 1),)


def test_dirty_rows_are_counted_in_helpsteer3(read_dirty):
    ended = {**ROW, "context": [*ROW["context"], {"role": "assistant", "content": "x"}]}
    found = read_dirty("helpsteer3", [ended, {**ROW, "overall_preference": -4}, {**ROW, "response2": None}, ROW])
    assert sum(found.reasons.values()) == 3
    assert found.reasons["out of range"] == found.reasons["null value"] == 1
