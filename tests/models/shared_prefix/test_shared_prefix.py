"""Packed computation equals separate rows: rewards, loss and gradients, for every decoder family."""

import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rewardsmith.errors import ConfigError
from rewardsmith.models.shared_prefix.packing import PackedChunk, pack, pad_rows
from rewardsmith.models.shared_prefix.plan import compute_rewards, prepare_model

SMALL = {
    "vocab_size": 101,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "head_dim": 8,
}
FAMILIES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {"sliding_window": None},
    "mistral-window": {"model_type": "mistral", "sliding_window": 7},
    "gpt_neox": {"drop": ["num_key_value_heads", "head_dim"]},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "drop": [*list(SMALL)[1:]]},
    "phi": {},
    "phi3": {},
    "gemma": {},
    "gemma2": {"attn_logit_softcapping": 0.02, "sliding_window": 6, "query_pre_attn_scalar": 8},
    "gemma3_text": {"sliding_window": 6, "query_pre_attn_scalar": 8},
    "olmo2": {},
    "gpt_oss": {
        "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": 6,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
}
ID = list(range(5, 100))


def build(family: str, **changes) -> torch.nn.Module:
    settings = dict(FAMILIES[family])
    dropped = settings.pop("drop", [])
    model_type = settings.pop("model_type", family)
    values = {k: v for k, v in SMALL.items() if k not in dropped} | settings | changes
    values |= {"vocab_size": 101, "num_labels": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    for name in ("attention_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "hidden_dropout"):
        values[name] = 0.0
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(CONFIG_MAPPING[model_type](**values))
    for parameter in model.parameters():
        if not parameter.isfinite().all() or parameter.abs().max() > 1e3:  # what a family leaves uninitialised
            torch.nn.init.normal_(parameter, std=0.02)
    # Random heads of std 0.02 give rewards near zero; a larger one makes relative errors meaningful.
    torch.nn.init.normal_(model.score.weight, std=0.5)
    return model


def groups() -> list[list[list[int]]]:
    prompt, long = ID[:9], (ID * 2)[:60]
    return [
        [[*prompt, 11, 12, 2], [*prompt, 21, 22, 23, 2]],
        [[*prompt, 30 + k, 31 + k, *ID[: k + 1], 2] for k in range(12)],
        [[*prompt, 11], [*prompt, 11, 12], [*prompt, 11, 12, 13, 2]],
        [[*prompt, 40, 2], [*prompt, 40, 2], [*prompt, 41, 2]],
        [[50, 51, 2], [60, 61, 62, 2]],
        [[*prompt, 70], [*prompt, 71]],
        [[80], [81]],
        [[*long, 2], [*long, 90, 2]],
        [[*prompt, 95, 2]],
    ]


def loss_of(rewards: torch.Tensor) -> torch.Tensor:
    """A loss in which every reward matters: all pairs of neighbours, and a centring term."""
    return -F.logsigmoid(rewards[:-1] - rewards[1:]).mean() + 0.01 * (rewards**2).mean()


def loss_and_gradients(model, batch):
    model.zero_grad()
    rewards = model(reward_batch=batch).logits[:, 0]
    loss = loss_of(rewards)
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return rewards.detach(), loss.detach(), gradients


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_loss_and_gradients_equal_separate_rows(family):
    model = build(family).train()
    reference = copy.deepcopy(model)
    plan = prepare_model(model)
    assert plan.share, plan.reason
    assert not prepare_model(reference, share=False).share
    packed, rows = plan.batch(groups()), pad_rows(groups(), pad_token_id=0)
    assert isinstance(packed.chunks[0], PackedChunk), plan.reason
    rewards, loss, gradients = loss_and_gradients(model, packed)
    expected_rewards, expected_loss, expected_gradients = loss_and_gradients(reference, rows)
    assert relative(rewards, expected_rewards) < 1e-5
    assert relative(loss, expected_loss) < 1e-5
    assert set(gradients) == set(expected_gradients)
    total = torch.cat([g.flatten() for g in expected_gradients.values()]).norm()
    error = torch.cat([(gradients[n] - g).flatten() for n, g in expected_gradients.items()]).norm()
    assert float(error / total) < 1e-5


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_rows_of_the_reward_forward_equal_the_plain_model(family):
    model = build(family).eval()
    sequences = [sequence for group in groups() for sequence in group]
    expected = []
    with torch.no_grad():
        for sequence in sequences:
            expected.append(model(input_ids=torch.tensor([sequence])).logits[0, 0].item())
    actual = [value for row in compute_rewards(model, groups()) for value in row]
    assert actual == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_activation_checkpointing_changes_nothing():
    model = build("qwen2").train()
    prepare_model(model)
    _, loss, gradients = loss_and_gradients(model, pack(groups()))
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
    _, checkpointed_loss, checkpointed = loss_and_gradients(model, pack(groups()))
    assert torch.equal(loss, checkpointed_loss)
    assert all(torch.allclose(gradients[n], checkpointed[n], atol=1e-7) for n in gradients)


def test_bf16_autocast_keeps_the_head_in_fp32_and_stays_near_fp32():
    model = build("qwen3").train()
    prepare_model(model)
    with torch.no_grad():
        exact = model(reward_batch=pack(groups())).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(reward_batch=pack(groups())).logits
    assert rough.dtype == torch.float32
    assert 0 < relative(rough, exact) < 0.05


def test_lora_is_shared_exactly():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    config = LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(build("llama"), config).train()
    reference = copy.deepcopy(model)
    assert prepare_model(model).share
    prepare_model(reference, share=False)
    rewards, _, gradients = loss_and_gradients(model, pack(groups()))
    expected, _, expected_gradients = loss_and_gradients(reference, pad_rows(groups(), pad_token_id=0))
    assert relative(rewards, expected) < 1e-5
    assert any("lora" in name for name in gradients)
    assert all(relative(gradients[n], g) < 1e-4 for n, g in expected_gradients.items())


def test_ordinary_calls_of_a_prepared_model_are_unchanged():
    model = build("gemma2").eval()
    inputs = {"input_ids": torch.tensor([ID[:12], [*ID[:9], 0, 0, 0]])}
    inputs["attention_mask"] = (inputs["input_ids"] != 0).long()
    with torch.no_grad():
        before = model(**inputs).logits
        prepare_model(model)
        after = model(**inputs).logits
    assert torch.allclose(before, after, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "mean_max"])
def test_other_poolings_are_exact_too(pooling):
    model = build("llama")
    model.config.reward_pooling = pooling
    model.score = torch.nn.Linear(32 * (2 if pooling == "mean_max" else 1), 1, bias=False)
    reference = copy.deepcopy(model)
    prepare_model(model)
    prepare_model(reference, share=False)
    rewards, _, _ = loss_and_gradients(model, pack(groups()))
    expected, _, _ = loss_and_gradients(reference, pad_rows(groups(), pad_token_id=0))
    assert relative(rewards, expected) < 1e-5


@pytest.mark.parametrize("budget", [1, 16, 64, 10_000])
@pytest.mark.parametrize("share", [True, False])
def test_no_token_budget_changes_or_drops_a_reward(budget, share):
    model = build("qwen2")
    plan = prepare_model(model, share=share)
    expected = compute_rewards(model, groups(), 10_000, plan=plan)
    actual = compute_rewards(model, groups(), budget, plan=plan)
    assert [len(row) for row in actual] == [len(group) for group in groups()]
    assert [v for row in actual for v in row] == pytest.approx([v for row in expected for v in row], rel=1e-4, abs=1e-6)


def test_encoders_fall_back_to_rows_and_refuse_to_be_forced():
    config = CONFIG_MAPPING["bert"](
        vocab_size=101, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, num_labels=1
    )
    model = AutoModelForSequenceClassification.from_config(config).eval()
    plan = prepare_model(model)
    assert not plan.share
    assert "both directions" in plan.reason
    expected = [model(input_ids=torch.tensor([s])).logits[0, 0].item() for g in groups() for s in g]
    actual = [value for row in compute_rewards(model, groups()) for value in row]
    assert actual == pytest.approx(expected, rel=1e-4, abs=1e-6)
    with pytest.raises(ConfigError, match="both directions"):
        prepare_model(model, share=True)


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}, "ALiBi"),
        ("llama", {**SMALL, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "rotary"),
    ],
)
def test_models_that_packed_attention_cannot_reproduce_go_over_the_forked_cache(family, changes, reason):
    values = {"num_labels": 1, "pad_token_id": 0} | changes | {"vocab_size": 101}
    model = AutoModelForSequenceClassification.from_config(CONFIG_MAPPING[family](**values))
    plan = prepare_model(model)
    assert plan.way == "forked"
    assert reason in plan.reason
