"""The conclusion in one line: green only above every baseline, with what to do next."""

import json

import pytest

from rewardsmith.evaluation import Resampling, compare, evaluate
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.verdict import verdict
from rewardsmith.records import Comparison, PreferenceGroup

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
