import json

from published_rows import ROWS

from rewardsmith.data import load_preferences

ROW = ROWS["big-bench-mistake"][0]


def test_the_first_mistake_counts_from_zero(read_published):
    wrong, right = read_published("big-bench-mistake", [ROW, {**ROW, "mistake_index": None, "answer": "a b"}])
    assert wrong.completions[0][0].content == "b first\na second"
    assert wrong.metadata["step_ratings"] == [-1, None]
    assert wrong.metadata["first_error"] == 0
    assert wrong.ratings == {"worst_step": (-1.0,), "answer_right": (0.0,)}
    assert right.metadata["step_ratings"] == [1, 1]
    assert right.ratings == {"worst_step": (1.0,), "answer_right": (1.0,)}


def test_the_file_names_the_task(tmp_path):
    (tmp_path / "word_sorting.jsonl").write_text(json.dumps(ROW) + "\n")
    (group,) = load_preferences(tmp_path)
    assert group.metadata["task"] == "word_sorting"


def test_dirty_rows_are_counted(read_dirty):
    rows = [{**ROW, "mistake_index": 2}, {**ROW, "mistake_index": "x"}, {**ROW, "steps": []}, ROW]
    found = read_dirty("big-bench-mistake", rows)
    assert found.reasons == {"out of range": 1, "unknown label": 1, "no steps": 1}
