"""A comparer's numbers by hand, from both orders of every pair."""

import math

import foreign_layouts
import pytest

from rewardsmith import RewardModel
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import ScoreRequest, TokenIds
from rewardsmith.scoring.scorer import require_ids

PROMPT, ANSWERS = "is maybe", ["good", "the question is maybe awful", "fine nice great poor"]


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    path, log_odds = foreign_layouts.pair_rm(tmp_path_factory.mktemp("pair") / "rm")
    return RewardModel.from_pretrained(path, device="cpu", dtype="float32"), log_odds


def by_hand(log_odds, first, second):
    return sigmoid((log_odds(PROMPT, first, second) - log_odds(PROMPT, second, first)) / 2)


def test_two_answers_are_compared_in_both_orders(pair):
    model, log_odds = pair
    expected = by_hand(log_odds, *ANSWERS[:2])
    assert model.compare(PROMPT, *ANSWERS[:2]) == pytest.approx(expected, abs=1e-5)
    assert model.score(PROMPT, ANSWERS[:2]) == pytest.approx([expected, 1 - expected], abs=1e-5)
    assert model.outcome_probabilities(PROMPT, *ANSWERS[:2]) == (*model.score(PROMPT, ANSWERS[:2]), None)


def test_the_number_of_an_answer_is_its_mean_chance_against_the_others(pair):
    model, log_odds = pair
    parts = model.score(PROMPT, ANSWERS, return_parts=True)
    for index, (answer, part) in enumerate(zip(ANSWERS, parts, strict=True)):
        chances = [by_hand(log_odds, answer, other) for i, other in enumerate(ANSWERS) if i != index]
        assert part.reward == pytest.approx(sum(chances) / 2, abs=1e-5)
        assert all(abs(chance - 0.5) > 1e-3 for chance in chances)
        assert part.attributes["wins"] == sum(chance > 0.5 for chance in chances)
    assert sum(part.reward for part in parts) == pytest.approx(len(ANSWERS) / 2, abs=1e-5)


def test_batches_and_order_change_nothing(pair):
    model, _ = pair
    whole, model.tokens_per_batch = model.score(PROMPT, ANSWERS), 16
    try:
        assert model.score(PROMPT, ANSWERS[::-1])[::-1] == pytest.approx(whole, abs=1e-5)
    finally:
        model.tokens_per_batch = 4096


def test_one_message_counts_as_its_text(pair):
    model, _ = pair
    chat = [{"role": "user", "content": PROMPT}]
    answers = [[{"role": "assistant", "content": answer}] for answer in ANSWERS]
    assert model.score(chat, answers) == pytest.approx(model.score(PROMPT, ANSWERS), abs=1e-6)


def test_what_has_no_answer_to_compare_with_is_refused(pair):
    model, _ = pair
    with pytest.raises(ScoringError, match="two or more, not 1"):
        model.score(PROMPT, "good")
    assert not model.capabilities.scores_ids
    with pytest.raises(ConfigError, match="no reward to one sequence alone: it compares answers"):
        require_ids(model)
    with pytest.raises(ScoringError, match="not token ids"):
        model.score_requests([ScoreRequest(PROMPT, (TokenIds([1]), TokenIds([2])))])
    with pytest.raises(ScoringError, match="answers 0 and 1 with their prompt have"):
        model.score("good " * 3000, ANSWERS)
    with pytest.raises(ConfigError, match="no normalised rewards"):
        model.score(PROMPT, ANSWERS, normalized=True)
