"""What cannot be scored is found among many, left out and counted; everything else keeps its order."""

import pytest

from rewardsmith.errors import ScoringError
from rewardsmith.evaluation.judged import CHUNK, ScoredGroup, comparison_rows, reason_of, score_what_can_be
from rewardsmith.records import Comparison, PreferenceGroup


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
