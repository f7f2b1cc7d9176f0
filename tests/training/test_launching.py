"""The launcher prints what it runs, and says in one line which process ended."""

import pytest

from rewardsmith.errors import ConfigError, DataError, MissingExtraError
from rewardsmith.training import launching


def test_the_command_names_processes_and_threads_and_keeps_the_flags(monkeypatch):
    monkeypatch.setattr(launching.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(launching.os, "cpu_count", lambda: 8)
    words, threads = launching.command(2, ["train", "--nproc", "2", "lora", "--nproc=2", "--seed", "3"])
    assert words == ["--standalone", "--nproc_per_node", "2", "-m", "rewardsmith", "train", "lora", "--seed", "3"]
    assert threads == 4


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(launching.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(launching.torch.cuda, "device_count", lambda: 2)
    assert launching.default_processes() == 2
    with pytest.raises(ConfigError, match="machine with 2 GPUs"):
        launching.command(3, ["train"])


def test_without_a_gpu_the_number_has_to_be_said(monkeypatch):
    monkeypatch.setattr(launching.torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="give --nproc"):
        launching.default_processes()


def test_an_error_that_only_says_that_another_has_gone_is_short(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(launching.time, "sleep", lambda seconds: None)
    with pytest.raises(launching.LaunchError, match="another process has gone"), launching.one_clear_line():
        raise RuntimeError("Connection closed by peer [127.0.0.1]:4711")
    with pytest.raises(DataError), launching.one_clear_line():
        raise DataError("row 3 is empty")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(RuntimeError, match="by peer"), launching.one_clear_line():
        raise RuntimeError("Connection closed by peer")


def test_a_dry_run_prints_the_command(monkeypatch, capsys):
    monkeypatch.setattr(launching.torch.cuda, "is_available", lambda: False)
    assert launching.launch(2, ["train", "--seed", "3"], dry_run=True) == 0
    assert "--nproc_per_node 2 -m rewardsmith train --seed 3" in capsys.readouterr().out


def test_a_process_that_fails_ends_the_others_and_is_named(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, time, pathlib\n"
        "if os.environ['RANK'] == '1':\n    sys.exit(3)\n"
        "time.sleep(30)\npathlib.Path(sys.argv[1]).touch()\n"
    )
    words = ["--standalone", "--nproc_per_node", "2", str(script), str(tmp_path / "finished")]
    with pytest.raises(launching.LaunchError, match="process 1 of 2 ended with 3, and the others were ended"):
        launching._run(words, 2)
    assert not (tmp_path / "finished").exists()


def test_processes_that_stopped_by_themselves_on_a_signal_have_not_failed(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text("import sys\nsys.exit(143)\n")
    with pytest.raises(KeyboardInterrupt, match="2 processes were stopped by signal 15") as stopped:
        launching._run(["--standalone", "--nproc_per_node", "2", str(script)], 2)
    assert stopped.value.number == 15
    for rank, error in (("0", KeyboardInterrupt), ("1", SystemExit)):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(error), launching.one_clear_line():
            raise stopped.value


def test_a_config_of_deepspeed_without_deepspeed_names_the_extra(monkeypatch):
    monkeypatch.setattr(launching, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"rewardsmith\[deepspeed\]"):
        launching.require_deepspeed("ds.json")
    launching.require_deepspeed(None)
