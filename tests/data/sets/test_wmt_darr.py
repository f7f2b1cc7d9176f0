import json

from published_rows import ROWS

from rewardsmith.data import load_preferences

ROW = ROWS["wmt-darr"][0]


def test_pairs_of_one_source_make_one_graph_in_the_language_of_the_file(tmp_path):
    path = tmp_path / "kk-en.jsonl"
    rows = [ROW, {**ROW, "worse": "Go", "worse_system": "s3"}, {**ROW, "better": ""}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_preferences(path)
    (group,) = data
    assert group.prompt == "Translate into English: Сәлем\n"
    assert group.completions == ("Hello", "Bye", "Go")
    assert group.models == ("s1", "s2", "s3")
    assert len(group.comparisons) == 2
    assert group.metadata["reference"] == "Hi"
    assert data.report.dropped == {"empty completion": 1}
