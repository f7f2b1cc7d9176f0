import pytest
from published_ratings import DOMAINS
from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.records import Comparison

DSP_ROW = ROWS["dsp"][0]


def test_every_answer_is_rated_in_its_own_domain(read_published):
    (group,) = read_published("dsp", [DSP_ROW])
    assert group.models == DOMAINS
    assert group.ratings["business"] == (0.0, 1.0, 0.0, 0.0, 0.0)
    assert group.comparisons == ()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_named_domain_prefers_its_answer(domain, read_published):
    (group,) = read_published(f"dsp:{domain}", [DSP_ROW])
    best = DOMAINS.index(domain)
    assert [(c.better, c.worse) for c in group.comparisons] == [(best, i) for i in range(5) if i != best]


def test_a_row_without_the_domain_is_counted(read_dirty):
    less = {**DSP_ROW, "responses": {"academy": "a", "normal": "b"}}
    assert read_dirty("dsp:business", [less, DSP_ROW]).reasons == {"no answer of the domain": 1}


ROW = ROWS["finegrained-rlhf"][0]


def test_six_outcomes_are_the_pairs_in_order(read_published):
    (group,) = read_published("finegrained-rlhf", [ROW])
    assert group.prompt == "Title text one text two\n\nq?\n\n"
    assert group.comparisons == (
        Comparison(0, 1),
        Comparison(2, 0),
        Comparison(0, 3, "tie"),
        Comparison(1, 2),
        Comparison(1, 3),
        Comparison(3, 2),
    )
    assert group.metadata["gold"] == "answer"


def test_dirty_rows_are_counted(read_dirty):
    rows = [{**ROW, "preference": [1]}, {**ROW, "preference": [3] * 6}, {**ROW, "question": ""}, ROW]
    assert read_dirty("finegrained-rlhf", rows).reasons == {"wrong outcome": 2, "empty prompt": 1}


TABLE = '#id\tlabel\ta1\ta2\nx_y\ta2\tShort.\tIt "really" is.\nx_z\tequal\tShort.\tToo.\nz_y\ta3\tToo.\tNo.\n'


def test_the_file_names_topic_and_stance_and_all_its_pairs_make_one_graph(tmp_path):
    (tmp_path / "ban-plastic_yes-it-harms.csv").write_text(TABLE)
    data = load_preferences(tmp_path)
    assert data.report.reader == "ukp-convarg1"
    assert data.report.dropped == {"unknown label": 1}
    (group,) = data
    assert group.prompt == "Topic: ban plastic\nStance: yes it harms\nArgue for this stance.\n\n"
    assert group.completions == ("Short.", 'It "really" is.', "Too.")
    assert group.comparisons == (Comparison(1, 0), Comparison(0, 2, "tie"))


def test_a_file_that_names_no_stance_has_no_prompt(tmp_path):
    (tmp_path / "all.csv").write_text(TABLE)
    assert {group.prompt for group in load_preferences(tmp_path / "all.csv")} == {""}
