"""`rewardsmith reward`: the rewards of answers that are typed."""

import json

import pytest

from rewardsmith.scoring import RewardModel

QUESTION, ANSWERS = "What is 2 + 2?", ["4", "It may be 5, who can say."]


def test_typed_answers_have_the_rewards_of_score_best_first(command, tiny_model):
    rewards = RewardModel.from_pretrained(tiny_model).score(QUESTION, ANSWERS)
    code, out, _ = command("reward", tiny_model, QUESTION, *ANSWERS, "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["prompt"], found["answers"]) == (QUESTION, ANSWERS)
    assert found["rewards"] == pytest.approx(rewards)
    code, out, _ = command("reward", tiny_model, QUESTION, *ANSWERS)
    best = max(zip(rewards, ANSWERS, strict=True))
    assert out.splitlines()[0] == f"{best[0]:+9.3f}  {best[1]}"
    assert len(out.splitlines()) == 2


def test_a_model_that_is_no_place_is_named_in_one_line(command):
    code, _, err = command("reward", "no-such-model", QUESTION, "4")
    assert code == 1
    assert "no-such-model" in err
    assert len(err.splitlines()) == 1
