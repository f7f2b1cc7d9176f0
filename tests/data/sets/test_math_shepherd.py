from published_rows import ROWS

ROW = ROWS["math-shepherd"][0]


def test_marks_become_step_ratings(read_published):
    (group,) = read_published("math-shepherd", [ROW])
    assert group.prompt[0].content == "What is 2+2?"
    assert group.metadata["steps"] == ["Step 1: 2+2 is 4.", "Step 2: The answer is: 5"]
    assert group.metadata["step_ratings"] == [1, -1]
    assert group.metadata["first_error"] == 1
    assert group.metadata["task"] == "GSM8K"


def test_dirty_rows_are_counted(read_dirty):
    rows = [
        {**ROW, "label": ROW["label"].replace("4.", "5.")},
        {**ROW, "label": ROW["label"].replace("-", "?")},
        {**ROW, "input": "What is 2+2? It is 4 ки", "label": "What is 2+2? It is 4 +"},
        {**ROW, "input": ROW["input"] + " and more"},
        ROW,
    ]
    assert read_dirty("math-shepherd", rows).reasons == {"input and label differ": 2, "no first step": 1, "no mark": 1}
