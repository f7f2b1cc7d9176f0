from published_rows import ROWS

ROW = ROWS["reasoneval"][0]
REDUNDANT = {
    "id": 1,
    "question": "2+2?",
    "ground_truth_answer": "4",
    "generator": "alpha",
    "model_output_step_format": [["2+2 is 4."], ["Twos are even."], ["So 4."]],
    "rating": [1, 0, 1],
}


def test_the_first_wrong_step_counts_from_one(read_published):
    (wrong,) = read_published("reasoneval", [ROW])
    (right,) = read_published("reasoneval", [{**ROW, "model_output_solution_first_error_step": "N/A"}])
    assert wrong.metadata["steps"] == ["2+2 is 4.", "So 5."]
    assert wrong.metadata["step_ratings"] == [1, -1]
    assert right.metadata["step_ratings"] == [1, 1]
    assert wrong.models == ("Abel13B-001",)


def test_redundant_steps_are_valid_and_named(read_published):
    (group,) = read_published("reasoneval", [REDUNDANT], chosen=True)
    assert group.metadata["step_ratings"] == [1, 0, 1]
    assert group.metadata["redundant_steps"] == [1]
    assert group.metadata["first_error"] == -1


def test_dirty_rows_are_counted(read_dirty):
    first = "model_output_solution_first_error_step"
    rows = [{**ROW, first: 3}, {**ROW, first: "0"}, {**REDUNDANT, "rating": [1]}, {**REDUNDANT, "rating": [1, 2, 1]}]
    found = read_dirty("reasoneval", [*rows, ROW])
    assert found.reasons == {"out of range": 1, "unknown label": 2, "wrong length": 1}
