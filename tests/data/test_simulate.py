import pytest

from rewardsmith.data import load_preferences
from rewardsmith.data.gold import num_prompts
from rewardsmith.data.simulate import (
    AnnotatorConfig,
    GoldScorer,
    SimulationConfig,
    sample_answers,
    simulate,
    write_prompt,
)
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import ScoreRequest


def test_adding_prompts_changes_no_earlier_one():
    few, many = simulate(SimulationConfig(prompts=5)), simulate(SimulationConfig(prompts=12))
    assert many.groups[:5] == few.groups
    assert simulate(SimulationConfig(prompts=5, seed=1)).groups != few.groups


def test_a_longer_sample_begins_with_the_shorter_one():
    prompt = write_prompt(0)
    assert sample_answers(prompt, 50)[:10] == sample_answers(prompt, 10)
    assert sample_answers(prompt, 10, seed=1) != sample_answers(prompt, 10)


def test_prompts_of_a_seed_are_all_different_also_beyond_the_words():
    assert len({write_prompt(i) for i in range(3000)}) == 3000
    assert write_prompt(num_prompts() + 4).startswith(write_prompt(4))
    assert write_prompt(num_prompts() + 4) != write_prompt(4)


def test_groups_have_the_answers_that_were_asked_for_and_every_pair_is_judged_by_every_rater():
    groups = simulate(SimulationConfig(prompts=60, answers=(2, 5), annotators=AnnotatorConfig(raters=3, pool=7)))
    assert {len(group) for group in groups} == {2, 3, 4, 5}
    for group in groups:
        assert len(set(group.completions)) == len(group)
        assert len(group.comparisons) == 3 * len(group) * (len(group) - 1) // 2
    assert len({edge.annotator for group in groups for edge in group.comparisons}) == 7
    assert groups.report.comparisons == sum(len(group.comparisons) for group in groups)


def test_pairs_can_be_capped_and_raters_left_out():
    capped = simulate(SimulationConfig(prompts=20, answers=(6, 6), pairs=4))
    assert {len({(min(e.better, e.worse), max(e.better, e.worse)) for e in g.comparisons}) for g in capped} == {4}
    silent = simulate(SimulationConfig(prompts=2, answers=(100, 100), annotators=AnnotatorConfig(raters=0)))
    assert [(len(group), len(group.comparisons)) for group in silent] == [(100, 0)] * 2


def test_the_gold_rating_of_a_group_is_what_the_gold_scorer_reads_from_its_text():
    for conversational in (False, True):
        groups = simulate(SimulationConfig(prompts=20, conversational=conversational))
        rewards = GoldScorer().score_requests([ScoreRequest.of_group(group) for group in groups])
        assert [tuple(row) for row in rewards] == [group.ratings["gold"] for group in groups]


def test_simulated_groups_load_without_a_change():
    groups = simulate(SimulationConfig(prompts=30)).groups
    assert load_preferences(groups).groups == groups


def test_the_better_answer_by_gold_wins_most_judgements_but_not_all():
    groups = simulate(SimulationConfig(prompts=300, seed=1))
    sides = [g.ratings["gold"][e.better] > g.ratings["gold"][e.worse] for g in groups for e in g.comparisons]
    assert 0.8 < sum(sides) / len(sides) < 0.95


@pytest.mark.parametrize("wrong", [{"prompts": -1}, {"answers": (1, 3)}, {"answers": (4, 2)}, {"pairs": 0}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError):
        SimulationConfig(**wrong)


def test_more_answers_than_there_are_is_an_error_and_not_an_endless_search():
    with pytest.raises(DataError, match="allow more sentences"):
        simulate(SimulationConfig(prompts=1, answers=(100, 100), sentences=(1, 1)))
