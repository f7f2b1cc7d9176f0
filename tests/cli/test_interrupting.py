"""Ctrl-C in a long command says what is kept and how to go on, exits with 130 and shows no traceback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import tiny_models
from forking import Forked
from live_server import load

from rewardsmith.errors import KEPT, kept


def test_every_text_says_how_to_go_on():
    assert all(any(word in text for word in ("again", "go on")) for text in KEPT.values())
    assert "OUT.ledger" in kept("score", {})
    assert "x.jsonl.ledger" in kept("score", {"out": "x.jsonl"})
    assert kept("rl ppo", {}) == kept("rl grpo", {}) != kept("rl round", {})
    assert "whole files only" in kept("evaluate", {})


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def start(arguments, folder):
    """Start Python in a process group of its own, with what it prints in files of the folder."""
    with (folder / "stderr.txt").open("w") as log, (folder / "stdout.txt").open("w") as out:
        how = {"cwd": folder, "stdout": out, "stderr": log, "start_new_session": True}
        return subprocess.Popen([sys.executable, *arguments], **how)


def interrupt(arguments, folder, is_at_work, seconds=120, is_forked=True):
    """Start a command, press Ctrl-C when it is at work; returns its code and what it wrote as errors."""
    command = ["-m", "rewardsmith", *map(str, arguments)]
    process = Forked(command, folder, log=folder) if is_forked else start(command, folder)
    try:
        end = time.monotonic() + seconds
        while not is_at_work(folder):
            said = (folder / "stderr.txt").read_text()
            assert process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code, (folder / "stderr.txt").read_text()


def says(text, name="stderr.txt"):
    return lambda folder: text in (folder / name).read_text()


def check(found, *texts):
    code, said = found
    assert code == 130, said
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("rewardsmith "), said
    for text in texts:
        assert text in last


@pytest.fixture
def rows(tmp_path):
    return write(
        tmp_path / "in.jsonl",
        [
            {
                "prompt": f"Question {i} about a thing?\n",
                "chosen": f"good answer {i} " * 20,
                "rejected": f"bad {i} " * 20,
            }
            for i in range(20000)
        ],
    )


@pytest.mark.slow
def test_score_names_the_ledger_and_goes_on(rows, tiny_model, tmp_path):
    asked = ["score", tiny_model, rows.name, "out.jsonl", "--rows-per-part", 16, "--limit", 2000]
    ledger = tmp_path / "out.jsonl.ledger"
    check(
        interrupt(asked, tmp_path, lambda folder: len(list(ledger.glob("part-*.parquet"))) > 2, is_forked=False),
        "finished parts are kept in out.jsonl.ledger",
        "run the same command again",
    )
    parts = len(list(ledger.glob("part-*.parquet")))
    assert parts > 2
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["evaluate", "MODEL", "in.jsonl"], ["audit", "MODEL", "in.jsonl"]],
)
def test_measuring_commands_say_that_nothing_is_half_written(command, rows, tiny_model, tmp_path):
    asked = [tiny_model if word == "MODEL" else word for word in command]
    check(interrupt(asked, tmp_path, says("no scoring contract")), "whole files only", "run the same command again")


@pytest.mark.slow
def test_a_check_of_data_ends_at_once(rows, tmp_path):
    # Long enough for a check to be at work a second after it is called, on any machine.
    rows.write_bytes(rows.read_bytes() * 8)

    def is_at_work(folder):
        time.sleep(1)
        return True

    check(interrupt(["data", "check", rows.name], tmp_path, is_at_work), "whole files only")


def is_logging(folder):
    return "loss" in "".join(path.read_text() for path in folder.glob("std*.txt"))


@pytest.mark.slow
def test_training_names_its_checkpoint(rows, tiny_model, tmp_path):
    asked = ["train", "--model_name_or_path", tiny_model, "--dataset_name", rows.name, "--output_dir", "run"]
    asked += ["--train_limit", 400, "--num_train_epochs", 50, "--save_strategy", "steps", "--save_steps", 500]
    asked += ["--logging_steps", 1, "--report_to", "none", "--use_cpu", "--gradient_checkpointing", "false"]
    check(
        interrupt(asked, tmp_path, is_logging, is_forked=False),
        "stopped after step",
        "resume_from_checkpoint",
    )
    assert list((tmp_path / "run").glob("checkpoint-*"))


@pytest.mark.slow
def test_training_that_has_not_begun_says_that_nothing_is_saved(rows, tiny_model, tmp_path):
    asked = ["train", "--model_name_or_path", tiny_model, "--dataset_name", rows.name, "--output_dir", "run"]
    asked += ["--use_cpu", "--report_to", "none", "--train_limit", 300]
    check(interrupt(asked, tmp_path, says("in.jsonl: ")), "start again")


@pytest.mark.slow
def test_a_server_ends_with_130_and_says_so(tiny_model, tmp_path):
    pytest.importorskip("uvicorn")
    asked = ["serve", tiny_model, "--port", 0]
    check(interrupt(asked, tmp_path, says("http://")), "accepted are answered")


@pytest.mark.slow
def test_an_annotation_server_keeps_what_was_sent(tmp_path):
    pytest.importorskip("uvicorn")
    from rewardsmith.collecting import create
    from rewardsmith.collecting.items import add_items
    from rewardsmith.data.simulate import SimulationConfig, simulate

    collection = create(tmp_path / "project.yaml", task="pair", title="T", question="Which?")
    add_items(collection.store, collection.project, simulate(SimulationConfig(prompts=3, answers=(2, 2))))
    asked = ["collect", "serve", "--project", "project.yaml", "--port", free_port()]

    def serves(folder):
        time.sleep(1)
        return "open once" in (folder / "stderr.txt").read_text()

    check(interrupt(asked, tmp_path, serves), "judgement that was sent is stored")


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.slow
def test_ppo_names_its_checkpoint(tmp_path):
    pytest.importorskip("trl")
    for part in tiny_models.qwen2_causal():
        part.save_pretrained(tmp_path / "policy")
    load("qwen2", tmp_path / "reward")
    asked = [
        "rl",
        "ppo",
        "--model_name_or_path",
        "policy",
        "--reward_model_name_or_path",
        "reward",
        "--output_dir",
        "run",
    ]
    asked += [
        "--dataset_name",
        "simulator:64",
        "--num_eval_prompts",
        3,
        "--num_measurements",
        1,
        "--response_length",
        5,
    ]
    asked += ["--total_episodes", 40000, "--per_device_train_batch_size", 4, "--save_steps", 5]
    begun = tmp_path / "run"
    check(interrupt(asked, tmp_path, lambda folder: list(begun.glob("checkpoint-*"))), "stopped after step", "resume")
    assert list(begun.glob("checkpoint-*"))
