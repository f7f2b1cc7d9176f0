"""Plans are held to numbers worked out by hand."""

import json
import math
import shlex

import pytest
import tiny_models
from small_runs import config

from rewardsmith import RewardTrainer, plan
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import PreferenceGroup
from rewardsmith.training.data import DatasetMixtureConfig, ScriptArguments, load_training_data
from rewardsmith.training.engines import GB, Resources
from rewardsmith.training.planning import measure_rate, read_rate
from rewardsmith.training.sizing import size_model

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


def test_the_command_is_of_the_first_engine_that_fits():
    assert "--nproc" not in plan("0.5B", ROWS).command
    assert plan("8B", ROWS, Resources(gpus=8)).chosen.name == "FSDP2"
    assert "--fsdp 'full_shard auto_wrap'" in plan("8B", ROWS, Resources(gpus=8)).command
    assert plan("8B", ROWS).chosen.name == "LoRA"
    zero = plan("8B", ROWS, Resources(gpus=8, engine="ZeRO-2")).command
    given = shlex.split(zero)
    assert json.loads(given[given.index("--deepspeed") + 1])["zero_optimization"] == {"stage": 2}
    assert plan("70B", ROWS, Resources(gpus=8)).chosen.name == "LoRA-FSDP2"
    assert "torchrun --nnodes 8 --nproc_per_node 8" in plan("70B", ROWS, Resources(gpus=64)).command
    assert "torchrun --nnodes 2 --nproc_per_node 6" in plan("70B", ROWS, Resources(gpus=12, memory=900 * GB)).command
    assert "--lora_r 8 --lora_alpha 16" in plan("8B", ROWS, rank=8).command
    nothing = plan("70B", ROWS, Resources(memory=24 * GB))
    assert nothing.command is None
    assert "nothing fits" in nothing.lines()[-1]


def test_a_frozen_backbone_goes_forward_once_and_keeps_its_features_on_the_host():
    found = plan("0.5B", ROWS, Resources(tokens_per_batch=5, epochs=3, rate=10.0, engine="frozen"))
    # 10 distinct tokens forward, 2 of the 8 products of a step with checkpointing, at 10 a second.
    assert found.seconds == pytest.approx(1 / 4)
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


@pytest.mark.parametrize(
    "settings",
    [
        {"tokens_per_batch": 150, "num_train_epochs": 3, "gradient_accumulation_steps": 4},
        {"tokens_per_batch": 60, "max_length": 40},
        {"tokens_per_batch": 60, "max_length": 40, "overflow": "truncate_prompt"},
        {"tokens_per_batch": 100_000, "num_train_epochs": 1.5},
    ],
)
@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_steps_and_tokens_are_those_of_the_run_that_the_command_starts(tmp_path, family, settings):
    model, tokenizer = getattr(tiny_models, family)()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [
        {"prompt": f"what is {n}? " * (1 + n % 5), "chosen": f"it is {n}" * (1 + n % 3), "rejected": "?"}
        for n in range(60)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + rows[:5]))
    given = Resources(
        tokens_per_batch=settings["tokens_per_batch"],
        epochs=settings.get("num_train_epochs", 1),
        accumulation=settings.get("gradient_accumulation_steps", 1),
        max_length=settings.get("max_length", 1024),
        overflow=settings.get("overflow", "drop"),
    )
    planned = plan(str(tmp_path / "model"), str(tmp_path / "rows.jsonl"), given)
    groups = load_training_data(ScriptArguments(str(tmp_path / "rows.jsonl")), DatasetMixtureConfig(), True)
    trainer = RewardTrainer(
        str(tmp_path / "model"), config(tmp_path, merge_prompts=True, **settings), train_dataset=groups.train
    )
    assert sorted(planned.data.costs) == sorted(trainer.plan.cost(ids) for ids in trainer.train_dataset["ids"])
    assert planned.data.comparisons == sum(map(len, trainer.train_dataset["better"]))
    epoch = math.ceil(len(trainer.get_train_dataloader()) / given.accumulation)
    assert planned.steps == math.ceil(epoch * given.epochs)


RECORD = {"model": "0.5B", "speed": {"distinct_tokens_per_second": 600.0, "processes": 3}}
RECORD["settings"] = {"reward": {"freeze_backbone": False}, "model": {"use_peft": False}}


def test_the_rate_of_an_earlier_run_is_that_of_one_device_and_scaled_by_parameters(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    rate, source = read_rate(tmp_path, "0.5B")
    assert rate == 200
    assert "all weights on 3 devices, its evaluations" in source
    larger, source = read_rate(tmp_path, "1.5B")
    assert larger == pytest.approx(200 * size_model("0.5B").parameters / size_model("1.5B").parameters)
    assert "times 494," in source


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"speed": {"distinct_tokens_per_second": float("nan")}}, "nan tokens a second"),
        ({"settings": {"reward": {"freeze_backbone": True}, "model": {}}}, "forward only"),
        ({"speed": None}, "holds no rate"),
        (None, "holds no rate"),
    ],
)
def test_a_record_without_a_rate_of_training_is_refused(tmp_path, change, said):
    if change is not None:
        (tmp_path / "run.json").write_text(json.dumps(RECORD | change))
    with pytest.raises(ConfigError, match=said):
        read_rate(tmp_path, "0.5B")


def test_what_cannot_be_planned_is_refused():
    with pytest.raises(ConfigError, match="8B"):
        plan("8b", ROWS)
    for wrong in ({"gpus": 0}, {"memory": float("nan")}, {"epochs": float("inf")}, {"rate": 0.0}, {"max_length": 0}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be positive"):
            plan("8B", ROWS, Resources(**wrong))
    with pytest.raises(ConfigError, match="shared out evenly"):
        plan("8B", ROWS, Resources(gpus=13))
    with pytest.raises(ConfigError, match="comparisons must be positive"):
        plan("8B", ROWS, comparisons=0)
    with pytest.raises(ConfigError, match="rank"):
        plan("8B", ROWS, rank=0)
    with pytest.raises(ConfigError, match="test_split_size"):
        plan("8B", ROWS, Resources(held_out=1.5))
    with pytest.raises(ConfigError, match="truncate_prompt"):
        plan("8B", ROWS, Resources(overflow="truncate"))
    with pytest.raises(ConfigError, match="bfloat16"):
        plan("8B", ROWS, Resources(dtype="bf16"))
    with pytest.raises(ConfigError, match="FSDP2"):
        plan("8B", ROWS, Resources(engine="FSDP"))
    with pytest.raises(ConfigError, match="several devices"):
        plan("8B", ROWS, Resources(engine="ZeRO-3"))
    with pytest.raises(DataError, match="no comparison"):
        plan("8B", [PreferenceGroup("x", ("a",), ())])
