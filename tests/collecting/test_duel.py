"""Duels on simulated people: the right order from a tenth of the labels, intervals that cover."""

import numpy as np
import pytest
from collecting_people import annotator

from rewardsmith.cli.collect_serving import describe_duel, pairs_of
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.duel import FEWEST, add_duel, close_items, duel_result, judge_duel, plan_duel
from rewardsmith.collecting.saving import Submission, submit
from rewardsmith.data.gold import gold_reward
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate

PAIRS = 3000


def population(seed, noise=(0.7, 1.3)):
    """Gold differences, two models' differences, and one vote a pair by a noisy person."""
    generator = np.random.default_rng(seed)
    gold = generator.normal(0, 1.2, PAIRS)
    models = [gold + generator.normal(0, scale, PAIRS) for scale in noise]
    votes = (generator.random(PAIRS) < 1 / (1 + np.exp(-2 * gold))).astype(float)
    return models[0], models[1], votes


def truth(a, b, votes):
    return float(np.mean(((a > 0) == (votes > 0.5)).astype(float) - ((b > 0) == (votes > 0.5))))


def test_chances_sum_to_one_and_favour_pairs_on_which_the_models_differ():
    plan = plan_duel([2.0, 2.0, -0.1], [-2.0, 1.0, 0.1], 10)
    assert plan.chances.sum() == pytest.approx(1)
    assert plan.chances[0] > plan.chances[2] > plan.chances[1] > 0


def test_the_estimate_is_unbiased():
    a, b, votes = population(0)
    values = []
    for seed in range(300):
        plan = plan_duel(a, b, 100, seed=seed)
        values.append(judge_duel(plan, dict(enumerate(votes))).difference.value)
    error = np.std(values) / np.sqrt(len(values))
    assert np.mean(values) == pytest.approx(truth(a, b, votes), abs=3.5 * error)


def test_the_order_of_two_models_is_right_with_a_tenth_of_the_labels():
    right = 0
    for seed in range(200):
        a, b, votes = population(seed)
        result = judge_duel(plan_duel(a, b, PAIRS // 10, seed=seed), dict(enumerate(votes)))
        assert result.labels <= PAIRS // 10
        right += (result.difference.value > 0) == (truth(a, b, votes) > 0)
    assert right >= 190


@pytest.mark.parametrize("stops", [False, True])
def test_intervals_cover_also_where_labelling_stops_at_a_width(stops):
    covered = 0
    for seed in range(500):
        a, b, votes = population(seed, (0.8, 1.0))
        plan = plan_duel(a, b, 300, seed=seed)
        known = {}
        result = None
        for turn, pair in enumerate(plan.draws.tolist(), 1):
            known[pair] = votes[pair]
            if turn >= FEWEST and turn % 10 == 0 and stops:
                result = judge_duel(plan_of(plan, turn), known, narrow=0.05)
                if result.settled:
                    break
        if not stops:
            result = judge_duel(plan, known)
        covered += result.difference.low <= truth(a, b, votes) <= result.difference.high
    assert 465 <= covered <= 485


def plan_of(plan, turns):
    return type(plan)(plan.gaps_a, plan.gaps_b, plan.chances, plan.draws[:turns])


def test_models_that_never_differ_are_drawn_alike_and_differ_by_nothing():
    plan = plan_duel([1.0, 2.0], [3.0, 1.0], 60)
    result = judge_duel(plan, {0: 1.0, 1: 0.0})
    assert result.difference.value == 0
    assert result.winner is None


def test_nothing_labelled_says_nothing():
    result = judge_duel(plan_duel([1.0], [-1.0], 5), {})
    assert result.labels == 0
    assert "nothing can be said" in describe_duel("a", "b", result, 1)


def test_a_duel_in_a_project_ends_with_the_better_model(make):
    collection = make(overlap=1, repeats=0)
    config = SimulationConfig(prompts=150, answers=(2, 2), annotators=AnnotatorConfig(raters=0))
    pairs = pairs_of(list(simulate(config)))
    gold = np.array([gold_reward(p.prompt, p.completions[0]) - gold_reward(p.prompt, p.completions[1]) for p in pairs])
    generator = np.random.default_rng(0)
    plan = plan_duel(gold, generator.normal(0, 2, len(gold)), 120)
    assert add_duel(collection, plan, pairs) == len(set(plan.draws.tolist()))
    person = annotator(collection)
    first = claim(collection.store, collection.project, person)
    assert first.completions == pairs[plan.draws[0]].completions
    while (one := claim(collection.store, collection.project, person)) is not None:
        felt = [gold_reward(one.prompt, text) for text in one.completions]
        order = [[int(np.argmax(felt))], [int(np.argmin(felt))]]
        sent = Submission(one.slot_id, one.token, one.token, "answer", {"answers": {"overall": {"order": order}}})
        submit(collection.store, collection.settings_id, collection.project, person, sent)
    result = duel_result(collection, plan, pairs)
    assert result.winner == "A"
    assert "agrees with people more" in describe_duel("gold", "coin", result, len(pairs))
    close_items(collection)
    assert claim(collection.store, collection.project, annotator(collection, "late")) is None
