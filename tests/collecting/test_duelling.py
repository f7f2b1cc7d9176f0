"""A duel as a project: its pairs in the order of the draws, its result from what people said."""

import numpy as np
from collecting_people import annotator

from rewardsmith.cli.collect_serving import describe_duel, pairs_of
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.duel import plan_duel
from rewardsmith.collecting.duelling import add_duel, close_items, duel_result
from rewardsmith.collecting.saving import Submission, submit
from rewardsmith.data.gold import gold_reward
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate


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
