"""The table of rl commands names what was meant."""

import argparse

import tiny_models
import yaml

from rewardsmith.cli.main import main
from rewardsmith.cli.rl import configure_round


def test_an_unknown_command_is_answered_with_the_nearest(capsys):
    assert main(["rl", "best-of-m"]) == 2
    assert "unknown rl command 'best-of-m'" in capsys.readouterr().err


def write(folder, **changes):
    models = {"policy": tiny_models.qwen2_causal(), "start": tiny_models.qwen2()}
    for name, (model, tokenizer) in models.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    settings = {
        "policy": str(folder / "policy"), "reward_start": str(folder / "start"), "prompts": "simulator:8",
        "labels": 2, "candidates": 4, "judge": "people", "num_eval_prompts": 2, "max_completion_length": 4,
    }  # fmt: skip
    (folder / "my.yaml").write_text(yaml.safe_dump(settings | changes))


def test_the_pairs_that_people_judge_are_named(command, tmp_path):
    write(tmp_path)
    code, out, err = command("rl", "round", "my.yaml", "out")
    assert code == 0, err
    assert "waiting for people: judge out/round-1/picked.jsonl" in out
    assert "rewardsmith collect export out/round-1/judgements.jsonl" in out


def test_a_flag_stands_over_its_key_and_an_unknown_key_names_the_nearest(command, tmp_path):
    write(tmp_path)
    assert command("rl", "round", "my.yaml", "out", "--labels", 1)[0] == 0
    assert len((tmp_path / "out" / "round-1" / "picked.jsonl").read_text().splitlines()) == 1
    (tmp_path / "my.yaml").write_text("policy: a\nreward_start: b\nprompts: c\nlabel: 3\n")
    code, _, err = command("rl", "round", "my.yaml", "other")
    assert code == 1
    assert "unknown key 'label'; did you mean 'labels'?" in err


def test_the_table_has_reward_gold_and_kl(tmp_path, capsys):
    for part in tiny_models.qwen2_causal():
        part.save_pretrained(tmp_path / "policy")
    arguments = [
        "rl",
        "best-of-n",
        str(tmp_path / "policy"),
        "simulator:gold",
        "simulator:6",
        str(tmp_path / "best.jsonl"),
    ]
    assert main([*arguments, "--n", "3", "--max_completion_length", "3", "--gold", "simulator:gold"]) == 0
    printed = capsys.readouterr().out
    assert "best of 3, 6 prompts" in printed
    assert "gold, gain" in printed
    assert "KL from the policy: 0.4319 nats" in printed


def test_every_flag_of_rounds_says_what_it_does(capsys):
    parser = argparse.ArgumentParser()
    configure_round(parser)
    for action in parser._actions:
        assert action.help
        assert "docs/" not in action.help
