"""Functions, places in code and files of scores become scorers, or one line that says why not."""

import json
import sys

import pytest

from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.evaluation import FunctionScorer, as_scorer
from rewardsmith.evaluation.scorers import FileScorer
from rewardsmith.records import Message, ScoreRequest

CODE = """
def longest(prompt, completions):
    return [len(text) for text in completions]

class Object:
    name = "object"
    def score_requests(self, requests):
        return [[1.0] * len(request.completions) for request in requests]

ready = Object()
number = 3
"""


REQUESTS = [ScoreRequest("p", ("aa", "b"))]


@pytest.fixture
def code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_rules_of_test.py"
    path.write_text(CODE)
    yield path
    sys.modules.pop("my_rules_of_test", None)


def test_a_function_is_found_by_its_module_and_by_its_file(code):
    for place in ("my_rules_of_test:longest", f"{code}:longest", "my_rules_of_test.py:longest"):
        scorer = as_scorer(place)
        assert (scorer.name, scorer.score_requests(REQUESTS)) == (place, [[2.0, 1.0]])
    assert str(code.parent) not in sys.path


def test_a_scorer_that_stands_in_a_module_is_taken_as_it_is(code):
    assert as_scorer("my_rules_of_test:ready").score_requests(REQUESTS) == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("my_rules_of_test:none", "has no 'none'"),
        ("my_rules_of_test:number", "is a int"),
        ("my_rules_of_test:Object", "is a type"),
        ("no_such_module_at_all:f", "cannot be imported"),
        ("missing.py:f", "cannot be imported"),
    ],
)
def test_what_does_not_score_is_one_line(code, place, message):
    with pytest.raises(ConfigError, match=message):
        as_scorer(place)


def test_a_bare_name_is_no_scorer():
    with pytest.raises(ConfigError, match="no such file of scores, and no module:function"):
        as_scorer("no such thing")
    with pytest.raises(ConfigError, match="cannot score with 3"):
        as_scorer(3)


def test_a_function_is_called_once_for_each_request():
    scorer = FunctionScorer(lambda prompt, completions: [len(prompt)] * len(completions), "mine")
    assert (scorer.name, scorer.score_requests(REQUESTS)) == ("mine", [[1.0, 1.0]])


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_scores_finds_conversations_by_their_text(tmp_path):
    prompt = [{"role": "user", "content": "q"}]
    answers = [[{"role": "assistant", "content": text}] for text in ("a", "b")]
    path = write(tmp_path / "s.jsonl", {"prompt": prompt, "completions": answers, "scores": [1, 2]})
    request = ScoreRequest((Message("user", "q"),), ((Message("assistant", "b"),), (Message("assistant", "a"),)))
    assert FileScorer(path).score_requests([request]) == [[2.0, 1.0]]


@pytest.mark.parametrize(
    "row",
    [{"scores": [1.5, 0.5]}, {"scores_chosen": 1.5, "scores_rejected": 0.5}, {"chosen": 1.5, "rejected": 0.5},
     {"scores_chosen": [1.5], "scores_rejected": [0.5]}, {"rewards": [1.5, 0.5]},
     {"chosen": "a", "rejected": "b", "chosen_reward": 1.5, "rejected_reward": 0.5}],
)  # fmt: skip
def test_rows_without_texts_belong_by_their_order(tmp_path, row):
    assert FileScorer(write(tmp_path / "s.jsonl", row)).score_requests(REQUESTS) == [[1.5, 0.5]]


def test_faults_of_a_file_name_its_row(tmp_path):
    with pytest.raises(DataError, match="row 1: no scores"):
        FileScorer(write(tmp_path / "a.jsonl", {"text": "x"}))
    with pytest.raises(DataError, match="row 1: a score is not a number"):
        FileScorer(write(tmp_path / "b.jsonl", {"scores": ["much"]}))
    with pytest.raises(DataError, match="2 scores for 1 completions"):
        FileScorer(write(tmp_path / "c.jsonl", {"prompt": "p", "completions": ["a"], "scores": [1, 2]}))
    with pytest.raises(ScoringError, match="1 scores for 2 completions"):
        FileScorer(write(tmp_path / "d.jsonl", {"scores": [1]})).score_requests(REQUESTS)


def test_a_function_that_fails_is_one_line():
    with pytest.raises(ScoringError, match=r"^mine failed: KeyError: 'x'$"):
        FunctionScorer(lambda prompt, completions: {}["x"], "mine").score_requests([ScoreRequest("q", ("a", "b"))])


@pytest.mark.parametrize("given", [[None, None], [1.0], ["good", "bad"], None])
def test_a_function_that_gives_no_number_an_answer_is_one_line(given):
    with pytest.raises(ScoringError, match=r"^mine gave .* for 2 answers; give a number for each$"):
        FunctionScorer(lambda prompt, completions: given, "mine").score_requests([ScoreRequest("q", ("a", "b"))])
