import math
from collections import Counter

import numpy as np
import pytest
from letter_scorer import Short

from rewardsmith.audit.edits import Probe, best_answer, pair_to_edit, standard_probes
from rewardsmith.audit.plan import CachingScorer
from rewardsmith.audit.probes import probe_findings, run_probes, sample_prompts
from rewardsmith.evaluation import FunctionScorer, Resampling
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds

HOW = Resampling(300, 0)


def groups_of(count):
    return [PreferenceGroup(f"p{i}?", ("aaaa", "bb"), (Comparison(0, 1),)) for i in range(count)]


def append(text):
    return lambda prompt, answer, rng: answer + text


def by_length(prompt, answers):
    return [float(len(answer)) for answer in answers]


def run(scorer, groups, probes, sd=1.0, count=100):
    prompts = sample_prompts(groups, count, 0)
    return run_probes(CachingScorer(scorer), prompts, probes, sd, HOW)


def test_change_flips_and_p_are_worked_by_hand():
    # Two prompts, rewards 4 and 2. "!!!" adds 3 to each of 4 answers: one of four sign vectors rises as far.
    probe = Probe("longer", "layout", "should fall", append("!!!"))
    [found] = run(FunctionScorer(by_length), groups_of(2), [probe], sd=1.5)
    assert (found.n, found.change.value) == (4, 2.0)
    # The worse answer reaches 5 > 4 and overtakes; the better one only rises.
    assert (found.overtakes.value, found.overtakes.n) == (1.0, 2)
    assert (found.falls.value, found.falls.n) == (0.0, 2)
    assert found.flip_rate.value == 1.0
    assert found.p == pytest.approx(0.25, abs=0.02)
    assert found.q == found.p
    assert not found.accused


def test_the_flip_rate_counts_the_direction_that_speaks_against_the_model():
    down = FunctionScorer(lambda prompt, answers: [-9.0 if "!" in a else float(len(a)) for a in answers])
    edit = append("!")
    kinds = [Probe(k, "layout", k, edit) for k in ("should fall", "should not matter", "should rise")]
    rates = [found.flip_rate for found in run(down, groups_of(4), kinds)]
    # The better answer falls below in all four, the worse one never overtakes.
    assert [(rate.value, rate.n) for rate in rates] == [(0.0, 4), (0.5, 8), (1.0, 4)]


@pytest.mark.parametrize(
    ("expected", "step", "accused"),
    [
        ("should not matter", 1.0, True),
        ("should not matter", -1.0, True),
        ("should fall", 1.0, True),
        ("should fall", -1.0, False),
        ("should rise", -1.0, True),
        ("should rise", 1.0, False),
    ],
)
def test_only_a_change_against_what_is_expected_accuses(expected, step, accused):
    scorer = FunctionScorer(lambda prompt, answers: [len(a.rstrip("!")) + step * a.count("!") for a in answers])
    [found] = run(scorer, groups_of(40), [Probe("p", "layout", expected, append("!"))])
    assert found.change.value == pytest.approx(step)
    assert found.accused is accused


def test_an_effect_too_small_to_matter_accuses_nobody():
    scorer = FunctionScorer(lambda prompt, answers: [len(a.rstrip("!")) + 0.05 * a.count("!") for a in answers])
    [found] = run(scorer, groups_of(60), [Probe("p", "layout", "should not matter", append("!"))])
    assert found.q < 0.001
    assert not found.accused


def test_q_values_cover_all_probes_and_leave_out_those_that_never_applied():
    probes = [
        Probe("strong", "layout", "should fall", append("!!!!")),
        Probe("none", "layout", "should fall", lambda prompt, answer, rng: None),
        Probe("still", "layout", "should fall", lambda prompt, answer, rng: answer),
    ]
    strong, none, still = run(FunctionScorer(by_length), groups_of(40), probes)
    assert strong.q == strong.p
    assert none.n == still.n == 0
    assert math.isnan(none.q)
    assert none.to_dict()["q"] is None


def test_the_same_change_everywhere_has_no_interval():
    [found] = run(FunctionScorer(by_length), groups_of(10), [Probe("p", "layout", "should fall", append("!"))])
    assert found.change.value == 1.0
    assert math.isnan(found.change.low)


def test_the_last_bits_of_a_reward_are_no_change():
    scorer = FunctionScorer(lambda prompt, answers: [len(a.rstrip("!")) + 1e-9 * a.count("!") for a in answers])
    [found] = run(scorer, groups_of(10), [Probe("p", "layout", "should not matter", append("!"))])
    assert found.change.value == 0.0


def test_a_reward_without_spread_leaves_changes_undefined():
    [found] = run(FunctionScorer(by_length), groups_of(3), [Probe("p", "layout", "should fall", append("!"))], math.nan)
    assert math.isnan(found.change.value)
    assert not found.accused


def test_edits_that_cannot_be_scored_are_counted_and_the_others_are_used():
    [found] = run(Short(5), groups_of(3), [Probe("p", "layout", "should fall", append("!!"))])
    assert (found.n, found.not_scored) == (3, 3)


def test_the_example_is_the_change_that_speaks_most_against_the_model():
    scorer = FunctionScorer(lambda prompt, answers: [9.0 if a == "bb!" else float(len(a)) for a in answers])
    [found] = run(scorer, groups_of(1), [Probe("p", "layout", "should fall", append("!"))])
    assert found.example == {"prompt": "p0?", "before": "bb", "after": "bb!", "reward_before": 2.0, "reward_after": 9.0}


def test_edits_do_not_depend_on_the_other_rows():
    probe = Probe("p", "layout", "should fall", lambda prompt, answer, rng: f"{answer} {rng.integers(10**9)}")
    seen = []
    scorer = FunctionScorer(lambda prompt, answers: seen.extend(answers) or by_length(prompt, answers))
    run(scorer, groups_of(1), [probe])
    first = set(seen)
    run(scorer, groups_of(5), [probe])
    assert first <= set(seen[len(first) :])


def test_every_source_is_sampled_in_turn():
    groups = [PreferenceGroup(f"p{i}", ("a", "b"), (Comparison(0, 1),), source="big") for i in range(50)]
    groups += [PreferenceGroup(f"q{i}", ("a", "b"), (Comparison(0, 1),), source="small") for i in range(3)]
    sources = [prompt.group.source for prompt in sample_prompts(groups, 6, 0)]
    assert sources.count("small") == 3
    assert len(sample_prompts(groups, 1000, 0)) == 53


def test_a_pair_that_people_judged_is_edited_where_there_is_one():
    judged = PreferenceGroup("p", ("a", "b", "c"), (Comparison(2, 0),))
    assert pair_to_edit(judged, np.random.default_rng(0)) == (2, 0, True)
    tied = PreferenceGroup("p", ("a", "b"), (Comparison(0, 1, "tie"),))
    assert pair_to_edit(tied, np.random.default_rng(0)) == (0, 1, False)
    assert pair_to_edit(PreferenceGroup("p", ("a",)), np.random.default_rng(0)) is None
    ids = PreferenceGroup("", (TokenIds((1,)), TokenIds((2,))), (Comparison(0, 1),))
    assert pair_to_edit(ids, np.random.default_rng(0)) is None


def test_pairs_without_a_judgement_count_for_the_change_but_for_no_flip():
    groups = [PreferenceGroup(f"p{i}", ("aaaa", "bb")) for i in range(4)]
    [found] = run(FunctionScorer(by_length), groups, [Probe("p", "layout", "should fall", append("!!!"))])
    assert (found.n, found.flip_rate.n) == (8, 0)
    assert math.isnan(found.flip_rate.value)


def test_the_best_answer_wins_most_judgements():
    group = PreferenceGroup("p", ("a", "b", "c"), (Comparison(1, 0), Comparison(1, 2), Comparison(0, 2)))
    assert best_answer(group) == 1


def test_probes_that_need_other_answers_are_made_of_the_data():
    names = {probe.name for probe in standard_probes(groups_of(3))}
    assert {"random words", "answer to another prompt"} <= names
    ids = [PreferenceGroup("", (TokenIds((1,)), TokenIds((2,))), (Comparison(0, 1),))]
    assert "random words" not in {probe.name for probe in standard_probes(ids)}


def test_messages_are_edited_in_their_last_turn():
    told = tuple((Message("user", "hi"), Message("assistant", text)) for text in ("aaaa", "bb"))
    group = PreferenceGroup("", told, (Comparison(0, 1),))
    scorer = FunctionScorer(lambda prompt, answers: [float(len(a[-1].content)) for a in answers])
    [found] = run(scorer, [group], [Probe("p", "layout", "should fall", append("!"))])
    assert (found.n, found.change.value) == (2, 1.0)


def test_accused_probes_are_counted_by_kind():
    found = run(FunctionScorer(by_length), groups_of(40), [Probe("p", "layout", "should fall", append("!"))])
    assert Counter(result.kind for result in found if result.accused) == {"layout": 1}


def test_words_that_say_nothing_should_not_raise_the_reward_and_a_spoilt_answer_should_lower_it():
    said = {"'sorry'": "boilerplate", "said twice": "degenerate"}
    found = run(
        FunctionScorer(by_length), groups_of(40), [Probe(n, k, "should fall", append("!!!")) for n, k in said.items()]
    )
    first, second = (finding.message for finding in probe_findings(found))
    assert first.startswith("probe 'sorry': ")
    assert first.endswith("it should not rise")
    assert second.endswith("it should fall")
