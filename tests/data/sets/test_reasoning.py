"""Sets of reasoning: solutions whose steps are rated, and solutions checked against the true answer."""

import json

from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.records import Comparison

PRM800K_ROW = ROWS["prm800k"][0]


def with_steps(*steps):
    return {**PRM800K_ROW, "label": {**PRM800K_ROW["label"], "steps": list(steps)}}


def test_the_chosen_steps_with_their_ratings_are_the_solution(read_published):
    (group,) = read_published("prm800k", [PRM800K_ROW])
    assert group.prompt[0].content == "2+2?"
    assert group.metadata["steps"] == ["Add the ones.", "So 4.", "# Answer\n\n4"]
    assert group.metadata["step_ratings"] == [1, 1, 1]
    assert group.metadata["first_error"] == -1
    assert group.metadata["labeler"] == "l1"


def test_a_solution_that_ends_in_error_says_at_which_step(read_published):
    wrong = {"completions": [{"text": "So 5.", "rating": -1}], "human_completion": None, "chosen_completion": None}
    (group,) = read_published("prm800k", [with_steps(PRM800K_ROW["label"]["steps"][0], wrong)])
    assert group.metadata["step_ratings"] == [1, -1]
    assert group.metadata["first_error"] == 1
    assert group.ratings["worst_step"] == (-1.0,)


def test_candidates_of_every_step_are_compared_when_asked(read_published):
    first, second, third = read_published("prm800k:steps", [PRM800K_ROW])
    assert [side[0].content for side in first.completions] == ["Add the ones.", "Guess."]
    assert first.comparisons == (Comparison(0, 1),)
    assert [side[0].content for side in second.completions] == ["Add the ones.\nSo 5.", "Add the ones.\nSo 4."]
    assert second.comparisons == (Comparison(1, 0),)
    assert third.completions[0][0].content.startswith("Add the ones.\nSo 4.\n# Answer")


def test_dirty_rows_are_counted_once_each(read_dirty):
    odd = {"completions": [{"text": "a", "rating": 5}], "human_completion": None, "chosen_completion": 0}
    lost = {"completions": [{"text": "a", "rating": 1}], "human_completion": None, "chosen_completion": 3}
    blank = {**PRM800K_ROW, "question": {"problem": ""}}
    rows = [with_steps(), with_steps(odd), with_steps(lost), blank, PRM800K_ROW]
    assert read_dirty("prm800k", rows).reasons == {"no steps": 1, "unknown label": 2, "empty prompt": 1}
    assert read_dirty("prm800k:steps", rows).reasons == {"no steps": 1, "unknown label": 2, "empty prompt": 1}


MATH_SHEPHERD_ROW = ROWS["math-shepherd"][0]


def test_marks_become_step_ratings(read_published):
    (group,) = read_published("math-shepherd", [MATH_SHEPHERD_ROW])
    assert group.prompt[0].content == "What is 2+2?"
    assert group.metadata["steps"] == ["Step 1: 2+2 is 4.", "Step 2: The answer is: 5"]
    assert group.metadata["step_ratings"] == [1, -1]
    assert group.metadata["first_error"] == 1
    assert group.metadata["task"] == "GSM8K"


def test_dirty_rows_are_counted_in_math_shepherd(read_dirty):
    rows = [
        {**MATH_SHEPHERD_ROW, "label": MATH_SHEPHERD_ROW["label"].replace("4.", "5.")},
        {**MATH_SHEPHERD_ROW, "label": MATH_SHEPHERD_ROW["label"].replace("-", "?")},
        {**MATH_SHEPHERD_ROW, "input": "What is 2+2? It is 4 ки", "label": "What is 2+2? It is 4 +"},
        {**MATH_SHEPHERD_ROW, "input": MATH_SHEPHERD_ROW["input"] + " and more"},
        MATH_SHEPHERD_ROW,
    ]
    assert read_dirty("math-shepherd", rows).reasons == {"input and label differ": 2, "no first step": 1, "no mark": 1}


BIG_BENCH_MISTAKE_ROW = ROWS["big-bench-mistake"][0]


def test_the_first_mistake_counts_from_zero(read_published):
    wrong, right = read_published(
        "big-bench-mistake", [BIG_BENCH_MISTAKE_ROW, {**BIG_BENCH_MISTAKE_ROW, "mistake_index": None, "answer": "a b"}]
    )
    assert wrong.completions[0][0].content == "b first\na second"
    assert wrong.metadata["step_ratings"] == [-1, None]
    assert wrong.metadata["first_error"] == 0
    assert wrong.ratings == {"worst_step": (-1.0,), "answer_right": (0.0,)}
    assert right.metadata["step_ratings"] == [1, 1]
    assert right.ratings == {"worst_step": (1.0,), "answer_right": (1.0,)}


def test_the_file_names_the_task(tmp_path):
    (tmp_path / "word_sorting.jsonl").write_text(json.dumps(BIG_BENCH_MISTAKE_ROW) + "\n")
    (group,) = load_preferences(tmp_path)
    assert group.metadata["task"] == "word_sorting"


def test_dirty_rows_are_counted_in_big_bench_mistake(read_dirty):
    rows = [
        {**BIG_BENCH_MISTAKE_ROW, "mistake_index": 2},
        {**BIG_BENCH_MISTAKE_ROW, "mistake_index": "x"},
        {**BIG_BENCH_MISTAKE_ROW, "steps": []},
        BIG_BENCH_MISTAKE_ROW,
    ]
    found = read_dirty("big-bench-mistake", rows)
    assert found.reasons == {"out of range": 1, "unknown label": 1, "no steps": 1}


def test_process_bench_counts_the_first_wrong_step_from_zero(read_published, read_dirty):
    row = ROWS["process-bench"][0]
    wrong, right = read_published("process-bench", [row, {**row, "label": -1}])
    assert (wrong.metadata["step_ratings"], wrong.metadata["first_error"]) == ([1, -1, None], 1)
    assert right.metadata["step_ratings"] == [1, 1, 1]
    found = read_dirty("process-bench", [{**row, "label": 3}, {**row, "label": 0.5}, row])
    assert found.reasons == {"out of range": 1, "unknown label": 1}


REASONEVAL_ROW = ROWS["reasoneval"][0]
REDUNDANT = {
    "id": 1,
    "question": "2+2?",
    "ground_truth_answer": "4",
    "generator": "alpha",
    "model_output_step_format": [["2+2 is 4."], ["Twos are even."], ["So 4."]],
    "rating": [1, 0, 1],
}


def test_the_first_wrong_step_counts_from_one(read_published):
    (wrong,) = read_published("reasoneval", [REASONEVAL_ROW])
    (right,) = read_published("reasoneval", [{**REASONEVAL_ROW, "model_output_solution_first_error_step": "N/A"}])
    assert wrong.metadata["steps"] == ["2+2 is 4.", "So 5."]
    assert wrong.metadata["step_ratings"] == [1, -1]
    assert right.metadata["step_ratings"] == [1, 1]
    assert wrong.models == ("Abel13B-001",)


def test_redundant_steps_are_valid_and_named(read_published):
    (group,) = read_published("reasoneval", [REDUNDANT], chosen=True)
    assert group.metadata["step_ratings"] == [1, 0, 1]
    assert group.metadata["redundant_steps"] == [1]
    assert group.metadata["first_error"] == -1


def test_dirty_rows_are_counted_in_reasoneval(read_dirty):
    first = "model_output_solution_first_error_step"
    rows = [
        {**REASONEVAL_ROW, first: 3},
        {**REASONEVAL_ROW, first: "0"},
        {**REDUNDANT, "rating": [1]},
        {**REDUNDANT, "rating": [1, 2, 1]},
    ]
    found = read_dirty("reasoneval", [*rows, REASONEVAL_ROW])
    assert found.reasons == {"out of range": 1, "unknown label": 2, "wrong length": 1}


GSM8K_SOLUTIONS_ROW = ROWS["gsm8k-solutions"][0]


def test_every_correct_solution_beats_every_incorrect_one(read_published):
    (group,) = read_published("gsm8k-solutions", [GSM8K_SOLUTIONS_ROW])
    assert group.models == ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    assert group.ratings == {"correct": (0.0, 0.0, 1.0, 1.0)}
    assert {(c.better, c.worse) for c in group.comparisons} == {(2, 0), (2, 1), (3, 0), (3, 1)}
    assert group.metadata["ground_truth"] == "It is 4. #### 4"


def test_rows_without_a_solution_are_counted(read_dirty):
    bare = {"question": "q", "ground_truth": "g"}
    odd = {**GSM8K_SOLUTIONS_ROW, "6b_finetuning": {"is_correct": "perhaps", "solution": "5"}}
    found = read_dirty("gsm8k-solutions", [bare, odd, GSM8K_SOLUTIONS_ROW])
    assert found.reasons == {"missing column": 1, "wrong type": 1}
