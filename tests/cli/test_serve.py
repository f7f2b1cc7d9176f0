"""The command's own work: keys, refusals, and what reaches the settings."""

import argparse
import signal
import socket

import pytest

from rewardsmith.capabilities import Capabilities
from rewardsmith.cli import serve
from rewardsmith.cli.main import main
from rewardsmith.errors import ConfigError
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.serving.auth import KeyRing, digest, read_keys
from rewardsmith.serving.run import Address, prepare_to_listen


def test_a_new_key_is_printed_once_and_only_its_digest_is_kept(tmp_path, capsys):
    path = tmp_path / "keys"
    assert main(["serve", "--new-key", str(path)]) == 0
    key = capsys.readouterr().out.strip()
    assert [kept.digest for kept in read_keys(path)] == [digest(key)]


def test_an_open_address_without_keys_is_refused_before_the_model_is_loaded(capsys, monkeypatch):
    monkeypatch.delenv("REWARDSMITH_API_KEY", raising=False)
    assert main(["serve", "no-such-model", "--host", "0.0.0.0"]) == 2
    assert "--key-file" in capsys.readouterr().err


def test_no_model_is_an_error_that_says_so(capsys):
    assert main(["serve"]) == 2
    assert "name a model" in capsys.readouterr().err


def test_a_flag_that_only_requests_can_mean_is_refused(capsys):
    assert main(["serve", "nothing", "--truncate-prompt"]) == 2
    assert "truncate='prompt'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("--port", ["-1", "70000"]),
        ("--max-queued-requests", ["0", "-1"]),
        ("--max-body-mib", ["0", "nan", "inf"]),
        ("--max-total-body-mib", ["-1", "nan"]),
        ("--max-connections", ["0"]),
        ("--deadline-seconds", ["0", "nan", "inf"]),
        ("--header-seconds", ["inf"]),
        ("--write-seconds", ["-2"]),
        ("--shutdown-seconds", ["-1", "nan", "inf"]),
        ("--prefix-cache-tokens", ["-1"]),
    ],
)
def test_a_number_that_no_limit_can_be_is_one_line_before_the_model_is_loaded(flag, values, capsys):
    for value in values:
        assert main(["serve", "no-such-model", flag, value]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert flag.strip("-") in line


def test_a_port_in_use_is_said_before_the_model_is_loaded(capsys, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "no-such-model", "--port", port]) == 1
    assert f"cannot listen on 127.0.0.1:{port}; is the port in use?" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1"])
def test_a_host_that_this_machine_has_not_is_said_before_the_model_is_loaded(host, capsys, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setenv("REWARDSMITH_API_KEY", "key")
    assert main(["serve", "no-such-model", "--host", host, "--port", "0"]) == 2
    assert f"--host {host} is no address of this machine; give 127.0.0.1" in capsys.readouterr().err


def test_a_hangup_while_the_model_is_loaded_ends_nothing(monkeypatch):
    set_to = {}
    monkeypatch.setattr(signal, "signal", set_to.__setitem__)
    prepare_to_listen(Address(port=0))
    assert set_to == {signal.SIGHUP: signal.SIG_IGN}


def test_keys_come_from_the_file_and_the_environment(tmp_path, monkeypatch):
    path = tmp_path / "keys"
    main(["serve", "--new-key", str(path)])
    monkeypatch.setenv("REWARDSMITH_API_KEY", "from-environment")
    ring = KeyRing(serve._environment_digests(), path)
    assert ring.find({"x-api-key": "from-environment"}).digest == digest("from-environment")
    assert len(read_keys(path)) == 1


def test_flags_become_limits_and_names(tmp_path, monkeypatch):
    import tiny_models

    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    flags = ["--max-queued-requests", "7", "--served-name", "judge", "--max-body-mib", "1", "--deadline-seconds", "9"]
    app = serve._app(parser.parse_args([str(tmp_path), *flags]))
    assert app.settings.limits.max_queued_requests == 7
    assert app.settings.limits.deadline_seconds == 9
    assert app.settings.max_body_bytes == 2**20
    assert app.service.names == ("judge",)


def test_several_models_are_served_as_their_mean(tmp_path):
    import tiny_models
    import torch

    folders = []
    for number in range(2):
        model, tokenizer = tiny_models.qwen2()
        with torch.no_grad():
            model.score.weight.mul_(1 + number)
        folders.append(str(tmp_path / str(number)))
        model.save_pretrained(folders[-1])
        tokenizer.save_pretrained(folders[-1])
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    app = serve._app(parser.parse_args([folders[0], "--ensemble", folders[1]]))
    ids = app.service.model.members[0].renderer.encode_text("good")
    alone = [member.score_encoded([[ids]])[0][0] for member in app.service.model.members]
    assert app.service.model.score_encoded([[ids]])[0][0] == pytest.approx(sum(alone) / 2, abs=1e-5)
    assert alone[1] == pytest.approx(2 * alone[0], abs=1e-5)


def test_a_model_that_compares_answers_is_refused(tmp_path, monkeypatch):
    class Comparer:
        name, tokens_per_batch, members = "pair", 1, ()
        capabilities = Capabilities(compares=True)

    monkeypatch.setattr(RewardModel, "from_pretrained", lambda *_, **__: Comparer())
    parser = argparse.ArgumentParser()
    serve.configure(parser)
    with pytest.raises(ConfigError, match="compares answers"):
        serve._app(parser.parse_args(["pair"]))
