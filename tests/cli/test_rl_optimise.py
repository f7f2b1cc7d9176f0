"""`rewardsmith rl grpo|rloo|ppo|raft`: flags and recipes in TRL's names, a table, a report, going on."""

import json

import pytest
import tiny_models
from live_server import load

from rewardsmith.cli.main import main
from rewardsmith.cli.rl_optimise import make_parser
from rewardsmith.rl.running import config_class

SMALL = {
    "grpo": "--max_completion_length 5 --num_generations 2 --max_steps 2",
    "rloo": "--max_completion_length 5 --num_generations 2 --max_steps 2",
    "ppo": "--response_length 5 --total_episodes 8",
    "raft": "--max_completion_length 5 --num_generations 2 --num_rounds 2 --prompts_per_round 4",
}
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for part in tiny_models.qwen2_causal():
        part.save_pretrained(folder / "policy")
    load("qwen2", folder / "reward")
    return folder


def arguments(algorithm, models, out, *more):
    named = ["--model_name_or_path", models / "policy", "--reward_model_name_or_path", models / "reward"]
    data = ["--dataset_name", "simulator:12", "--output_dir", out, "--num_eval_prompts", 3, "--num_measurements", 1]
    small = [*SMALL[algorithm].split(), "--per_device_train_batch_size", 4, "--learning_rate", "1e-3"]
    return ["rl", algorithm, *map(str, [*named, *data, *small, *more])]


@pytest.mark.parametrize("algorithm", SMALL)
def test_a_recipe_runs_and_says_what_it_bought(algorithm, models, tmp_path, capsys):
    command = arguments(algorithm, models, tmp_path / "out", "--gold", "simulator:gold")
    assert main([*command[:2], algorithm, *command[2:]]) == 0
    printed = capsys.readouterr().out
    assert f"{algorithm.upper()}: reward" in printed
    assert "3 held-out prompts; differences paired by prompt" in printed
    assert "gold reward" in printed
    assert "before:" in printed
    assert "after:" in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Gains against KL from the start" in page
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["gold"] == "simulator:gold"
    assert record["num_held_out"] == 3


def test_a_run_is_not_written_over_and_goes_on_with_resume(models, tmp_path, capsys):
    command = arguments("ppo", models, tmp_path / "out", "--save_steps", "1")
    assert main(command) == 0
    assert main(command) == 1
    assert "holds a run" in capsys.readouterr().err
    assert main([*command, "--resume", "--total_episodes", "12"]) == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "out" / "curve.jsonl").read_text().splitlines()]
    assert steps == [0, 2, 3]
    assert main([*command, "--overwrite_output_dir"]) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--learning_rat", "1"], "unknown flag --learning_rat; did you mean --learning_rate?"),
        (["--num_generations", "3"], "settings refused"),
        (["--reward_weights", "1", "2"], "weights must be 1 finite numbers"),
        (["--clip", "-1"], "clip must be above 0"),
        (["--model_name_or_path", "no-such-policy"], "no policy at 'no-such-policy'"),
    ],
)
def test_what_cannot_be_used_is_one_line(more, said, models, tmp_path, capsys):
    assert main(arguments("grpo", models, tmp_path / "out", *more)) in (1, 2)
    error = capsys.readouterr().err
    assert said in error
    assert error.strip().count("\n") == 0


@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_an_adapter_is_trained_where_asked(algorithm, models, tmp_path, capsys):
    adapter = ["--use_peft", "--lora_r", "2", "--lora_target_modules", "q_proj", "v_proj"]
    assert main(arguments(algorithm, models, tmp_path / "out", *adapter)) == 0, capsys.readouterr().err
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    assert main(arguments("raft", models, tmp_path / "raft", *adapter)) == 1
    assert "raft trains all weights" in capsys.readouterr().err
    assert main(arguments(algorithm, models, tmp_path / "none", *adapter[:-2], "no_such", "layer")) == 1
    assert "Target modules" in capsys.readouterr().err


def test_what_is_missing_is_named(tmp_path, capsys):
    assert main(["rl", "ppo", "--output_dir", str(tmp_path / "out")]) == 1
    assert "--model_name_or_path is missing" in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", SMALL)
def test_every_setting_of_the_algorithm_is_a_flag(algorithm):
    from dataclasses import fields

    flags = {action.dest for action in make_parser(f"rewardsmith rl {algorithm}", "")._actions}
    assert {field.name for field in fields(config_class(algorithm)) if field.init} <= flags
    assert {"gold", "reward_model_name_or_path", "reward_weights", "resume"} <= flags
