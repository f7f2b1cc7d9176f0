"""Plans are held to numbers worked out by hand."""

import json
import shlex

import pytest
import tiny_models

from rewardsmith import plan
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import PreferenceGroup
from rewardsmith.training.engines import GB, Resources
from rewardsmith.training.planning import SHAPES, measure_rate, size_model

ROWS = [{"prompt": "abcdefgh", "chosen": "ijklmnop", "rejected": "qrst"} for _ in range(1)]
ROWS += [{"prompt": "12345678", "chosen": "ijklmnop", "rejected": "qrst"} for _ in range(1)]


def test_distinct_tokens_and_rows_are_counted_apart():
    found = plan("0.5B", ROWS, Resources(tokens_per_batch=5))
    # 4 bytes a token: a prompt of 2, answers of 2 and 1, so 5 distinct and 4 + 3 in rows.
    assert found.data.costs == (5, 5)
    assert (found.data.distinct_tokens, found.data.row_tokens) == (10, 14)
    assert found.steps == 2
    assert plan("0.5B", ROWS, Resources(tokens_per_batch=5, gpus=2)).steps == 1
    assert plan("0.5B", ROWS, Resources(tokens_per_batch=5, epochs=3, accumulation=2)).steps == 3


def test_a_projection_scales_the_lengths_and_says_so():
    found = plan("0.5B", ROWS, Resources(tokens_per_batch=5, gpus=2, rate=10.0), comparisons=200)
    assert (found.data.distinct_tokens, found.steps) == (1000, 100)
    assert found.seconds == 50
    assert any("projection" in line for line in found.lines())
    assert any("given" in line and "10 tokens a second x 2 devices" in line for line in found.lines())


def test_parameters_are_those_of_the_model_and_its_adapter(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = size_model(str(tmp_path), rank=3)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.layer == sum(p.numel() for p in model.model.layers[0].parameters())
    linear = [p for name, p in model.model.layers.named_parameters() if name.endswith("weight") and p.ndim == 2]
    assert found.adapter == sum(3 * sum(p.shape) for p in linear) + model.config.hidden_size
    said = plan(str(tmp_path), tiny_models.pairs(6)).data
    assert said.how == "by its tokenizer"
    assert said.comparisons == 6


@pytest.mark.parametrize(("size", "billions"), [("0.5B", 0.494), ("1.5B", 1.54), ("8B", 7.5), ("70B", 69.5)])
def test_sizes_are_what_their_names_say(size, billions):
    assert size_model(size).parameters / GB == pytest.approx(billions, rel=0.01)
    assert size in SHAPES


def test_the_command_is_of_the_first_engine_that_fits():
    assert "--nproc" not in plan("0.5B", ROWS).command
    assert plan("8B", ROWS, Resources(gpus=8)).chosen.name == "FSDP2"
    assert "--fsdp 'full_shard auto_wrap'" in plan("8B", ROWS, Resources(gpus=8)).command
    assert plan("8B", ROWS).chosen.name == "LoRA"
    zero = plan("8B", ROWS, Resources(gpus=8, engine="ZeRO-2")).command
    given = shlex.split(zero)
    assert json.loads(given[given.index("--deepspeed") + 1])["zero_optimization"] == {"stage": 2}
    assert plan("70B", ROWS, Resources(gpus=8)).chosen.name == "LoRA-FSDP2"
    assert "torchrun --nnodes 8" in plan("70B", ROWS, Resources(gpus=64)).command
    nothing = plan("70B", ROWS, Resources(memory=24 * GB))
    assert nothing.command is None
    assert "nothing fits" in nothing.lines()[-1]


def test_a_frozen_backbone_goes_forward_once_and_keeps_its_features_on_the_host():
    found = plan("0.5B", ROWS, Resources(tokens_per_batch=5, epochs=3, rate=10.0, engine="frozen"))
    # 10 distinct tokens forward, 2 of the 6 products of a step, at 10 a second.
    assert found.seconds == pytest.approx(1 / 3)
    assert found.command.endswith("--freeze_backbone")
    assert "4 x 896 x 4 sequences" in found.chosen.arithmetic
    assert any(line.startswith("steps   none: 2 batches go forward once") for line in found.lines())


def test_weights_of_two_bytes_fit_where_those_of_four_do_not():
    assert plan("1.5B", ROWS, Resources(memory=24 * GB)).chosen.name == "LoRA"
    found = plan("1.5B", ROWS, Resources(memory=24 * GB, dtype="bfloat16"))
    assert found.chosen.name == "DDP"
    assert "--dtype bfloat16" in found.command
    lines = plan("8B", ROWS, Resources(engine="DDP")).lines()
    assert "DDP does not fit" in lines[-1]


def test_a_rate_is_measured_and_named(tmp_path):
    model, _ = tiny_models.qwen2()
    model.config.save_pretrained(tmp_path)
    rate, source = measure_rate(str(tmp_path), 64)
    assert rate > 0
    assert "3 steps of random weights" in source


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(ConfigError, match="8B"):
        plan("8b", ROWS)
    with pytest.raises(ConfigError, match="must be positive"):
        plan("8B", ROWS, Resources(gpus=0))
    with pytest.raises(ConfigError, match="bfloat16"):
        plan("8B", ROWS, Resources(dtype="bf16"))
    with pytest.raises(ConfigError, match="FSDP2"):
        plan("8B", ROWS, Resources(engine="FSDP"))
    with pytest.raises(ConfigError, match="several devices"):
        plan("8B", ROWS, Resources(engine="ZeRO-3"))
    with pytest.raises(DataError, match="no comparison"):
        plan("8B", [PreferenceGroup("x", ("a",), ())])
