"""The scorer without the prompt: what it still gets right, and where the prompt cannot be left out."""

import math

from rewardsmith.errors import ScoringError
from rewardsmith.evaluation import Resampling, evaluate
from rewardsmith.evaluation.blind import without_prompts
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds

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
