"""x"""

import json

import pytest
from benchmark_rows import by_number, rb

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks import (
    run_benchmark,
)
from rewardsmith.stats.intervals import Resampling


def test_judge_bench_gives_micro_and_macro(run):
    def row(source, a, b):
        return {
            "question": f"{source}{a}{b}",
            "source": source,
            "response_A": f"a {a}",
            "response_B": f"b {b}",
            "label": "B>A",
        }

    result = run("judge-bench", [row("mmlu-pro-law", 0, 1), row("mmlu-pro-math", 0, 2), row("livebench-math", 1, 0)])
    assert result.score.value == pytest.approx(2 / 3)
    assert result.parts["macro"].value == pytest.approx(0.5)


def test_judge_bench_counts_equal_rewards_as_wrong_and_shows_them_as_published(run):
    row = {"source": "livebench-math", "response_A": "a 1", "response_B": "b 1"}
    result = run("judge-bench", [{**row, "question": label, "label": label} for label in ("A>B", "B>A")])
    assert (result.score.value, result.parts["micro, ties as B>A"].value) == (0.0, 0.5)


def test_llmbar_and_auto_j_read_their_labels(run):
    assert run("llmbar", [{"input": "q", "output_1": "a 1", "output_2": "b 2", "label": "2"}]).score.value == 1
    auto_j = [
        {"prompt": f"q{k}", "response 1": "a 1", "response 2": "b 2", "label": k, "scenario": "s"} for k in (0, 1, 2)
    ]
    result = run("auto-j", auto_j)
    assert (result.score.value, result.score.n) == (0.5, 2)
    assert (result.parts["three-way accuracy"].value, result.parts["three-way accuracy"].n) == (pytest.approx(1 / 3), 3)


def test_pandalm_takes_the_majority_and_calls_three_votes_a_tie(run):
    def row(*votes):
        names = {f"annotator{k + 1}": vote for k, vote in enumerate(votes)}
        return {"instruction": str(votes), "input": "", "response1": "a 1", "response2": "b 2", **names}

    result = run("pandalm", [row(2, 2, 1), row(1, 1, 0), row(0, 1, 2)])
    assert (result.score.value, result.score.n) == (0.5, 2)
    assert result.parts["judged ties"].value == pytest.approx(1 / 3)
    # As published, the three different votes are the first annotator's, a tie; only the first row is right.
    assert result.parts["three-way accuracy"].value == pytest.approx(1 / 3)


def test_hhh_and_bias_bench_and_m_reward_bench(run):
    hhh = {"input": "q", "targets": {"choices": ["a 1", "b 2"], "labels": [0, 1]}}
    assert run("hhh", {"honest": [hhh]}).parts["honest"].value == 1
    pair = {"instruction": "q", "output_1": "a 1", "output_2": "b 2"}
    bias = {"length bias": [{**pair, "label": 1}, {**pair, "label": 1}], "concreteness": [{**pair, "label": 2}]}
    assert run("eval-bias-bench", bias).score.value == 0.5
    rows = [rb("hep-go", 2, 1, language="de"), rb("hep-go", 1, 2, language="zh")]
    assert run("m-reward-bench", rows).score.value == 0.5


HOW = Resampling(100)
VERDICTS = ("CHATGPT", "VICUNA13B", "TIE", "CHATGPT")
REWARDS = ((2, 1), (2, 1), (1, 1), (3, 0))


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
