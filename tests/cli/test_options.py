"""Shared flags mean one thing: what they ask of a model and of rows."""

import argparse
import math

import pytest

from rewardsmith.cli.options import add_input_options, add_model_options, input_options, model_options, source_options
from rewardsmith.errors import ConfigError


def parsed(add, *words):
    parser = argparse.ArgumentParser()
    add(parser)
    return parser.parse_args(words)


def test_flags_of_a_model_become_its_options():
    options = model_options(parsed(add_model_options, "--device", "cpu", "--batch-tokens", "64", "--no-verify"))
    assert (options.device, options.tokens_per_batch, options.verify) == ("cpu", 64, False)
    assert (options.combine, options.aggregate, options.truncate_prompt) == ("mean", "min", False)


def test_auto_knows_about_how_many_tokens_a_file_holds_and_that_a_server_has_no_end(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("x" * 400)

    def expected(**given):
        return model_options(argparse.Namespace(**vars(parsed(add_model_options, "--compile", "auto")), **given))

    assert expected(input=str(file)).expected_tokens == expected(data=tmp_path).expected_tokens == 100
    assert expected(data="a/hub-id").expected_tokens == 0
    assert expected(served_name=[]).expected_tokens == math.inf
    assert expected().compile == "auto"


def test_a_budget_of_no_tokens_is_refused():
    with pytest.raises(ConfigError, match="--batch-tokens is 0"):
        model_options(parsed(add_model_options, "--tokens-per-batch", "0"))


def test_bad_rows_stop_a_command_unless_it_skips_or_counts_them():
    assert input_options(parsed(add_input_options))["on_error"] == "raise"
    assert input_options(parsed(add_input_options, "--skip-bad"))["on_error"] == "count"
    assert source_options(parsed(add_input_options))["on_error"] == "count"


SCORING = {"--device", "--dtype", "--batch-tokens", "--truncate-prompt", "--compile", "--chat-template"}
# What a command has no use for, with the reason.
WITHOUT = {
    "serve": {"--limit"},  # requests have no end
    "collect order": {"--limit"},  # it orders what the project holds
    "collect duel": {"--limit"},  # it draws pairs until --labels
    "laplace": {"--dtype", "--compile", "--chat-template"},  # float64 sums of a model with a contract
}


@pytest.mark.parametrize(
    "command",
    [
        "evaluate",
        "compare",
        "audit",
        "score",
        "rank",
        "serve",
        "rl best-of-n",
        "collect order",
        "collect duel",
        "laplace",
    ],
)
def test_a_command_that_scores_takes_the_flags_of_all(command):
    from importlib import import_module

    from rewardsmith.cli.main import COMMANDS, CommandParser, part_of

    area, _, inner = command.partition(" ")
    module = COMMANDS[area][0]
    if inner:
        module = f"rewardsmith.cli.{import_module(module).COMMANDS[inner][0]}"
    parser = CommandParser(prog=command)
    part_of(import_module(module), "configure", command)(parser)
    missing = ({*SCORING, "--limit"} - WITHOUT.get(command, set())) - set(parser._option_string_actions)
    assert missing == set()


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "ppo", "raft"])
def test_a_run_takes_the_flags_of_its_reward_models(algorithm):
    pytest.importorskip("trl")
    from rewardsmith.cli.rl_optimise import make_parser

    flags = set(make_parser(f"rewardsmith rl {algorithm}", "")._option_string_actions)
    assert {*SCORING, "--special-tokens"} <= flags
