"""Losses beside the reward over shared prefixes are those of separate rows: of the language model, and of experts."""

from dataclasses import replace

import pytest
import tiny_models
import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from rewardsmith.errors import ConfigError
from rewardsmith.models.shared_prefix import auxiliary
from rewardsmith.models.shared_prefix.packing import ForkedChunk, PackedChunk
from rewardsmith.models.shared_prefix.plan import ForwardPlan, prepare_model

GROUPS = [
    [[5, 6, 7, 8, 9], [5, 6, 7, 8, 11, 12], [5, 6, 7]],
    [[20, 21], [20, 22, 23, 24]],
    [[30, 31, 32], [30, 31, 32]],
]
WANTED = torch.tensor([True, True, False, False, True, True, True])
ROWS = [sequence for group in GROUPS for sequence in group]


@pytest.fixture
def model():
    made, _ = tiny_models.qwen2()
    made.config.tie_word_embeddings = True
    torch.nn.init.normal_(made.score.weight, std=0.5)
    return made.train()


def plain_losses(model):
    """Return the losses and the gradient of the embeddings, by transformers' own language model row by row."""
    plain = AutoModelForCausalLM.from_config(model.config, attn_implementation="eager")
    plain.model.load_state_dict(model.model.state_dict())
    plain.tie_weights()
    losses = []
    for row, is_wanted in zip(ROWS, WANTED.tolist(), strict=True):
        ids = torch.tensor([row])
        losses.append(plain(input_ids=ids, labels=ids).loss if is_wanted else torch.zeros(()))
    found = torch.stack(losses)
    (found * torch.arange(1.0, 8.0)).sum().backward()
    return found.detach(), plain.model.embed_tokens.weight.grad


@pytest.mark.parametrize("way", ["packed", "forked", "rows"])
@pytest.mark.parametrize("at_once", [1024, 3], ids=["whole", "in parts"])
def test_it_equals_that_of_separate_rows(model, way, at_once, monkeypatch):
    monkeypatch.setattr(auxiliary, "TOKENS_AT_ONCE", at_once)
    expected, gradient = plain_losses(model)
    assert prepare_model(model).way == "packed"
    batch = ForwardPlan(way, "a test").batch(GROUPS, 9 if way == "rows" else None)
    output = model(reward_batch=_asked(batch))
    # Two equal rows are one sequence, whose loss both have.
    torch.testing.assert_close(output.text_losses[WANTED], expected[WANTED], rtol=1e-5, atol=1e-5)
    (output.text_losses * torch.where(WANTED, torch.arange(1.0, 8.0), 0.0)).sum().backward()
    assert (model.model.embed_tokens.weight.grad - gradient).norm() < 1e-5 * gradient.norm()


@pytest.mark.parametrize("way", ["packed", "forked", "rows"])
def test_rewards_beside_it_are_those_without_it(model, way):
    prepare_model(model)
    batch = ForwardPlan(way, "a test").batch(GROUPS)
    torch.testing.assert_close(model(reward_batch=_asked(batch)).logits, model(reward_batch=batch).logits)


def test_a_batch_without_a_chosen_side_has_a_loss_of_zero_with_a_gradient(model):
    batch = prepare_model(model).batch(GROUPS)
    losses = model(reward_batch=_asked(batch, torch.zeros(7, dtype=torch.bool))).text_losses
    assert losses.requires_grad
    assert losses.tolist() == [0.0] * 7


def _asked(batch, wanted=WANTED):
    return replace(batch, reads_text_B=wanted)


SIZES = {
    "vocab_size": 101,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "num_labels": 1,
    "pad_token_id": 0,
    "num_experts_per_tok": 2,
    "output_router_logits": True,
    "router_aux_loss_coef": 0.7,
}
FAMILIES = {
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 16},
    "mixtral": {"num_local_experts": 4},
    "gpt_oss": {"num_local_experts": 4, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 6},
}
PROMPT = list(range(5, 17))
# The second answer of the first group is asked for twice, the second group is one text alone.
ROUTING_GROUPS = [
    [[*PROMPT, 20, 21, 22], [*PROMPT, 30], [*PROMPT, 30]],
    [[40, 41, 42, 43]],
    [[*PROMPT[3:], 50], [*PROMPT[3:], 51, 52]],
]


def build(family, **changes):
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**SIZES, **FAMILIES[family], **changes)
    model = AutoModelForSequenceClassification.from_config(config).train()
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    return model


def routers(model):
    return {name: p for name, p in model.named_parameters() if ".gate.weight" in name or "router.weight" in name}


def of_separate_rows(model, groups):
    """Return transformers' loss over the rows, padded, and its gradient at the routers."""
    rows = [row for group in groups for row in group]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    logits = model.model(input_ids=ids, attention_mask=mask, output_router_logits=True, use_cache=False).router_logits
    loss = 0.7 * load_balancing_loss_func(logits, 4, 2, mask)
    return loss.detach(), torch.autograd.grad(loss, list(routers(model).values()))


def compute(model, groups=ROUTING_GROUPS, share=None, tokens_per_chunk=None):
    """Return the loss of the shared forward, its gradient at the routers, and the kinds of chunks."""
    expected = of_separate_rows(model, groups)
    plan = prepare_model(model, share)
    batch = plan.batch(groups, tokens_per_chunk)
    loss = model(reward_batch=batch).loss
    return expected, (loss.detach(), torch.autograd.grad(loss, list(routers(model).values()))), batch


@pytest.mark.parametrize("share", [None, False], ids=["shared", "rows"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_and_its_gradient_are_those_of_separate_rows(family, share):
    expected, actual, batch = compute(build(family), share=share)
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(actual[1], expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert share is False or isinstance(batch.chunks[0], PackedChunk | ForkedChunk)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_over_a_forked_cache_and_recomputed_layers_count_alike(family):
    model = build(family)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    expected, actual, batch = compute(model, ROUTING_GROUPS[:1], tokens_per_chunk=4)
    assert isinstance(batch.chunks[0], ForkedChunk)
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(actual[1], expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_checkpoints_that_lose_its_gradient_are_refused_where_they_do():
    model = build("mixtral")
    model.gradient_checkpointing_enable({"use_reentrant": True})
    plan = prepare_model(model)
    # A forked cache has checkpoints of its own.
    assert model(reward_batch=plan.batch(ROUTING_GROUPS[:1], 4)).loss.requires_grad
    with pytest.raises(ConfigError, match="leave use_reentrant out"):
        model(reward_batch=plan.batch(ROUTING_GROUPS))


def test_the_loss_is_asked_for_by_the_config_and_in_training_alone():
    model = build("mixtral")
    plan = prepare_model(model)
    assert model.eval()(reward_batch=plan.batch(ROUTING_GROUPS)).loss is None
    model.config.output_router_logits = False
    assert model.train()(reward_batch=plan.batch(ROUTING_GROUPS)).loss is None


def test_a_model_without_known_routers_is_refused():
    from tiny_models import qwen2

    model, _ = qwen2()
    plan = prepare_model(model)
    model.config.output_router_logits = True
    with pytest.raises(ConfigError, match="leave output_router_logits out"):
        model.train()(reward_batch=plan.batch(ROUTING_GROUPS))
