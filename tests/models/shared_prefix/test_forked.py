"""Completions that go on from a forked cache have the rewards and gradients of separate rows."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rewardsmith.models.shared_prefix.forked import ForkedLayout, fork_groups
from rewardsmith.models.shared_prefix.forward import batch_rewards
from rewardsmith.models.shared_prefix.packing import ForkedChunk, RowChunk, pad_rows
from rewardsmith.models.shared_prefix.plan import compute_rewards, prepare_model

SMALL = {
    "vocab_size": 101,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "num_labels": 1,
    "pad_token_id": 0,
    "attention_dropout": 0.0,
    "hidden_dropout": 0.0,
}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
FAMILIES = {
    "nemotron": {},
    "stablelm": {},
    "qwen3_5_text": LINEAR,
    "qwen3_next": LINEAR,
}
ID = list(range(5, 100))


def build(family: str, **changes) -> nn.Module:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**{**SMALL, **FAMILIES.get(family, {}), **changes})
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    for parameter in model.parameters():
        if not parameter.isfinite().all() or parameter.abs().max() > 1e3:  # what a family leaves uninitialised
            nn.init.normal_(parameter, std=0.02)
    nn.init.normal_(model.score.weight, std=0.5)
    return model


def groups() -> list[list[list[int]]]:
    """Equal and unequal prefixes, one that ends inside another sequence, one answer alone, equal answers."""
    prompt, other = ID[:19], ID[30:47]
    return [
        [[*prompt, 11, 12, 2], [*prompt, 21, 22, 23, 2], [*prompt, 60]],
        [[*other, 30 + k, 31 + k, *ID[: 3 * k + 1], 2] for k in range(6)],
        [[*prompt, 70], [*prompt, 70, 12], [*prompt, 70, 12, 13, 2]],
        [[*prompt, 95, 2]],
        [[50, 51, 2], [60, 61, 62, 2]],
        [[*other, 40, 2], [*other, 40, 2], [*other, 41, 2]],
    ]


def gradients(model: nn.Module, rewards_B: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    (rewards_B * torch.linspace(1, -2, len(rewards_B))).sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def largest_difference(left: list[torch.Tensor], right: list[torch.Tensor]) -> float:
    scale = max(float(g.abs().max()) for g in right)
    return max(float((a - b).abs().max()) for a, b in zip(left, right, strict=True)) / scale


@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_and_gradients_equal_those_of_separate_rows(family):
    model = build(family).train()
    plan = prepare_model(model)
    assert plan.way == "forked", plan.reason
    separate = torch.cat([batch_rewards(model, pad_rows([[s]], pad_token_id=0)) for g in groups() for s in g])
    wanted = gradients(model, separate)
    shared = batch_rewards(model, plan.batch(groups()))
    assert torch.allclose(shared, separate, rtol=1e-4, atol=1e-5)
    assert largest_difference(gradients(model, shared), wanted) < 1e-4


@pytest.mark.parametrize("pooling", ["mean", "mean_max"])
def test_pooling_reads_the_prefix_too(pooling):
    model = build("qwen3_5_text").eval()
    model.config.reward_pooling = pooling
    model.score = nn.Linear(64 if pooling == "mean_max" else 32, 1)
    plan = prepare_model(model)
    rows = prepare_model(model, share=False)
    with torch.no_grad():
        assert torch.allclose(
            batch_rewards(model, plan.batch(groups())), batch_rewards(model, rows.batch(groups())), atol=1e-5
        )


def test_groups_of_like_prefixes_run_together_and_single_answers_are_rows():
    batch = fork_groups(groups(), ForkedLayout(0))
    kinds = [type(chunk) for chunk in batch.chunks]
    assert kinds == [ForkedChunk, RowChunk]
    assert len(batch.chunks[0].prefix_ids) == 4
    assert batch.logical_tokens == sum(len(s) for g in groups() for s in g)


@pytest.mark.parametrize("family", ["qwen2", "qwen3_5_text"])
def test_a_group_above_the_budget_is_exact_in_parts(family):
    model = build(family, attention_dropout=0.0).train()
    plan = prepare_model(model)
    prompt = (ID * 2)[:40]
    group = [[[*prompt, *ID[k : k + 20], 2] for k in range(16)]]
    whole = batch_rewards(model, plan.batch(group))
    wanted = gradients(model, whole)
    batch = plan.batch(group, tokens_per_chunk=120)
    (chunk,) = batch.chunks
    assert chunk.recompute
    assert max(part.input_ids.numel() for part in chunk.parts) <= 120
    rewards = batch_rewards(model, batch)
    assert torch.allclose(rewards, whole, rtol=1e-4, atol=1e-5)
    assert largest_difference(gradients(model, rewards), wanted) < 1e-4


@pytest.mark.parametrize("family", ["qwen2", "qwen3_5_text"])
def test_rows_above_the_budget_are_exact_in_chunks_too(family):
    model = build(family, attention_dropout=0.0).train()
    rows = prepare_model(model, share=False)
    group = [[[*ID[:9], *ID[k : k + 20], 2] for k in range(8)]]
    whole = batch_rewards(model, rows.batch(group))
    wanted = gradients(model, whole)
    batch = rows.batch(group, tokens_per_chunk=60)
    assert [chunk.recompute for chunk in batch.chunks] == [True] * 4
    rewards = batch_rewards(model, batch)
    assert torch.allclose(rewards, whole, rtol=1e-4, atol=1e-5)
    assert largest_difference(gradients(model, rewards), wanted) < 1e-4
    assert not any(chunk.recompute for chunk in rows.batch(group, tokens_per_chunk=1000).chunks)


def test_a_long_prompt_is_not_copied_for_more_answers_than_memory_holds():
    group = [[*range(3000), k, 7] for k in range(64)]
    (chunk,) = fork_groups([group], ForkedLayout(0, tokens_per_part=4096)).chunks
    assert max(part.input_ids.numel() + len(part.group_U) * 3000 // 6 for part in chunk.parts) <= 4096


def test_activation_checkpointing_changes_nothing():
    model = build("qwen3_5_text").train()
    plan = prepare_model(model)
    plain = batch_rewards(model, plan.batch(groups()))
    wanted = gradients(model, plain)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    again = batch_rewards(model, plan.batch(groups()))
    assert torch.allclose(again, plain, atol=1e-6)
    assert largest_difference(gradients(model, again), wanted) < 1e-5
    layers = [m for m in model.modules() if hasattr(m, "gradient_checkpointing")]
    assert any(layer.gradient_checkpointing for layer in layers)


def test_positions_that_depend_on_the_length_are_those_of_separate_rows():
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    model = build("llama", max_position_embeddings=24, rope_parameters=rope).eval()
    plan = prepare_model(model)
    assert (plan.way, plan.longest) == ("forked", 24)
    with torch.no_grad():
        separate = [float(model(input_ids=torch.tensor([s])).logits) for g in groups() for s in g]
    shared = [value for row in compute_rewards(model, groups(), plan=plan) for value in row]
    assert shared == pytest.approx(separate, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("share", [None, False])
def test_a_longer_text_before_leaves_no_trace_on_positions_that_grow(share):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    model = build("llama", max_position_embeddings=24, rope_parameters=rope).train()
    plan = prepare_model(model, share)
    texts = [[*ID[:60]], [*ID[3:33]], [*ID[7:47]], [*ID[:24]]]
    alone = []
    for text in texts:
        untouched = build("llama", max_position_embeddings=24, rope_parameters=rope)
        alone.append(untouched(input_ids=torch.tensor([text])).logits.item())
    assert batch_rewards(model, plan.batch([texts])).tolist() == pytest.approx(alone, abs=1e-5)
    whole = batch_rewards(model, plan.batch([texts]))
    wanted = gradients(model, whole)
    parts = batch_rewards(model, plan.batch([texts], tokens_per_chunk=50))
    assert largest_difference(gradients(model, parts), wanted) < 1e-5


def test_no_group_and_an_empty_batch():
    assert fork_groups([], ForkedLayout(0)).chunks == ()
