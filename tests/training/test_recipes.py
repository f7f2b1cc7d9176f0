"""YAML under the flags, whose mistakes are named, and stages that go on from one another."""

import argparse
import json
import os
import time

import pytest
import torch
import yaml
from forking import Forked
from safetensors.torch import load_file

from rewardsmith.cli.main import main
from rewardsmith.errors import ConfigError, UsageError
from rewardsmith.training.recipes import find_recipe, read_recipe, read_stages, resolve


def parser():
    made = argparse.ArgumentParser()
    made.add_argument("--config")
    made.add_argument("recipe", nargs="?")
    made.add_argument("--max_steps", type=int, default=-1)
    made.add_argument("--loss_type", choices=["hinge", "k_wise"], default="hinge")
    return made


def resolved(tmp_path, text, *flags):
    (tmp_path / "r.yaml").write_text(text)
    given = [str(tmp_path / "r.yaml"), *flags]
    return resolve(parser(), parser().parse_args(given), given)


def test_the_command_line_wins_over_the_recipe_and_the_recipe_over_defaults(tmp_path):
    found = resolved(tmp_path, "max_steps: 3\nloss_type: k_wise\n", "--max_steps", "7")
    assert (found.max_steps, found.loss_type) == (7, "k_wise")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_step: 3", "unknown key 'max_step'; did you mean 'max_steps'"),
        ("max_steps: many", "'max_steps' cannot be 'many'; give a whole number"),
        ("max_steps: [3]", "'max_steps' takes one value, not a list"),
        ("loss_type: hing", "did you mean 'hinge'"),
        ("- 3", "a recipe is a mapping"),
        ("max_steps: 3\nmax_steps: 4", "stands twice"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        resolved(tmp_path, text)


def test_two_recipes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="give the recipe once"):
        resolved(tmp_path, "max_steps: 3", "--config", "other.yaml")


def test_a_recipe_may_set_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OF_A_RECIPE", "before")
    (tmp_path / "r.yaml").write_text("env: {OF_A_RECIPE: 1}\nmax_steps: 3\n")

    assert read_recipe(str(tmp_path / "r.yaml"))[1] == {"max_steps": 3}
    assert os.environ["OF_A_RECIPE"] == "1"


def test_a_recipe_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="no recipe 'nowhere'"):
        find_recipe("nowhere")


def test_a_model_in_the_place_of_a_recipe_is_named_with_its_flag(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=f"--model_name_or_path {tmp_path}"):
        find_recipe(str(tmp_path))


SHARED = {
    "output_dir": "out",
    "from_config": "tiny",
    "tokenizer_vocab_size": 300,
    "dataset_name": "pairs.jsonl",
    "verify_saved_model": False,
    "gradient_checkpointing": False,
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "max_length": 128,
    "overflow": "truncate_prompt",
    "save_steps": 1,
    "logging_steps": 1,
    "use_cpu": True,
}
STAGES = [
    {"name": "language", "loss_type": "language_model", "learning_rate": 1e-3},
    {"name": "preference", "lm_loss_coefficient": 1.0, "learning_rate": 1e-3},
    {"name": "fine-tuning", "learning_rate": 0.0},
]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"Question {n} of it?\n", "chosen": f"good answer {n}", "rejected": f"bad reply {n} no"}
        for n in range(24)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(**changes):
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**SHARED, "stages": STAGES, **changes}))
        return tmp_path

    return write


def test_every_stage_starts_from_the_model_of_the_last_with_its_head_and_is_run_once(recipe, capsys):
    folder = recipe(max_steps=1)
    # A run that fails before its first step binds nobody to its settings.
    assert main(["train", "mine.yaml", "--from_config", "no-such-shape"]) != 0
    assert main(["train", "mine.yaml"]) == 0
    weights = {name: load_file(folder / "out" / name / "model.safetensors") for name in ("preference", "fine-tuning")}
    # The last stage has a learning rate of 0: what it holds is what it began with.
    assert weights["preference"].keys() == weights["fine-tuning"].keys()
    for name, value in weights["preference"].items():
        assert torch.equal(value, weights["fine-tuning"][name]), name
    run = json.loads((folder / "out" / "preference" / "run.json").read_text())
    assert run["model"] == "out/language"
    assert run["settings"]["reward"]["lm_loss_coefficient"] == 1.0

    written = {name: (folder / "out" / name / "model.safetensors").stat().st_mtime_ns for name in weights}
    capsys.readouterr()
    assert main(["train", "mine.yaml"]) == 0
    assert capsys.readouterr().err.count("not run again") == 3
    assert {name: (folder / "out" / name / "model.safetensors").stat().st_mtime_ns for name in weights} == written
    recipe(max_steps=1, max_length=64)
    assert main(["train", "mine.yaml"]) != 0
    assert "stage 'language' in out/language was run with max_length=128, the recipe says 64" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_recipe_ends_in_the_weights_of_one_that_was_not(recipe):
    folder = recipe(max_steps=6)
    process = Forked(["-m", "rewardsmith", "train", "mine.yaml"])
    deadline = time.monotonic() + 120
    while not (folder / "out" / "preference" / "checkpoint-2").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    assert json.loads((folder / "out" / "preference" / "stage.json").read_text())["is_whole"] is False
    assert main(["train", "mine.yaml"]) == 0
    assert main(["train", "mine.yaml", "--output_dir", "whole"]) == 0
    for name in ("language", "preference", "fine-tuning"):
        expected = load_file(folder / "whole" / name / "model.safetensors")
        for key, value in load_file(folder / "out" / name / "model.safetensors").items():
            torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "takes a list of mappings"),
        ([{"max_steps": 1}], "stage 1 wants a 'name'"),
        ([{"name": "a"}, {"name": "a"}], "must be that of a folder that no other stage has"),
        ([{"name": "../a"}], "must be that of a folder"),
        ([{"name": "a"}, {"name": "b", "from_config": "tiny"}], "from_config is not for it"),
        ([{"name": "a", "output_dir": "x"}], "output_dir is not for it"),
        ([{"name": "a"}, {"name": "b", "loss_type": "language_model"}], "a language model comes first"),
    ],
)
def test_a_mistake_in_a_stage_is_named(stages, message):
    with pytest.raises(ConfigError, match=message):
        read_stages("r.yaml", {"output_dir": "out", "stages": stages})


def test_stages_want_an_output_folder():
    with pytest.raises(ConfigError, match="stages want output_dir"):
        read_stages("r.yaml", {"stages": STAGES})
