"""What cannot be scored is found among many, left out and counted; everything else keeps its order."""

import json
import sys

import pytest

from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.evaluation import FunctionScorer, as_scorer
from rewardsmith.evaluation.judged import CHUNK, FileScorer, ScoredGroup, comparison_rows, reason_of, score_what_can_be
from rewardsmith.records import Comparison, Message, PreferenceGroup, ScoreRequest


class Picky:
    """Refuses a call that holds one of the prompts, as a model refuses a batch with one long text."""

    name = "picky"

    def __init__(self, *refused):
        self.refused, self.calls = set(refused), 0

    def score_requests(self, requests):
        self.calls += 1
        bad = [request.prompt for request in requests if request.prompt in self.refused]
        if bad:
            raise ScoringError(f"request {bad[0]} has 900 tokens, picky reads 512: shorten it")
        return [[float(request.prompt), 0.0] for request in requests]


def groups(number):
    return [PreferenceGroup(str(i), ("a", "b"), (Comparison(0, 1),)) for i in range(number)]


@pytest.mark.parametrize("number", [1, 5, CHUNK, 3 * CHUNK + 7])
def test_single_groups_are_left_out_and_the_others_keep_their_rewards(number):
    refused = {str(i) for i in range(0, number, 50)}
    scored, counts, lost = score_what_can_be(Picky(*refused), groups(number))
    assert [item.group.prompt for item in scored] == [str(i) for i in range(number) if str(i) not in refused]
    assert all(item.rewards[0] == float(item.group.prompt) for item in scored)
    assert counts == {"longer than the model reads": len(refused)}
    assert {group.prompt for group in lost} == refused


def test_without_faults_every_chunk_is_scored_once():
    scorer = Picky()
    scored, counts, lost = score_what_can_be(scorer, groups(2 * CHUNK))
    assert (len(scored), counts, lost, scorer.calls) == (2 * CHUNK, {}, [], 2)


def test_other_errors_are_counted_by_their_words():
    assert reason_of(ScoringError("the server\nis gone")) == "the server is gone"


def test_every_judgement_that_counts_is_a_row_with_its_rewards():
    edges = (Comparison(0, 1), Comparison(0, 1, probability=0.2), Comparison(0, 1, "tie"), Comparison(0, 1, weight=0.0))
    group = PreferenceGroup("q", ("long", "no"), edges, source="s")
    found = list(comparison_rows([ScoredGroup(group, (1.0, 0.5))]))
    assert [(row["right"], row["margin"], row["better"]) for row in found] == [
        (1.0, 0.5, "long"),
        (0.0, -0.5, "no"),
        (None, 0.5, "long"),
    ]
    assert (found[0]["length_better"], found[0]["source"], found[0]["prompt"]) == (4, "s", "q")


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
