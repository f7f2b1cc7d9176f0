from rewardsmith.data import load_preferences
from rewardsmith.records import Comparison

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
