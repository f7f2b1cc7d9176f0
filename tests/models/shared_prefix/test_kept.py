"""Prefixes kept between calls change no reward, save tokens, fit their budget and are forgotten with the weights."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from rewardsmith.errors import ConfigError
from rewardsmith.models.shared_prefix.kept import KeptPrefixes
from rewardsmith.models.shared_prefix.plan import compute_rewards, prepare_model

SMALL = {
    **{"vocab_size": 101, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "num_labels": 1},
    **{"pad_token_id": 0, "attention_dropout": 0.0},
}
DELTA = {
    **{"layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4, "linear_num_key_heads": 2},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8},
}
BLOCKS = {
    **{"layer_types": ["linear_attention", "full_attention"], "num_local_experts": 2, "num_experts_per_tok": 1},
    "block_size": 16,
}
FAMILIES = {"qwen2": {}, "mistral": {"sliding_window": 16}, "qwen3_5_text": DELTA}
OTHERS = {
    "gemma2": {"sliding_window": 16, "query_pre_attn_scalar": 8},
    "minimax": BLOCKS,
    "gpt_oss": {"num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 16},
}
PROMPT = [5 + (7 * i) % 90 for i in range(40)]
ROWS = [[*PROMPT, *range(50 + 3 * k, 54 + 4 * k), 2] for k in range(5)]


def build(family: str) -> nn.Module:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**{**SMALL, **(FAMILIES | OTHERS)[family]})
    model = AutoModelForSequenceClassification.from_config(config).eval()
    nn.init.normal_(model.score.weight, std=0.5)
    return model


def kept_and_plain(family: str, max_tokens: int = 1000):
    model = build(family)
    plan = prepare_model(model)
    return model, plan, KeptPrefixes(model, plan, max_tokens)


@pytest.mark.parametrize("family", [*FAMILIES, "minimax"])
def test_one_prompt_in_requests_of_their_own_has_the_same_rewards(family):
    model, plan, kept = kept_and_plain(family)
    for row in [*ROWS, ROWS[0]]:
        (plain,) = compute_rewards(model, [[row]], plan=plan)
        (found,) = compute_rewards(model, [[row]], plan=plan, kept=kept)
        assert found == pytest.approx(plain, abs=1e-5)
    # What cannot be cut is computed as a prefix of its own by the second request.
    assert kept.counts.hits >= (5 if family == "qwen2" else 4)
    assert kept.counts.saved_tokens >= 40 * (5 if family == "qwen2" else 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_groups_go_on_from_kept_prefixes(family):
    model, plan, kept = kept_and_plain(family)
    asked = [[ROWS[:3], [[7, 8, 9], [7, 8]]], [ROWS[3:], [[7, 8, 9]]], [[[*ROWS[0], 60, 61], [*ROWS[0], 70]]]]
    for groups in asked:
        plain = compute_rewards(model, groups, plan=plan)
        found = compute_rewards(model, groups, plan=plan, kept=kept)
        for left, right in zip(plain, found, strict=True):
            assert right == pytest.approx(left, abs=1e-5)
    assert kept.counts.hits == 4
    assert kept.counts.saved_tokens >= 80


@pytest.mark.parametrize("family", ["qwen2", "mistral", "gemma2", "gpt_oss", "qwen3_5_text"])
@pytest.mark.parametrize("max_tokens", [70, 2000])
def test_hits_misses_and_evictions_of_mixed_lengths_change_no_reward(family, max_tokens):
    model, plan, kept = kept_and_plain(family, max_tokens)
    random = torch.Generator().manual_seed(0)

    def ids(count):
        return torch.randint(3, 100, (count,), generator=random).tolist()

    system = ids(36)
    prompts = [[*(system if n % 2 else []), *ids(20 + 9 * n)] for n in range(6)]
    for _ in range(2 if family == "qwen3_5_text" else 4):
        groups = [
            [[*prompts[n], *ids(1 + (n * k) % 7)] for k in range(1 + n % 3)]
            for n in torch.randperm(6, generator=random).tolist()[:4]
        ]
        groups.append([ids(3), ids(50), [*prompts[1], *ids(9)]])
        plain = compute_rewards(model, groups, plan=plan)
        for budget in (60, 8192):
            found = compute_rewards(model, groups, budget, plan=plan, kept=kept)
            for left, right in zip(plain, found, strict=True):
                assert right == pytest.approx(left, abs=1e-5)
        assert kept.store.num_tokens <= max_tokens
    assert kept.counts.hits > 0


@pytest.mark.parametrize("family", ["qwen2", "mistral"])
def test_rows_of_several_kept_prefixes_and_of_none_run_in_one_forward(family):
    model, plan, kept = kept_and_plain(family)
    prompts = [[(n + i * 3) % 90 + 5 for i in range(40 + n)] for n in range(4)]
    compute_rewards(model, [[[*prompt, 7, 2]] for prompt in prompts], plan=plan, kept=kept)
    seen = []
    handle = model.model.embed_tokens.register_forward_hook(lambda _, args, __: seen.append(args[0].numel()))
    compute_rewards(model, [*([[*p, 9, 9, 2]] for p in prompts), [[*PROMPT, 3]]], plan=plan, kept=kept)
    handle.remove()
    assert seen == [4 * 3 + 41]


def test_forked_rows_of_several_kept_prefixes_run_together():
    model, plan, kept = kept_and_plain("qwen3_5_text")
    prompts = [[(n + i * 3) % 90 + 5 for i in range(41 + n)] for n in range(6)]
    seen = []
    model.model.embed_tokens.register_forward_hook(lambda _, args, __: seen.append(tuple(args[0].shape)))

    def ask(*answers):
        groups = [[[*prompt, *answer, 2] for answer in answers] for prompt in prompts]
        seen.clear()
        found = compute_rewards(model, groups, plan=plan, kept=kept)
        read = list(seen)
        for left, right in zip(compute_rewards(model, groups, plan=plan), found, strict=True):
            assert right == pytest.approx(left, abs=1e-5)
        return read

    # All prompts are kept at 40 tokens; what is beyond stands in the rests.
    assert ask([7], [8, 9]) == [(6, 40), (12, 9)]
    assert ask([9, 9]) == [(6, 9)]
    assert kept.counts.saved_tokens == 6 * 40


def test_prompts_behind_a_system_prompt_are_kept_from_the_second_answer_on():
    model, plan, kept = kept_and_plain("qwen2")
    system, prompt = PROMPT, [8 + (5 * i) % 80 for i in range(33)]
    seen = []
    handle = model.model.embed_tokens.register_forward_hook(lambda _, args, __: seen.append(args[0].numel()))
    for row in ([*system, 3, 4], *([*system, *prompt, 9 + k, 2] for k in range(3))):
        compute_rewards(model, [[row]], plan=plan, kept=kept)
    handle.remove()
    assert seen == [42, 35, 35, 2]


def test_the_model_reads_a_prompt_once(monkeypatch):
    model, plan, kept = kept_and_plain("qwen2")
    seen = []
    handle = model.model.embed_tokens.register_forward_hook(lambda _, args, __: seen.append(args[0].numel()))
    for row in ROWS:
        compute_rewards(model, [[row]], plan=plan, kept=kept)
    handle.remove()
    assert sum(seen) == len(PROMPT) + sum(len(row) - len(PROMPT) for row in ROWS)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_budget_changes_a_reward_or_is_exceeded_in_tokens_and_bytes(family):
    model, plan, kept = kept_and_plain(family, max_tokens=100)
    prompts = [[(n + i * 3) % 90 + 5 for i in range(40)] for n in range(6)]
    for prompt in [*prompts, *prompts]:
        groups = [[[*prompt, 7, 8, 2], [*prompt, 9]]]
        plain = compute_rewards(model, groups, plan=plan)
        assert compute_rewards(model, groups, plan=plan, kept=kept)[0] == pytest.approx(plain[0], abs=1e-5)
        assert kept.store.num_tokens <= 100
        held = [t.untyped_storage().nbytes() for p in kept.store._entries.values() if p for t in p.tensors()]
        assert sum(held) <= 2 * 100 * 2 * 2 * 2 * 8 * 4 + 2 * 2 * 10_000


CHANGES = {
    "in place": lambda weight: weight.mul_(1.5),
    "past autograd": lambda weight: weight.data.mul_(1.5),
    "moved": lambda weight: setattr(weight, "data", weight.data * 1.5),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_weights_forget_every_prefix(change):
    model, plan, kept = kept_and_plain("qwen2")
    compute_rewards(model, [ROWS[:2]], plan=plan, kept=kept)
    with torch.no_grad():
        CHANGES[change](model.model.layers[0].mlp.up_proj.weight)
    plain = compute_rewards(model, [ROWS[2:4]], plan=plan)
    assert compute_rewards(model, [ROWS[2:4]], plan=plan, kept=kept)[0] == pytest.approx(plain[0], abs=1e-5)
    assert kept.counts.hits == 0


def test_models_that_cannot_keep_prefixes_are_refused():
    model = build("qwen2")
    plan = prepare_model(model, share=False)
    with pytest.raises(ConfigError, match="cannot go on from them"):
        KeptPrefixes(model, plan, 100)
    plan = prepare_model(model)
    model.config.reward_pooling = "mean"
    with pytest.raises(ConfigError, match="pools over all tokens"):
        KeptPrefixes(model, plan, 100)
