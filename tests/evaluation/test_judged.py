"""What cannot be scored is found among many, left out and counted; everything else keeps its order."""

import math

import pytest

from rewardsmith.errors import ScoringError
from rewardsmith.evaluation import Resampling
from rewardsmith.evaluation.judged import (
    AXES,
    CHUNK,
    ScoredGroup,
    best_of_k,
    comparison_rows,
    kendall_tau_b,
    measure,
    ndcg,
    prompt_clusters,
    reason_of,
    reciprocal_rank,
    score_what_can_be,
    split_by,
    stratum,
)
from rewardsmith.records import Comparison, Message, PreferenceGroup


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


RANKED = (Comparison(0, 1), Comparison(0, 2), Comparison(1, 2))


def group(rewards, edges=RANKED, prompt="p"):
    return ScoredGroup(PreferenceGroup(prompt, tuple(f"c{i}" for i in range(len(rewards))), edges), tuple(rewards))


def test_pair_metrics_by_hand():
    scored = [group([r, 0.0], (Comparison(0, 1),), f"p{i}") for i, r in enumerate((2.0, 0.0, -1.0, 3.0))]
    found = {name: estimate.value for name, estimate in measure(scored, Resampling(100)).items()}
    assert (found["accuracy_strict"], found["accuracy"], found["reward_tie_rate"], found["margin"]) == (
        0.5,
        0.625,
        0.25,
        1.0,
    )


def test_swapping_every_pair_gives_one_minus_accuracy():
    there = [group([r, 0.0], (Comparison(0, 1),), f"p{i}") for i, r in enumerate((2.0, 0.0, -1.0, 3.0))]
    back = [group(item.rewards, (Comparison(1, 0),), item.group.prompt) for item in there]
    one, other = (measure(s, Resampling(100))["accuracy"].value for s in (there, back))
    assert one == 1 - other


def test_best_of_k_shares_credit_at_the_top():
    assert best_of_k(group([3.0, 3.0, 1.0])) == 0.5
    assert best_of_k(group([3.0, 2.0, 1.0])) == 1.0
    assert math.isnan(best_of_k(group([1.0, 2.0], (Comparison(0, 1, "tie"),))))


def test_rank_metrics_by_hand():
    item = group([2.0, 3.0, 1.0])
    assert reciprocal_rank(item) == 0.5
    assert kendall_tau_b(item) == pytest.approx(1 / 3)
    ideal = 4 + 2 / math.log2(3)
    assert ndcg(item) == pytest.approx((2 + 4 / math.log2(3)) / ideal)


def test_a_soft_label_below_half_turns_the_pair():
    item = group([0.0, 1.0], (Comparison(0, 1, probability=0.2),))
    assert measure([item], Resampling(10))["accuracy"].value == 1.0


def test_rewards_that_are_missing_or_not_finite_are_errors():
    with pytest.raises(ScoringError, match="2 rewards for 3"):
        ScoredGroup(PreferenceGroup("p", ("a", "b", "c")), (1.0, 2.0))
    with pytest.raises(ScoringError, match="not finite"):
        group([math.nan, 1.0, 2.0])


def test_dialogues_without_a_prompt_are_clustered_by_the_turns_they_share():
    def dialogue(question, better, worse):
        texts = tuple(f"\n\nHuman: {question}\n\nAssistant: {answer}" for answer in (better, worse))
        return ScoredGroup(PreferenceGroup("", texts, (Comparison(0, 1),)), (1.0, 0.0))

    scored = [
        dialogue("one", "x", "xy"),
        dialogue("two", "x", "y"),
        dialogue("one", "z", "w"),
        group([1, 0, 0], prompt=""),
    ]
    assert prompt_clusters(scored) == [0, 1, 0, 2]


def scored(prompt="p", completions=("a", "b"), **fields):
    group = PreferenceGroup(prompt, completions, (Comparison(0, 1),), **fields)
    return ScoredGroup(group, tuple(0.0 for _ in completions))


def test_source_subset_and_language_come_from_the_group():
    item = scored(source="hh", metadata={"subset": "chat", "language": "de"})
    assert [stratum(item.group, axis) for axis in AXES[:3]] == ["hh", "chat", "de"]
    assert stratum(scored().group, "language") is None


def test_lengths_stand_in_order_of_length():
    items = [scored(completions=("x" * size, "x" * size)) for size in (5000, 20, 3000, 500)]
    assert list(split_by(items, "length")) == [
        "0-199 characters",
        "200-999 characters",
        "1000-3999 characters",
        "4000+ characters",
    ]


def test_turns_are_what_people_said_in_messages_and_in_dialogues():
    turns = [Message("user", "q"), Message("assistant", "a")] * 2 + [Message("user", "q")]
    assert stratum(scored(tuple(turns)).group, "turns") == "2-3 turns"
    dialogue = "\n\nHuman: q\n\nAssistant: a" * 4
    assert stratum(scored("", (dialogue + " x", dialogue + " y")).group, "turns") == "4+ turns"
    assert stratum(scored().group, "turns") == "1 turn"


def test_groups_without_the_axis_are_left_out():
    assert split_by([scored(), scored(source="a")], "source").keys() == {"a"}
