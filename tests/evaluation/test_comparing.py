import math

import pytest

from rewardsmith.errors import ScoringError
from rewardsmith.evaluation import FunctionScorer, Resampling, compare
from rewardsmith.evaluation.comparing import compare_scorers
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, Message, PreferenceGroup

HOW = Resampling(200, 0)


def scored(rewards):
    groups = [PreferenceGroup(f"p{i}", ("a", "b"), (Comparison(0, 1),)) for i in range(len(rewards))]
    return [ScoredGroup(group, (float(reward), 0.0)) for group, reward in zip(groups, rewards, strict=True)]


def test_flips_and_difference_are_worked_by_hand():
    found = compare("a", scored([1, 1, 1, -1]), "b", scored([1, -1, -1, 1]), HOW).to_dict()["overall"]
    assert (found["accuracy_a"], found["accuracy_b"]) == (0.75, 0.5)
    assert (found["only_a"], found["only_b"]) == (2, 1)
    # Exact McNemar: two-sided binomial of 2 in 3.
    assert found["p_value"] == 1.0
    assert found["difference"]["value"] == 0.25


def test_scorers_that_never_differ_have_a_difference_of_zero_without_an_interval():
    same = scored([1, -1, 1])
    found = compare("a", same, "b", same, HOW).to_dict()["overall"]
    assert found["difference"] == {"value": 0.0, "n": 3, "low": None, "high": None}
    assert found["p_value"] == 1.0
    assert not math.isnan(found["accuracy_a"])


def test_prompts_of_messages_and_shared_turns_of_dialogues_are_given_as_text_to_read():
    turns = (Message("system", "Be brief."), Message("user", "Hi"))
    start = "\n\nHuman: Hi\n\nAssistant:"
    groups = [
        PreferenceGroup(turns, ((Message("assistant", "yes"),), (Message("assistant", "no"),)), (Comparison(0, 1),)),
        PreferenceGroup("", (f"{start} yes", f"{start} no"), (Comparison(0, 1),)),
    ]
    same = [ScoredGroup(group, (1.0, 0.0)) for group in groups]
    rows = compare("a", same, "b", same, HOW).rows
    assert (rows[0].prompt, rows[0].better, rows[0].worse) == ("system: Be brief.\n\nuser: Hi", "yes", "no")
    assert rows[1].prompt == "\n\nHuman: Hi"
    assert rows[1].better.endswith("yes")


def test_what_either_scorer_cannot_score_is_left_out_for_both_and_counted():
    def refusing(word):
        def score(prompt, answers):
            if word in prompt:
                raise ScoringError(f"{word} has 635 tokens, the model reads 512")
            return [len(answer) for answer in answers]

        return FunctionScorer(score)

    rows = [
        {"prompt": f"p{i} {word}", "chosen": "yes", "rejected": "no"} for i, word in enumerate(["x", "y", "z", "z"])
    ]
    scorers = (refusing("x"), refusing("y"))
    found = compare_scorers(scorers, rows, {"on_error": "count"}, how=HOW)
    assert [row.prompt for row in found.rows] == ["p2 z", "p3 z"]
    assert found.dropped == {"longer than the model reads": 2}
    with pytest.raises(ScoringError, match="635 tokens"):
        compare_scorers(scorers, rows, {}, how=HOW)
