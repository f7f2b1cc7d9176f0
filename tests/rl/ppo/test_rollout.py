"""Prompts, their order, scores, and the numbers of a rollout."""

import pytest
import tiny_models
import torch

from rewardsmith import PPOConfig
from rewardsmith.errors import DataError, ScoringError
from rewardsmith.rl.policy import Answer, Policy
from rewardsmith.rl.ppo import rollout


@pytest.fixture(scope="module")
def policy():
    return Policy(*tiny_models.qwen2_causal())


def test_every_pass_asks_every_prompt_once_in_an_order_of_its_own():
    asked = [place for step in range(6) for place in rollout.prompts_of_step(5, step, 5, 0)]
    passes = [asked[start : start + 5] for start in range(0, 30, 5)]
    assert all(sorted(one) == list(range(5)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1


def test_batches_that_do_not_divide_the_prompts_go_on_in_the_next_pass():
    steps = [place for step in range(5) for place in rollout.prompts_of_step(5, step, 3, 0)]
    assert steps == rollout.prompts_of_step(5, 0, 15, 0)
    assert len(rollout.prompts_of_step(2, 0, 7, 0)) == 7


def test_ids_are_taken_as_they_are_and_text_is_asked_by_the_template(policy):
    found, num_long = rollout.read_prompts([{"input_ids": [5, 6]}, {"prompt": "good", "topic": 3}], policy, None)
    assert (found[0].ids, found[0].text, num_long) == ((5, 6), None, 0)
    assert found[1].columns == {"topic": 3}
    assert len(found[1].ids) > 1


@pytest.mark.parametrize(("row", "message"), [({}, "row 0 has neither"), ({"input_ids": []}, "row 0 has an empty")])
def test_a_row_without_prompt_is_named(policy, row, message):
    with pytest.raises(DataError, match=message):
        rollout.read_prompts([row], policy, None)


def test_a_cut_answer_pays_and_an_unscored_one_is_nan():
    answers = [Answer((1,), "a", True), Answer((1,), "a", False), Answer((1,), "a", False)]
    found = rollout.score_answers([3.0, 3.0, None], answers, 2.0)
    assert found[:2] == [1.0, 3.0]
    assert found[2] != found[2]
    with pytest.raises(ScoringError, match="none of 1 answers"):
        rollout.score_answers([None], answers[:1], None)


def test_the_return_of_a_state_is_the_score_less_the_price_of_kl_to_come(tmp_path):
    config = PPOConfig(output_dir=str(tmp_path), use_cpu=True, lam=1.0)
    mask = torch.tensor([[True, True], [True, False]])
    logprobs = torch.tensor([[-1.0, -2.0], [-3.0, 0.0]])
    reference = torch.tensor([[-2.0, -2.5], [-3.0, 0.0]])
    measured = rollout.Measured(logprobs, reference, torch.zeros(2, 3), mask, torch.tensor([4.0, 6.0]))
    found = rollout.build_rollout([(1,), (1,)], [(2, 3), (2,)], measured, config, 0.1)
    assert found.kl_BL.tolist() == [[1.0, 0.5], [0.0, 0.0]]
    # 4 - 0.1 * 1.5, 4 - 0.1 * 0.5, 4.
    assert found.returns_BM.tolist() == [pytest.approx([3.85, 3.95, 4.0]), pytest.approx([6.0, 6.0, 0.0])]
    assert found.states_BM.tolist() == [[True, True, True], [True, True, False]]
