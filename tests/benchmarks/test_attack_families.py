"""Hostile configs, shapes and settings of decoder families have the rewards and gradients of separate rows."""

import json

import forking
import pytest
import torch

from rewardsmith.models.shared_prefix.exactness import disable_dropout
from rewardsmith.models.shared_prefix.plan import prepare_model

# One of each kind: a window, chunks of states, sinks, attention of its own, a hybrid, positions that grow.
HARD = ("qwen2/window", "mamba2/chunks", "gpt_oss/harsh", "gptj", "jamba/harsh", "llama/dynamic", "gemma2/harsh")


@pytest.fixture
def attack(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import attack_families

    return attack_families


@pytest.mark.parametrize("case", ["qwen2/window", "falcon_h1/chunks"])
@pytest.mark.filterwarnings("ignore")
def test_shapes_that_bite_have_the_rewards_and_gradients_of_single_rows(case, attack, tmp_path):
    subject = attack.make_subject(case, str(tmp_path))
    with attack.in_double():
        plan = prepare_model(subject.model.train())
    groups = [groups[-1] for name, groups in attack.SHAPES.items() if "beyond" in name or "empty" in name]
    reward, gradient = attack.compare(subject, plan, groups)
    assert reward < attack.FAR
    assert gradient < attack.FAR


@pytest.mark.filterwarnings("ignore")
def test_a_difference_and_a_failure_are_told(attack):
    found = {"worst": [0.0, 0.0], "rounding": {}, "wrong": {}}
    attack.note(found, "near", lambda: (1e-13, 1e-12))
    attack.note(found, "far", lambda: (1e-2, 0.0))
    attack.note(found, "no number", lambda: (float("nan"), 0.0))
    attack.note(found, "fails", lambda: torch.zeros(2).view(3))
    attack.note(found, "rounded", lambda: attack.Rounding((1e-5, 1e-5), (2e-5, 2e-5), 1e-6))
    attack.note(found, "further than rounded", lambda: attack.Rounding((1e-5, 1e-5), (2e-5, 4e-5), 1e-6))
    assert list(found["wrong"]) == ["far", "no number", "fails", "further than rounded"]
    assert list(found["rounding"]) == ["rounded", "further than rounded"]


def test_every_family_meets_what_its_default_leaves_idle(attack):
    from hostile_cases import settings_of

    assert settings_of("gemma2/harsh")["sliding_window"] == 5
    assert settings_of("qwen2/harsh")["use_sliding_window"] is True
    assert "num_key_value_heads" not in settings_of("deepseek_v3/harsh")
    assert settings_of("glm4/rope_longrope")["rope_parameters"]["long_factor"] == [2.0, 3.0]
    assert set(settings_of("gemma3_text/rope_yarn")["rope_parameters"]) == {"full_attention", "sliding_attention"}


@pytest.mark.filterwarnings("ignore")
def test_float64_is_float64_also_where_a_family_casts_to_float32(attack, tmp_path):
    subject = attack.make_subject("llama", str(tmp_path))
    with torch.no_grad(), attack.in_double():
        close = subject.rows.model.norm(torch.linspace(1, 1 + 1e-9, 32)[None, None])
        rewards = subject.rows(input_ids=torch.arange(3, 20)[None]).logits
    assert len(set(close.flatten().tolist())) == 32
    assert rewards.dtype == torch.float64


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_dropout_of_every_family_can_be_switched_off(attack):
    from hostile_cases import NOT_MADE, rates_of
    from tiny_families import decoder_families, tiny_language_model

    differ, ids = [], torch.arange(3, 40)[None]
    for name in sorted(set(decoder_families()) - NOT_MADE):
        rates = dict.fromkeys(rates_of(name), 0.5)
        model = tiny_language_model(name, **rates).train() if rates else None
        if model is None:
            continue
        disable_dropout(model)
        with torch.no_grad():
            first, second = (model(input_ids=ids, use_cache=False).logits for _ in range(2))
        if not torch.equal(first, second):
            differ.append(name)
    assert differ == []


@pytest.mark.slow
@pytest.mark.parametrize("case", HARD)
def test_a_hard_case_meets_every_shape_in_training_and_in_parts(case, repository, tmp_path):
    out = tmp_path / "found.json"
    command = [repository / "benchmarks" / "attack_families.py", case, "--json", out]
    result = forking.run([*command, "--settings", "training", "parts"])
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    (row,) = json.loads(out.read_text())
    assert row["way"] in ("packed", "forked")
    assert row["wrong"] == {}
