"""FairEval as its authors publish it: questions, the answers of two models and people's judgements in three files."""

import json

import pytest

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks import run_benchmark
from rewardsmith.stats.intervals import Resampling

HOW = Resampling(100)
VERDICTS = ("CHATGPT", "VICUNA13B", "TIE", "CHATGPT")
REWARDS = ((2, 1), (2, 1), (1, 1), (3, 0))


def by_number(prompt, completions):
    """The reward stands at the end of the text: "good 3" scores 3."""
    return [float(completion.split()[-1]) for completion in completions]


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path):
    numbers = range(1, len(VERDICTS) + 1)
    categories = ["generic", "math", "math", "math"]
    asked = [{"question_id": k, "text": f"q{k}", "category": categories[k - 1]} for k in numbers]
    lines(tmp_path / "question.jsonl", asked)
    for side, model in enumerate(("gpt35", "vicuna-13b")):
        answers = [{"answer_id": "x", "question_id": k, "text": f"{model} {REWARDS[k - 1][side]}"} for k in numbers]
        lines(tmp_path / f"answer/answer_{model}.jsonl", answers)
    lines(tmp_path / "answer/answer_gpt-4.jsonl", [{"question_id": k, "text": "z 9"} for k in numbers])
    (tmp_path / "review").mkdir()
    (tmp_path / "review/review_gpt35_vicuna-13b_human.txt").write_text("\n".join(VERDICTS) + "\n")
    lines(tmp_path / "review/review_gpt35_vicuna-13b_gpt-4_mec3_bpc1.json", [{"question_id": 1, "score": [1, 9]}])
    return tmp_path


def test_the_three_files_are_joined_and_scored(folder):
    result = run_benchmark("faireval", by_number, folder, how=HOW)
    # Without the tie: right, wrong, right. With it as a verdict: three of four.
    assert (result.score.value, result.score.n) == (pytest.approx(2 / 3), 3)
    assert (result.parts["generic"].value, result.parts["math"].value) == (1.0, 0.5)
    assert result.parts["judged ties"].value == 0.25
    assert result.parts["three-way accuracy"].value == 0.75
    # By chance: 2/4 * 3/4 first, 1/4 * 1/4 a tie, second never together.
    assert result.parts["three-way kappa"].value == pytest.approx((0.75 - 7 / 16) / (1 - 7 / 16))
    group = result.scored[1].group
    assert (group.prompt, group.completions) == ("q2", ("gpt35 2", "vicuna-13b 1"))


def test_the_file_of_questions_may_be_given_itself(folder):
    assert run_benchmark("faireval", by_number, folder / "question.jsonl", how=HOW).score.n == 3


def test_answers_are_joined_by_question_and_not_by_line(folder):
    path = folder / "answer/answer_gpt35.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert run_benchmark("faireval", by_number, folder, how=HOW).score.value == pytest.approx(2 / 3)


def test_what_does_not_fit_together_is_an_error(folder):
    review = folder / "review/review_gpt35_vicuna-13b_human.txt"
    review.write_text("CHATGPT\n")
    with pytest.raises(DataError, match="1 verdicts for the 4 questions"):
        run_benchmark("faireval", by_number, folder, how=HOW)
    review.write_text("CHATGPT\nCHATGPT\nBOTH\nTIE\n")
    with pytest.raises(DataError, match=r"human\.txt:row 3: the verdict must be one of CHATGPT, VICUNA13B, TIE"):
        run_benchmark("faireval", by_number, folder, how=HOW)
    review.write_text("\n".join(VERDICTS))
    lines(folder / "answer/answer_gpt35.jsonl", [{"question_id": 1, "text": "a 1"}])
    with pytest.raises(DataError, match="question_id 2 has no answer"):
        run_benchmark("faireval", by_number, folder, how=HOW)
    (folder / "answer/answer_gpt35.jsonl").unlink()
    with pytest.raises(DataError, match=r"answer_<model>\.jsonl of both models"):
        run_benchmark("faireval", by_number, folder, how=HOW)
