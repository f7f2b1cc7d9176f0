import pytest
import tiny_models

from rewardsmith.errors import ConfigError
from rewardsmith.records import Message, PreferenceGroup
from rewardsmith.rl.policy import Policy, Sampling, encode_prompt, sample
from rewardsmith.rl.supervised import Example, SupervisedConfig, encode_answer, examples_of, fit, fresh_policy

GROUP = PreferenceGroup("is it good", ("good", "great"))


def test_an_answer_ends_where_the_policy_stops():
    policy = Policy(*tiny_models.qwen2_causal())
    ids = encode_answer(policy, "is it good", "good")
    assert ids[-1] in policy.stop_ids
    assert sum(token in policy.stop_ids for token in ids) == 1
    assert policy.tokenizer.decode(ids, skip_special_tokens=True) == "good"
    policy.tokenizer.chat_template = None
    assert encode_answer(policy, "is it good", "good") == [*policy.tokenizer("good")["input_ids"], 2]


def test_text_and_a_message_are_the_same_example():
    policy = Policy(*tiny_models.qwen2_causal())
    messages = PreferenceGroup(
        (Message("user", "is it good"),), ((Message("assistant", "good"),), (Message("assistant", "great"),))
    )
    assert examples_of(policy, [GROUP]) == examples_of(policy, [messages])
    assert examples_of(policy, [GROUP])[0].prompt == encode_prompt(policy, "is it good")


def test_fitting_one_answer_makes_the_policy_give_it():
    policy = Policy(*tiny_models.qwen2_causal())
    [example, _] = examples_of(policy, [GROUP])
    loss = fit(policy, [example] * 8, SupervisedConfig(1e-2, 8, num_train_epochs=60))
    assert loss < 0.1
    assert [a.text for a in sample(policy, ["is it good"], 1, Sampling(8, temperature=0))[0]] == ["good"]


def test_nothing_to_learn_is_refused():
    policy = Policy(*tiny_models.qwen2_causal())
    with pytest.raises(ConfigError, match="train nothing"):
        fit(policy, [], SupervisedConfig())
    with pytest.raises(ConfigError, match="train nothing"):
        fit(policy, [Example([5], [2])], SupervisedConfig(num_train_epochs=0.0))


def test_a_fresh_policy_has_a_tokenizer_of_its_own_and_is_repeatable():
    config = SupervisedConfig(num_train_epochs=1, batch_size=2)
    one, other = (fresh_policy([GROUP], config=config, vocabulary=300) for _ in range(2))
    assert one.tokenizer.chat_template
    assert sample(one, ["good"], 2, Sampling(4)) == sample(other, ["good"], 2, Sampling(4))
