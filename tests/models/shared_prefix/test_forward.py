"""The last layer is computed for scored tokens alone, and nothing changes by it."""

import pytest
import tiny_models
import torch
from torch import nn

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix import forward
from rewardsmith.models.shared_prefix.forward import LastLayer, last_layer, scored_tokens_only
from rewardsmith.models.shared_prefix.packing import PrefixLayout
from rewardsmith.models.shared_prefix.plan import compute_rewards, prepare_model

GROUPS = [[[5, 6, 7, 8, 9], [5, 6, 7, 8, 11, 12], [5, 6, 7]], [[20, 21], [20, 22, 23, 24]]]


@pytest.fixture
def model():
    model, _ = tiny_models.qwen2()
    nn.init.normal_(model.score.weight, std=0.5)
    return model


def tokens_seen(model):
    """Record how many tokens each narrowed part computes, after what narrows it."""
    seen = []
    for part in last_layer(model.model).tokenwise:
        part.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]), prepend=True)
    return seen


def loss_and_gradients(model, plan, groups=GROUPS):
    model.zero_grad()
    rewards = model(reward_batch=plan.batch(groups)).logits[:, 0]
    rewards.pow(2).sum().backward()
    return rewards.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


def test_only_the_scored_tokens_reach_queries_output_projection_and_mlp(model):
    plan = prepare_model(model)
    seen = tokens_seen(model)
    compute_rewards(model, GROUPS, plan=plan)
    assert seen == [5, 5, 5]


@pytest.mark.parametrize("make", [tiny_models.qwen2, tiny_models.llama])
@pytest.mark.parametrize("repeated", [1, 12], ids=["short", "long"])
def test_rewards_and_gradients_are_those_of_the_whole_layer(make, repeated, monkeypatch):
    model, _ = make()
    nn.init.normal_(model.score.weight, std=0.5)
    plan = prepare_model(model)
    groups = [[list(sequence) for sequence in group] for group in GROUPS]
    groups = [[sequence[:1] * repeated + sequence for sequence in group] for group in groups]
    rewards, gradients = loss_and_gradients(model, plan, groups)
    monkeypatch.setattr(forward, "last_layer", lambda backbone: LastLayer())
    whole_rewards, whole_gradients = loss_and_gradients(model, plan, groups)
    torch.testing.assert_close(rewards, whole_rewards, rtol=1e-5, atol=1e-6)
    for name, gradient in whole_gradients.items():
        assert (gradients[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-7, name


def test_the_mask_of_the_queries_is_rows_of_the_dense_mask():
    layout = PrefixLayout(((3, (2, 4)), (0, (5,))))
    queries = torch.tensor([4, 8, 13])
    for window in (None, 3):
        assert torch.equal(layout.attending_from(queries).query_mask(window), layout.dense_mask(window)[queries])


def test_queries_are_few_while_their_pairs_are_fewer_than_those_of_all_tokens():
    layout = PrefixLayout(((40, (20, 20)),))
    assert not layout.has_few_queries()
    assert layout.attending_from(torch.tensor([59, 79])).has_few_queries()
    assert not layout.attending_from(torch.arange(40)).has_few_queries()


def test_an_ordinary_call_after_it_sees_every_token(model):
    compute_rewards(model, GROUPS, plan=prepare_model(model))
    seen = tokens_seen(model)
    model(input_ids=torch.tensor([[5, 6, 7, 8, 9]]))
    assert seen == [5, 5, 5]
    layer = last_layer(model.model)
    assert not any(part._forward_pre_hooks for part in (layer.attention, *layer.tokenwise))


def test_recomputed_layers_see_every_token_again(model):
    plan = prepare_model(model)
    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    seen = tokens_seen(model)
    loss_and_gradients(model, plan)
    assert set(seen) == {plan.batch(GROUPS).chunks[0].input_ids.shape[1]}


def test_pooling_over_all_tokens_needs_them_all(model):
    plan = prepare_model(model)
    model.config.reward_pooling = "mean"
    seen = tokens_seen(model)
    compute_rewards(model, GROUPS, plan=plan)
    assert set(seen) == {plan.batch(GROUPS).chunks[0].input_ids.shape[1]}


class MixesTokens(nn.Module):
    """An MLP whose output depends on other tokens, as a router with a capacity does."""

    def __init__(self, mlp):
        super().__init__()
        self.mlp = mlp

    def forward(self, hidden):
        return self.mlp(hidden) * hidden.shape[1]


class GivesTwo(MixesTokens):
    """An MLP that gives its router's logits, too."""

    def forward(self, hidden):
        return self.mlp(hidden), hidden


def test_a_model_whose_blocks_look_at_other_tokens_shares_nothing():
    model, _ = tiny_models.qwen2()
    model.model.layers[-1].mlp = MixesTokens(model.model.layers[-1].mlp)
    assert prepare_model(model).way == "rows"


def test_a_block_that_gives_more_than_a_tensor_is_named(model):
    two = GivesTwo(model.model.layers[-1].mlp)
    with (
        scored_tokens_only(LastLayer(tokenwise=(two,)), torch.tensor([0]), 3),
        pytest.raises(ScoringError, match="GivesTwo gives a tuple"),
    ):
        two(torch.zeros(1, 3, model.config.hidden_size))


def test_without_such_a_layer_nothing_is_done():
    assert last_layer(nn.Linear(2, 2)) == LastLayer()
    with scored_tokens_only(LastLayer(), torch.tensor([0]), 3):
        pass
