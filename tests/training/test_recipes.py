"""Recipes: YAML under the flags, whose mistakes are named."""

import argparse

import pytest

from rewardsmith.errors import ConfigError, UsageError
from rewardsmith.training.recipes import find_recipe, read_recipe, resolve


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
    import os

    assert read_recipe(str(tmp_path / "r.yaml"))[1] == {"max_steps": 3}
    assert os.environ["OF_A_RECIPE"] == "1"


def test_a_recipe_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="no recipe 'nowhere'"):
        find_recipe("nowhere")


def test_a_model_in_the_place_of_a_recipe_is_named_with_its_flag(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=f"--model_name_or_path {tmp_path}"):
        find_recipe(str(tmp_path))
