"""A function that compares with a known answer is given the columns of the file of prompts."""

import json

import pytest
import tiny_models

from rewardsmith.clients.opening import open_scorer
from rewardsmith.errors import ScoringError
from rewardsmith.records import ScoreRequest
from rewardsmith.rl import columns
from rewardsmith.rl.best_of_n import BestOfN, best_of_n
from rewardsmith.rl.columns import load_columns
from rewardsmith.rl.policy import Policy, Sampling, load_prompts
from rewardsmith.rl.rewards import given_columns, open_gold, reward_function

ROWS = [{"prompt": "2 + 2", "answer": "4"}, {"prompt": "3 + 3", "answer": "6"}, {"prompt": "2 + 2", "answer": "5"}]
MODULE = """
def solved(completions, answer, **columns):
    return [float(said[-1]["content"] == right) for said, right in zip(completions, answer, strict=True)]

def plain(prompts, completions, answer):
    return [float(said == right) for said, right in zip(completions, answer, strict=True)]

def each(prompt, completions):
    return [float(len(said)) for said in completions]
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "checks.py").write_text(MODULE)
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def test_a_function_in_a_file_reads_messages_and_the_answer_of_its_prompt(files, caplog):
    columns = load_columns(str(files / "prompts.jsonl"))
    assert "1 rows repeat a prompt with other columns" in caplog.text
    reward = reward_function(f"{files}/checks.py:solved").with_columns(columns)
    asked = [[{"role": "user", "content": text}] for text in ("2 + 2", "3 + 3", "3 + 3")]
    said = [[{"role": "assistant", "content": text}] for text in ("4", "4", "6")]
    assert reward.score(asked, said) == [1.0, 0.0, 1.0]
    assert reward_function(f"{files}/checks.py:plain").with_columns(columns).score(["2 + 2"], ["5"]) == [0.0]


def test_the_same_function_measures_as_gold_and_another_form_stays_what_it_was(files):
    columns = load_columns(str(files / "prompts.jsonl"))
    gold = open_gold(f"{files}/checks.py:plain", None, columns)
    assert gold.score_requests([ScoreRequest("3 + 3", ("6", "7"))]) == [[1.0, 0.0]]
    assert open_gold(f"{files}/checks.py:each", None, columns).score_requests([ScoreRequest("a", ("bc",))]) == [[2.0]]


def test_an_answer_that_no_row_holds_is_named_by_the_function_that_needs_it(files):
    reward = reward_function(f"{files}/checks.py:plain").with_columns({})
    with pytest.raises(ScoringError, match=r"plain failed: TypeError: .*'answer'"):
        reward.score(["2 + 2"], ["4"])


def test_a_folder_and_a_data_set_of_the_hub_give_prompts_and_columns_too(files, monkeypatch):
    monkeypatch.setattr(columns, "read_hub", lambda name, split: iter([(f"{name}:row {split}", dict(ROWS[0]))]))
    assert load_columns("me/sums", "test") == {"2 + 2": {"answer": "4"}}
    assert load_prompts("me/sums") == ["2 + 2"]
    (files / "sums").mkdir()
    (files / "prompts.jsonl").rename(files / "sums" / "train.jsonl")
    assert load_columns(str(files / "sums"))["3 + 3"] == {"answer": "6"}
    assert load_prompts(str(files / "sums")) == ["2 + 2", "3 + 3"]


def test_best_of_n_asks_a_function_with_the_answer_of_the_prompt(files):
    policy = Policy(*tiny_models.qwen2_causal(), name="tiny")
    known = load_columns(str(files / "prompts.jsonl"))
    checks = f"{files}/checks.py"
    reward, gold = (given_columns(open_scorer(f"{checks}:{name}"), known) for name in ("solved", "plain"))
    plan = BestOfN(2, sampling=Sampling(max_completion_length=2))
    found = best_of_n(policy, ["2 + 2", "3 + 3"], reward, files / "best.jsonl", plan, gold=gold)
    assert found.prompts == 2
    assert found.rewards["best of n"].value == 0.0


def test_rows_of_judgements_have_no_such_columns(files):
    (files / "pairs.jsonl").write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c", "answer": "d"}))
    assert load_columns(str(files / "pairs.jsonl")) == {}
    assert load_columns("simulator:4") == {}
