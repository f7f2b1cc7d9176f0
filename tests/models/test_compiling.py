"""Layers compiled one by one: the same rewards and gradients, one compilation for all lengths, and a way back."""

import copy
import logging

import pytest
import tiny_models
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor.exc import CppCompileError
from transformers import AutoModelForSequenceClassification

from rewardsmith.errors import ConfigError
from rewardsmith.models.compiling import Work, compile_layers, compiled_parts, is_compiled, repeated_layers, uncompiled
from rewardsmith.models.shared_prefix.packing import ForkedChunk
from rewardsmith.models.shared_prefix.plan import compute_rewards, prepare_model

GROUPS = [[[5, 6, 7, 8, 9], [5, 6, 7, 8, 11, 12], [5, 6, 7]], [[20, 21], [20, 22, 23, 24]]]
LONG = Work(1e15, trains=True)
BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]
# torch reads it while it compiles; it filters the warning where warnings are not errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


@pytest.fixture(autouse=True)
def _no_compilation_of_other_tests():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def ready(make=tiny_models.qwen2):
    """Return a model with a head that tells sequences apart, and its plan; a decoder has three layers."""
    model, _ = make()
    if make is tiny_models.qwen2:
        model = type(model)(
            model.config.__class__(**{**model.config.to_dict(), "num_hidden_layers": 3, "layer_types": None})
        )
    if hasattr(model, "score"):
        nn.init.normal_(model.score.weight, std=0.5)
    return model, prepare_model(model)


def rewards_and_gradients(model, plan, groups=GROUPS):
    model.zero_grad()
    rewards = model(reward_batch=plan.batch(groups)).logits[:, 0]
    rewards.pow(2).sum().backward()
    return rewards.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(actual, expected):
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-5, atol=1e-6)
    assert actual[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        assert (actual[1][name] - gradient).norm() <= 2e-5 * gradient.norm() + 1e-7, name


def grown(groups, length):
    """Return the groups with `length` more tokens in front and one more behind."""
    return [[[*range(5, 5 + length), *sequence, 6] for sequence in group] for group in groups]


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_layers_give_the_rewards_and_gradients_of_eager_ones_and_score_alike_afterwards(backend):
    model, plan = ready()
    expected, scores = rewards_and_gradients(model, plan), compute_rewards(model, GROUPS, plan=plan)
    names = set(model.state_dict())
    assert "layers are compiled" in compile_layers(model, "on", LONG, backend=backend)
    assert_same(rewards_and_gradients(model, plan), expected)
    assert counters["stats"]["unique_graphs"] > 0
    for row, right in zip(compute_rewards(model, GROUPS, plan=plan), scores, strict=True):
        assert row == pytest.approx(right, abs=1e-5)
    assert set(model.state_dict()) == names


def test_other_layers_lengths_and_layouts_compile_nothing_anew():
    model, plan = ready()
    compile_layers(model, "on", LONG, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for length in (0, 1, 2, 7, 40):
            rewards_and_gradients(model, plan, grown(GROUPS, length)[: 2 - length % 2])
    assert counters["stats"]["unique_graphs"] == 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_draws_the_same_with_a_compiler_and_leaves_the_generator_where_it_was(backend):
    config = tiny_models.bert()[0].config
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.1
    model = AutoModelForSequenceClassification.from_config(config).train()
    plan, runs = prepare_model(model), []
    for how in ("off", "on"):
        compile_layers(model, how, LONG, backend=backend)
        torch.manual_seed(1)
        runs.append((rewards_and_gradients(model, plan), torch.rand(1)))
    assert_same(runs[1][0], runs[0][0])
    assert runs[1][1] == runs[0][1]
    assert is_compiled(model)


def test_layers_that_are_computed_again_in_the_backward_pass_are_compiled_with_their_hooks():
    model, plan = ready()
    model.train().gradient_checkpointing_enable({"use_reentrant": False})
    seen = []
    model.model.layers[0].register_forward_hook(lambda *_: seen.append(1))
    expected = rewards_and_gradients(model, plan)
    compile_layers(model, "on", LONG, backend="aot_eager")
    assert_same(rewards_and_gradients(model, plan), expected)
    assert counters["stats"]["unique_graphs"] > 0
    assert seen == [1, 1]
    with torch._dynamo.config.patch(error_on_recompile=True):
        rewards_and_gradients(model, plan, grown(GROUPS, 9))
    assert "forward" not in vars(model.model.layers[0])


def test_a_hook_that_is_put_into_a_compiled_layer_later_runs():
    model, plan = ready()
    compile_layers(model, "on", LONG, backend="eager")
    compute_rewards(model, GROUPS, plan=plan)
    seen = []
    handle = model.model.layers[0].mlp.register_forward_hook(lambda *_: seen.append(1))
    compute_rewards(model, GROUPS, plan=plan)
    assert seen
    handle.remove()
    with torch._dynamo.config.patch(error_on_recompile=True):
        compute_rewards(model, GROUPS, plan=plan)


@pytest.mark.slow
def test_adapters_that_are_switched_disabled_and_merged_act_at_once():
    settings = {"target_modules": ["up_proj"], "task_type": "SEQ_CLS"}
    wrapped = get_peft_model(ready()[0], LoraConfig(r=2, **settings), adapter_name="one").eval()
    wrapped.add_adapter("other", LoraConfig(r=4, **settings))
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    plan = prepare_model(wrapped)
    plain = copy.deepcopy(wrapped)
    compile_layers(wrapped, "on", LONG, backend="eager")

    def rewards(model):
        return compute_rewards(model, GROUPS, plan=plan)[0]

    seen = []
    for change in (lambda m: m.set_adapter("other"), lambda m: m.merge_adapter(), lambda m: m.unmerge_adapter()):
        for model in (plain, wrapped):
            change(model)
        seen.append(rewards(wrapped))
        assert seen[-1] == pytest.approx(rewards(plain), abs=1e-5)
    with plain.disable_adapter(), wrapped.disable_adapter():
        seen.append(rewards(wrapped))
        assert seen[-1] == pytest.approx(rewards(plain), abs=1e-5)
    assert seen[-1] != pytest.approx(seen[0], abs=1e-3)


def test_a_forked_cache_compiles_the_mlps_and_keeps_rewards_and_gradients():
    model, plan = ready()
    whole = plan.batch(grown(GROUPS[:1], 9), tokens_per_chunk=4)
    assert isinstance(whole.chunks[0], ForkedChunk)
    expected = model(reward_batch=whole).logits
    assert "MLPs" in compile_layers(model, "on", LONG, forked=True, backend="aot_eager")
    torch.testing.assert_close(model(reward_batch=whole).logits, expected, rtol=1e-5, atol=1e-6)
    assert counters["stats"]["unique_graphs"] > 0


def test_a_group_above_the_budget_runs_uncompiled():
    model, plan = ready()
    compile_layers(model, "on", LONG, backend="aot_eager")
    model(reward_batch=plan.batch(grown(GROUPS[:1], 9), tokens_per_chunk=4)).logits.sum().backward()
    assert not counters["stats"]["unique_graphs"]


def test_a_failing_compiler_leaves_the_layers_as_they_were_and_is_said_once(caplog):
    model, plan = ready()
    expected = rewards_and_gradients(model, plan)

    def fail(graph, inputs):
        raise CppCompileError(["g++", "code.cpp"], "fatal error: no such file\ncompilation terminated")

    compile_layers(model, "on", LONG, backend=fail)
    with caplog.at_level(logging.WARNING):
        assert_same(rewards_and_gradients(model, plan), expected)
        rewards_and_gradients(model, plan)
    said = [record.message for record in caplog.records if "compiling failed" in record.message]
    assert len(said) == 1
    assert "fatal error: no such file" in said[0]
    assert "g++" not in said[0]


def test_a_backward_that_cannot_be_compiled_fails_before_anything_is_computed(caplog):
    from torch._dynamo.backends.common import aot_autograd

    model, plan = ready()
    expected = rewards_and_gradients(model, plan)

    def fail(graph, inputs):
        raise RuntimeError("no backward")

    compile_layers(model, "on", LONG, backend=aot_autograd(fw_compiler=lambda graph, inputs: graph, bw_compiler=fail))
    with caplog.at_level(logging.WARNING):
        assert_same(rewards_and_gradients(model, plan), expected)
    assert any("compiling failed" in record.message for record in caplog.records)


def test_a_mistake_in_the_model_is_raised_as_it_was():
    model, plan = ready()
    compile_layers(model, "on", LONG, backend="aot_eager")
    with pytest.raises(IndexError):
        model(reward_batch=plan.batch([[[10**6, 3], [10**6, 4]]]))


def test_auto_compiles_only_what_repays_it():
    model, _ = ready()
    assert "repays its cost from about" in compile_layers(model, "auto", Work(1000, trains=True))
    assert "not known" in compile_layers(model, "auto", Work(0, trains=False))
    assert all(layer._compiled_call_impl is None for layer in repeated_layers(model))
    assert "are compiled" in compile_layers(model, "auto", LONG)


def test_without_a_compiler_layers_stay_as_they_are(monkeypatch):
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def missing():
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    model, _ = ready()
    assert "no C++ compiler" in compile_layers(model, "on", LONG)
    assert all(layer._compiled_call_impl is None for layer in repeated_layers(model))


@pytest.mark.parametrize("way", ["TORCHDYNAMO_DISABLE", "config"])
def test_where_the_environment_switches_compiling_off_a_line_says_so(monkeypatch, way):
    if way != "config":
        monkeypatch.setenv(way, "1")
    model, _ = ready()
    with torch._dynamo.config.patch(disable=way == "config"):
        assert "the environment switches compiling off" in compile_layers(model, "on", LONG)
    assert not is_compiled(model)


def test_experts_and_models_without_layers_are_not_compiled():
    model, _ = ready()
    model.model.layers[0].experts = nn.Identity()
    assert "experts" in compile_layers(model, "on", LONG)
    assert "no list of like layers" in compile_layers(nn.Linear(2, 2), "on", LONG)


def test_of_a_model_that_forks_every_kind_of_mlp_is_compiled_unless_it_holds_a_state():
    class Layer(nn.Module):
        def __init__(self, name, block):
            super().__init__()
            setattr(self, name, block)

    class WithState(nn.Linear):
        def forward(self, hidden, state=None):
            return super().forward(hidden)

    def parts(name, block):
        return compiled_parts(nn.Sequential(nn.ModuleList([Layer(name, block)])), forked=True)

    block = nn.Linear(2, 2)
    assert [parts(name, block) for name in ("mlp", "feed_forward", "ffn")] == [[block]] * 3
    assert parts("feed_forward", WithState(2, 2)) == []
    # Nemotron-H's and Granite's have other names, and Jamba's stand between layers of experts.
    named = type("TinyMLP", (nn.Linear,), {})(2, 2)
    assert parts("mixer", named) == parts("shared_mlp", named) == [named]
    experts = nn.Linear(2, 2)
    experts.experts = nn.Identity()
    both = nn.Sequential(nn.ModuleList([Layer("feed_forward", experts), Layer("feed_forward", block)]))
    assert compiled_parts(both, forked=True) == [block]
    assert parts("mlp", experts) == [experts]
    without = nn.Sequential(nn.ModuleList([Layer("mixer", block)]))
    assert "no layers with an MLP" in compile_layers(without, "on", LONG, forked=True)


def test_another_word_than_the_three_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'auto'"):
        compile_layers(nn.Linear(2, 2), "automatic", LONG)


def test_a_copy_of_a_compiled_model_is_a_plain_one():
    model, _ = ready()
    compile_layers(model, "on", LONG, backend="aot_eager")
    assert all(layer._compiled_call_impl is None for layer in repeated_layers(copy.deepcopy(model)))


def test_uncompiled_puts_the_compiled_call_back_also_after_an_error():
    model, _ = ready()
    compile_layers(model, "on", LONG, backend="aot_eager")
    layers = repeated_layers(model)
    calls = [layer._compiled_call_impl for layer in layers]
    seen = []

    def fail():
        with uncompiled(layers):
            seen.extend(layer._compiled_call_impl for layer in layers)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [None] * len(layers)
    assert [layer._compiled_call_impl for layer in layers] == calls


def test_an_encoder_gives_the_same_logits():
    model, plan = ready(tiny_models.bert)
    expected = rewards_and_gradients(model.eval(), plan)
    compile_layers(model, "on", LONG, backend="aot_eager")
    assert_same(rewards_and_gradients(model, plan), expected)
    assert counters["stats"]["unique_graphs"] > 0
