"""The conclusion in one line: green only above every baseline, with what to do next."""

import json
import math

import numpy as np
import pytest

from rewardsmith.errors import ScoringError
from rewardsmith.evaluation import Resampling, compare, evaluate
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.verdict import RULES, count_votes, noise_ceiling, verdict, without_prompts
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds

HOW = Resampling(200)


def rows(number=200):
    """Pairs of equal length, so that no rule of length knows the answer; the prompt says which word is right."""
    words = ("cat", "dog")
    return [
        {"prompt": f"{i} {words[i % 2]}", "chosen": words[i % 2], "rejected": words[1 - i % 2]} for i in range(number)
    ]


def reader(prompt, answers):
    return [float(answer in prompt) for answer in answers]


def test_a_scorer_that_reads_the_prompt_is_better_than_every_baseline():
    found = verdict(evaluate(reader, rows(), how=HOW, prompt_blind=True))
    assert found.level == "green"
    assert "better than" in found.message
    assert "audit" in found.remedy


def test_no_green_where_the_scorer_without_the_prompt_is_as_good():
    praise = [{"prompt": f"{i}?", "chosen": "good", "rejected": "evil"} for i in range(200)]
    found = verdict(
        evaluate(lambda prompt, answers: [float(a == "good") for a in answers], praise, how=HOW, prompt_blind=True)
    )
    assert found.level == "yellow"
    assert "itself without the prompt" in found.message
    assert "prompt" in found.remedy


def test_few_judgements_are_no_proof_and_a_wrong_scorer_is_red():
    assert verdict(evaluate(reader, rows(2), how=HOW)).level == "yellow"
    turned = verdict(evaluate(lambda prompt, answers: [-r for r in reader(prompt, answers)], rows(), how=HOW))
    assert turned.level == "red"
    assert "swapped" in turned.message
    flat = verdict(evaluate(lambda prompt, answers: [0.0, 0.0], rows(), how=HOW))
    assert (flat.level, "equal" in flat.message) == ("red", True)


def test_no_preference_says_that_nothing_is_known():
    ties = [{"prompt": "p", "chosen": "a", "rejected": "a"}]
    assert "nothing is known" in verdict(evaluate(reader, ties, how=HOW)).message


@pytest.mark.parametrize(("wins", "level", "said"), [(60, "green", "b is better than a"), (2, "yellow", "not shown")])
def test_of_two_scorers_the_better_is_named_with_p(wins, level, said):
    groups = [PreferenceGroup(f"p{i}", ("x", "y"), (Comparison(0, 1),)) for i in range(100)]
    a = [ScoredGroup(group, (0.0, 1.0) if i < wins else (1.0, 0.0)) for i, group in enumerate(groups)]
    b = [ScoredGroup(group, (1.0, 0.0)) for group in groups]
    result = compare("a", a, "b", b, HOW)
    found = verdict(result)
    assert (found.level, said in found.message, ", p " in found.message) == (level, True, True)
    assert all(row.has_flipped for row in result.largest_disagreements(wins))
    assert json.dumps(result.to_dict(), allow_nan=False)


GROUP = PreferenceGroup("p", ("# Title\n- one\n- **two**", "a plain answer that is longer than the other"))


@pytest.mark.parametrize(("rule", "winner"), [("longest", 1), ("shortest", 0), ("most_markdown", 0)])
def test_each_rule_prefers_what_its_name_says(rule, winner):
    rewards = RULES[rule](GROUP)
    assert rewards.index(max(rewards)) == winner


def test_length_and_markdown_are_read_from_messages_too():
    turns = tuple((Message("assistant", text),) for text in GROUP.completions)
    for rule in ("longest", "most_markdown"):
        assert RULES[rule](PreferenceGroup("p", turns)) == RULES[rule](GROUP)


def test_the_random_rule_is_the_same_in_every_run_and_fair():
    groups = [PreferenceGroup(f"p{i}", ("a", "b")) for i in range(2000)]
    first = [RULES["random"](group) for group in groups]
    assert first == [RULES["random"](group) for group in groups]
    assert sum(a > b for a, b in first) / 2000 == pytest.approx(0.5, abs=0.04)


def test_one_rater_gives_no_ceiling():
    group = PreferenceGroup("p", ("a", "b"), (Comparison(0, 1),))
    ceiling = noise_ceiling([ScoredGroup(group, (0.0, 1.0))])
    assert (math.isnan(ceiling.value), ceiling.n) == (True, 0)


def votes_of(groups):
    votes, numbers = count_votes(groups)
    return list(zip(votes.tolist(), numbers, strict=True))


def test_the_ceiling_comes_from_agreement_between_raters_and_judged_ties_are_no_votes():
    votes = (Comparison(0, 1), Comparison(1, 0), Comparison(0, 1, "tie"), *[Comparison(0, 1)] * 3)
    soft = (Comparison(0, 1, probability=0.2),)
    groups = [PreferenceGroup("p", ("a", "b"), votes), PreferenceGroup("q", ("a", "b"), soft)]
    assert votes_of(groups) == [([4.0, 1.0], 0)]
    # Two of five votes agree with chance (4 * 3) / (5 * 4) = 0.6.
    ceiling = noise_ceiling([ScoredGroup(group, (0.0, 1.0)) for group in groups])
    assert (ceiling.value, ceiling.n) == (pytest.approx((1 + math.sqrt(0.2)) / 2), 1)


def test_soft_labels_alone_give_their_mean_majority():
    groups = [PreferenceGroup(p, ("a", "b"), (Comparison(0, 1, probability=p_),)) for p, p_ in (("p", 0.2), ("q", 0.9))]
    assert noise_ceiling([ScoredGroup(group, (0.0, 1.0)) for group in groups]).value == pytest.approx(0.85)


@pytest.mark.parametrize("raters", [2, 3, 7])
def test_the_ceiling_is_right_for_few_raters_where_pairs_are_equally_hard(raters):
    generator = np.random.default_rng(100 + raters)
    right = generator.random((4000, raters)) < 0.65
    groups = [
        PreferenceGroup(
            f"p{i}",
            ("a", "b"),
            tuple(Comparison(*((0, 1) if vote else (1, 0)), annotator=str(k)) for k, vote in enumerate(row)),
        )
        for i, row in enumerate(right)
    ]
    ceiling = noise_ceiling([ScoredGroup(group, (0.0, 1.0)) for group in groups])
    assert ceiling.low < 0.65 < ceiling.high
    assert ceiling.value == pytest.approx(0.65, abs=0.03)


def test_what_accuracy_does_not_count_is_not_in_the_ceiling():
    edges = (Comparison(0, 1, probability=0.5), Comparison(0, 1, probability=0.9, weight=0.0))
    votes = (Comparison(0, 1), Comparison(0, 1, weight=0.0), Comparison(1, 0, weight=0.0))
    groups = [PreferenceGroup("p", ("a", "b"), edges), PreferenceGroup("q", ("a", "b"), votes)]
    assert votes_of(groups) == []
    assert noise_ceiling([ScoredGroup(group, (0.0, 1.0)) for group in groups]).n == 0


def pair_with(*edges):
    return PreferenceGroup("p", ("a", "b"), edges)


def test_repeated_rows_without_raters_that_never_differ_are_copies_and_give_no_ceiling():
    copies = pair_with(Comparison(0, 1), Comparison(0, 1))
    assert noise_ceiling([ScoredGroup(group, (0.0, 1.0)) for group in (copies, copies)]).n == 0
    assert votes_of([copies, pair_with(Comparison(0, 1), Comparison(1, 0))]) == [([2.0, 0.0], 0), ([1.0, 1.0], 1)]


def test_named_raters_who_agree_are_raters_and_each_counts_once():
    named = pair_with(Comparison(0, 1, annotator="x"), Comparison(0, 1, annotator="y"))
    assert votes_of([named]) == [([2.0, 0.0], 0)]
    again = pair_with(Comparison(0, 1, annotator="x"), Comparison(0, 1, annotator="x"))
    assert votes_of([again]) == []
    outvoted = pair_with(*(Comparison(0, 1, annotator=who) for who in "xyx"), Comparison(1, 0, annotator="z"))
    assert votes_of([outvoted]) == [([2.0, 1.0], 0)]


EDGE = (Comparison(0, 1),)


def evaluated(scorer, groups):
    return evaluate(scorer, groups, how=Resampling(50), prompt_blind=True)


def test_a_scorer_that_needs_the_prompt_is_at_chance_without_it():
    groups = [PreferenceGroup(f"{w} {i}", (w, "b" if w == "a" else "a"), EDGE) for i in range(100) for w in ("a", "b")]
    result = evaluated(lambda prompt, completions: [float(prompt[:1] == c) for c in completions], groups)
    assert result.metrics["accuracy"].value == 1
    assert result.baselines["prompt_blind"].value == 0.5


def test_a_conversation_keeps_an_empty_turn_of_the_user():
    seen = []

    def score(groups):
        seen.extend(group.prompt for group in groups)
        return [ScoredGroup(group, (0.0,) * len(group)) for group in groups]

    turns = (Message("assistant", "x"),)
    groups = [PreferenceGroup((Message("user", "q"),), (turns, turns), EDGE), PreferenceGroup("q", ("x", "y"), EDGE)]
    found = without_prompts(score, groups)
    assert seen == [(Message("user", ""),), ""]
    assert [item.group for item in found.scored["prompt_blind"]] == groups


def test_groups_without_a_prompt_of_their_own_have_no_such_baseline_and_the_result_says_so():
    result = evaluated(lambda p, c: [1.0, 0.0], [PreferenceGroup("", ("a", "b"), EDGE)])
    assert math.isnan(result.baselines["prompt_blind"].value)
    assert "no group has a prompt" in result.notes[0]
    tokens = PreferenceGroup("p", (TokenIds((1, 2)), TokenIds((1, 3))), EDGE)
    assert "token ids hold the prompt" in evaluated(lambda p, c: [1.0, 0.0], [tokens]).notes[0]


def test_a_scorer_that_refuses_an_empty_prompt_still_has_a_result():
    def refuse(prompt, completions):
        if not prompt:
            raise ScoringError("give a prompt")
        return [1.0, 0.0]

    result = evaluated(refuse, [PreferenceGroup(f"p{i}", ("a", "b"), EDGE) for i in range(3)])
    assert result.metrics["accuracy"].value == 1
    assert result.notes == ("prompt_blind: cannot be scored: give a prompt",)
    assert result.to_dict()["notes"] == list(result.notes)
