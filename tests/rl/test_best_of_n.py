"""The best of n: chosen by the reward, counted in KL, and the same output whenever a run was killed."""

import json

import pytest
import tiny_models

from rewardsmith.errors import ConfigError, DataError, ScoringError, UnreachableError
from rewardsmith.evaluation import FunctionScorer, as_scorer
from rewardsmith.files.reading import read_json_lines
from rewardsmith.rl import best_of_n as module
from rewardsmith.rl.best_of_n import PROMPTS_PER_PART, BestOfN, best_of_n
from rewardsmith.rl.policy import Answer, Policy, Sampling
from rewardsmith.scoring.ranking import Choice

PROMPTS = [f"good question {number}" for number in range(PROMPTS_PER_PART + 4)]
PLAN = BestOfN(4, sampling=Sampling(max_completion_length=4))


@pytest.fixture(scope="module")
def policy():
    return Policy(*tiny_models.qwen2_causal(), "tiny")


def vowels(prompt, answers):
    text = [answer if isinstance(answer, str) else answer[-1].content for answer in answers]
    return [float(sum(letter in "aeiou" for letter in one)) for one in text]


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_best_answer_is_kept_and_gold_is_only_watched(policy, tmp_path):
    gold = as_scorer(lambda prompt, answers: [-value for value in vowels(prompt, answers)])
    found = best_of_n(policy, PROMPTS, as_scorer(vowels), tmp_path / "best.jsonl", PLAN, gold=gold)
    samples = rows_of(tmp_path / "best.jsonl.samples.jsonl")
    assert [row["reward"] for row in rows_of(tmp_path / "best.jsonl")] == [max(row["rewards"]) for row in samples]
    assert found.prompts == len(PROMPTS)
    assert found.kl == pytest.approx(0.6363, abs=1e-4)
    assert found.rewards["gain"].value > 0
    assert found.gold["gain"].value == pytest.approx(-found.rewards["gain"].value)
    assert found.cut_share > 0.5


def test_a_killed_run_goes_on_to_the_output_of_a_whole_one(policy, tmp_path):
    best_of_n(policy, PROMPTS, as_scorer(vowels), tmp_path / "whole.jsonl", PLAN)
    asked = []

    def fails_later(prompt, answers):
        asked.append(prompt)
        if len(asked) > PROMPTS_PER_PART + 1:
            raise KeyboardInterrupt
        return vowels(prompt, answers)

    fails_later.__name__ = vowels.__name__
    with pytest.raises(KeyboardInterrupt):
        best_of_n(policy, PROMPTS, as_scorer(fails_later), tmp_path / "again.jsonl", PLAN)
    assert not (tmp_path / "again.jsonl").exists()
    with (tmp_path / "again.jsonl.samples.jsonl").open("a") as file:
        file.write('{"prompt": "torn')
    best_of_n(policy, PROMPTS, as_scorer(vowels), tmp_path / "again.jsonl", PLAN)
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()
    with pytest.raises(ConfigError, match="exists already"):
        best_of_n(policy, PROMPTS, as_scorer(vowels), tmp_path / "again.jsonl", PLAN)
    (tmp_path / "again.jsonl").unlink()
    with pytest.raises(ConfigError, match="other n, prompts"):
        best_of_n(policy, PROMPTS[:3], as_scorer(vowels), tmp_path / "again.jsonl", BestOfN(2))


def test_pairs_for_dpo_and_answers_that_cannot_be_scored(policy, tmp_path):
    def some(prompt, answers):
        if "1" in str(prompt):
            raise ScoringError("refused")
        return vowels(prompt, answers)

    plan = BestOfN(4, Choice("pairs"), PLAN.sampling)
    found = best_of_n(policy, PROMPTS[:6], as_scorer(some), tmp_path / "pairs.jsonl", plan)
    assert (found.prompts, found.not_scored) == (5, 1)
    pairs = rows_of(tmp_path / "pairs.jsonl")
    assert pairs
    assert all(set(row) >= {"prompt", "chosen", "rejected"} for row in pairs)
    with pytest.raises(ConfigError, match="2 answers or more"):
        BestOfN(1)


def test_a_reward_that_scores_nothing_says_why_and_once_mended_scores_what_it_did_not(policy, tmp_path):
    def broken(prompt, answers):
        return [None] * len(answers)

    many = [PROMPTS[number % len(PROMPTS)] for number in range(PROMPTS_PER_PART)]
    with pytest.raises(ScoringError, match=r"none of the first \d+ prompts: mine gave \[None"):
        best_of_n(policy, many, FunctionScorer(broken, "mine"), tmp_path / "best.jsonl", PLAN)
    found = best_of_n(policy, many, FunctionScorer(vowels, "mine"), tmp_path / "best.jsonl", PLAN)
    assert (found.prompts, found.not_scored) == (len(many), 0)


def test_a_server_that_is_gone_is_asked_once_and_named(policy, tmp_path):
    asked = []

    class Gone:
        name = "http://reward"

        def score_requests(self, requests):
            asked.append(len(requests))
            raise UnreachableError("http://reward: no answer")

    with pytest.raises(UnreachableError, match="no answer"):
        best_of_n(policy, PROMPTS, Gone(), tmp_path / "best.jsonl", PLAN)
    assert asked == [PROMPTS_PER_PART]
    assert best_of_n(policy, PROMPTS, as_scorer(vowels), tmp_path / "other.jsonl", PLAN).prompts == len(PROMPTS)


def test_prompts_beyond_the_positions_of_the_policy_are_left_out_and_counted(policy, tmp_path, caplog):
    found = best_of_n(policy, [PROMPTS[0], "good " * 900, PROMPTS[1]], as_scorer(vowels), tmp_path / "best.jsonl", PLAN)
    assert (found.prompts, found.too_long) == (2, 1)
    assert caplog.text.count("1 prompts leave no room for 4 tokens and are left out") == 1
    with pytest.raises(DataError, match="all 1 prompts leave no room"):
        best_of_n(policy, ["good " * 900], as_scorer(vowels), tmp_path / "none.jsonl", PLAN)


def test_answers_may_hold_any_character_that_ends_a_line_elsewhere(policy, tmp_path, monkeypatch):
    said = [Answer((5,), f"one{mark}two", False) for mark in ("\u2028", "\u0085", "\x0b", "\n")]
    monkeypatch.setattr(module, "sample", lambda policy, prompts, num, sampling: [said for _ in prompts])
    best_of_n(policy, ["q"], as_scorer(vowels), tmp_path / "best.jsonl", PLAN)
    (row,) = read_json_lines(tmp_path / "best.jsonl.samples.jsonl")
    assert [text[-1]["content"] for text in row["completions"]] == [answer.text for answer in said]
