"""Values of tokens, and where a value model starts from."""

import pytest
import tiny_models
import torch

from rewardsmith.errors import ConfigError
from rewardsmith.rl.ppo import models


def test_padding_changes_no_value_and_no_probability():
    both = models.PolicyAndValue(tiny_models.qwen2_causal()[0], tiny_models.qwen2()[0], 0)
    prompts, answers = [(5, 6, 7, 8), (9,)], [(10,), (11, 12, 13)]
    with torch.no_grad():
        logprobs, _, values, mask = both(prompts, answers, 0.7)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            alone = both([prompt], [answer], 0.7)
            assert torch.allclose(logprobs[row][mask[row]], alone[0][0], atol=1e-5)
            assert torch.allclose(values[row, : len(answer) + 1], alone[2][0], atol=1e-5)


def test_the_last_value_is_the_reward_of_the_whole_text():
    model, _ = tiny_models.qwen2()
    with torch.no_grad():
        values = models.token_values(model, [(5, 6)], [(7, 8)], 0)
        whole = model(input_ids=torch.tensor([[5, 6, 7, 8]])).logits[0, 0]
    assert values[0, -1].item() == pytest.approx(whole.item(), abs=1e-5)


def test_a_value_model_without_score_is_refused():
    policy = tiny_models.qwen2_causal()[0]
    with pytest.raises(ConfigError, match="has no head 'score'"):
        models.PolicyAndValue(policy, policy, 0)


def test_values_of_a_function_start_from_the_policy_at_zero():
    policy, tokenizer = tiny_models.qwen2_causal()
    model = models.value_model_from(len, policy, tokenizer)
    with torch.no_grad():
        assert not models.token_values(model, [(5, 6)], [(7, 8)], 0).any()


def test_vocabularies_mean_the_same_where_ids_agree():
    policy, reward = tiny_models.qwen_tokenizer(), tiny_models.qwen_tokenizer()
    reward.add_special_tokens({"additional_special_tokens": ["<|more|>"]})
    assert models.means_the_same(policy, reward)
    assert not models.means_the_same(policy, tiny_models.bert_tokenizer())
