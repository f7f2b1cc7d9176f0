"""Sides and shares on the command line."""

import json

import pytest

from rewardsmith.data import load_preferences
from rewardsmith.data.simulate import AnnotatorConfig, SimulationConfig, simulate
from rewardsmith.data.splitting import parse_shares
from rewardsmith.errors import ConfigError


def test_sides_keep_their_order_and_shares():
    assert list(parse_shares("train=0.8, dev=0.1,test=0.1").items()) == [("train", 0.8), ("dev", 0.1), ("test", 0.1)]


@pytest.mark.parametrize("text", ["train", "train=much", "held_back=0.5,test=0.5", "a b=1", "train=nan,test=1"])
def test_what_is_no_share_is_named(text):
    with pytest.raises(ConfigError, match="share"):
        parse_shares(text)


def test_the_command_writes_what_the_function_gives(command, tmp_path):
    code, out, _ = command(
        "data", "simulate", "sim/data.jsonl", "--prompts", 25, "--answers", "2-4", "--raters", 3, "--pool", 5,
        "--tie-threshold", 0.4, "--length-bias", 0.5, "--seed", 7,
    )  # fmt: skip
    assert code == 0
    annotators = AnnotatorConfig(raters=3, pool=5, tie_threshold=0.4, length_bias=0.5)
    expected = simulate(SimulationConfig(prompts=25, answers=(2, 4), seed=7, annotators=annotators))
    assert load_preferences(tmp_path / "sim" / "data.jsonl").groups == expected.groups
    # The settings lie beside the data and do not disturb who loads the folder.
    assert load_preferences(tmp_path / "sim").groups == expected.groups
    assert json.loads((tmp_path / "sim" / "data.jsonl.settings").read_text())["annotators"]["length_bias"] == 0.5
    sided = [(g, e) for g in expected for e in g.comparisons if not e.is_tie]
    gains = [g.ratings["gold"][e.better] - g.ratings["gold"][e.worse] for g, e in sided]
    agree = sum(gain > 0 for gain in gains) + sum(gain == 0 for gain in gains) / 2
    assert f"agrees with {agree / len(sided):.3f} of the {len(sided)}" in out


def test_the_line_that_the_command_prints_evaluates_the_gold_scorer(command):
    _, simulated, _ = command("data", "simulate", "data.jsonl", "--prompts", 40, "--raters", 3)
    assert "rewardsmith evaluate simulator:gold data.jsonl" in simulated
    code, out, _ = command("evaluate", "simulator:gold", "data.jsonl", "--resamples", 50, "--json", "-")
    assert code == 0
    result = json.loads(out)
    assert result["scorer"] == "simulator:gold"
    accuracy = result["metrics"]["accuracy"]["value"]
    assert accuracy > 0.8
    assert result["metrics"]["reward_tie_rate"]["value"] > 0
    assert f"the gold reward agrees with {accuracy:.3f} of" in simulated


def test_wrong_values_are_one_line(command):
    for flags, word in (
        (("--answers", "two"), "2-6"),
        (("--answers", "1"), "answers"),
        (("--lapse", "2"), "lapse"),
        (("--raters", "3", "--pool", "2"), "pool"),
    ):
        code, _, err = command("data", "simulate", "data.jsonl", *flags)
        assert code != 0
        assert word in err
        assert len(err.strip().splitlines()) == 1
    code, _, err = command("evaluate", "simulator:width=1", "data.jsonl")
    assert code == 1
    assert "simulator:gold" in err
