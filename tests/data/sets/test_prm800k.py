from published_rows import ROWS

from rewardsmith.records import Comparison

ROW = ROWS["prm800k"][0]


def with_steps(*steps):
    return {**ROW, "label": {**ROW["label"], "steps": list(steps)}}


def test_the_chosen_steps_with_their_ratings_are_the_solution(read_published):
    (group,) = read_published("prm800k", [ROW])
    assert group.prompt[0].content == "2+2?"
    assert group.metadata["steps"] == ["Add the ones.", "So 4.", "# Answer\n\n4"]
    assert group.metadata["step_ratings"] == [1, 1, 1]
    assert group.metadata["first_error"] == -1
    assert group.metadata["labeler"] == "l1"


def test_a_solution_that_ends_in_error_says_at_which_step(read_published):
    wrong = {"completions": [{"text": "So 5.", "rating": -1}], "human_completion": None, "chosen_completion": None}
    (group,) = read_published("prm800k", [with_steps(ROW["label"]["steps"][0], wrong)])
    assert group.metadata["step_ratings"] == [1, -1]
    assert group.metadata["first_error"] == 1
    assert group.ratings["worst_step"] == (-1.0,)


def test_candidates_of_every_step_are_compared_when_asked(read_published):
    first, second, third = read_published("prm800k:steps", [ROW])
    assert [side[0].content for side in first.completions] == ["Add the ones.", "Guess."]
    assert first.comparisons == (Comparison(0, 1),)
    assert [side[0].content for side in second.completions] == ["Add the ones.\nSo 5.", "Add the ones.\nSo 4."]
    assert second.comparisons == (Comparison(1, 0),)
    assert third.completions[0][0].content.startswith("Add the ones.\nSo 4.\n# Answer")


def test_dirty_rows_are_counted_once_each(read_dirty):
    odd = {"completions": [{"text": "a", "rating": 5}], "human_completion": None, "chosen_completion": 0}
    lost = {"completions": [{"text": "a", "rating": 1}], "human_completion": None, "chosen_completion": 3}
    blank = {**ROW, "question": {"problem": ""}}
    rows = [with_steps(), with_steps(odd), with_steps(lost), blank, ROW]
    assert read_dirty("prm800k", rows).reasons == {"no steps": 1, "unknown label": 2, "empty prompt": 1}
    assert read_dirty("prm800k:steps", rows).reasons == {"no steps": 1, "unknown label": 2, "empty prompt": 1}
