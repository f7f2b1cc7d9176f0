from published_rows import ROWS

ROW = ROWS["gsm8k-solutions"][0]


def test_every_correct_solution_beats_every_incorrect_one(read_published):
    (group,) = read_published("gsm8k-solutions", [ROW])
    assert group.models == ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    assert group.ratings == {"correct": (0.0, 0.0, 1.0, 1.0)}
    assert {(c.better, c.worse) for c in group.comparisons} == {(2, 0), (2, 1), (3, 0), (3, 1)}
    assert group.metadata["ground_truth"] == "It is 4. #### 4"


def test_rows_without_a_solution_are_counted(read_dirty):
    bare = {"question": "q", "ground_truth": "g"}
    odd = {**ROW, "6b_finetuning": {"is_correct": "perhaps", "solution": "5"}}
    found = read_dirty("gsm8k-solutions", [bare, odd, ROW])
    assert found.reasons == {"missing column": 1, "wrong type": 1}
