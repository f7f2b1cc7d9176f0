"""`rewardsmith collect ...` from the command line."""

import json
import re
from importlib import import_module

import pytest

from rewardsmith.cli import collect
from rewardsmith.cli.main import main


@pytest.mark.parametrize("name", collect.COMMANDS)
def test_every_command_has_its_file_and_its_help(name, capsys):
    import_module(f"rewardsmith.cli.{collect.COMMANDS[name][0]}")
    with pytest.raises(SystemExit, match="0"):
        main(["collect", name, "--help"])
    assert name in capsys.readouterr().out


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(["collect", "exprot"]) == 2
    assert "did you mean 'export'" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"q{n}", "completions": [f"a{n}", f"b{n}", f"c{n}"], "scores": [1, 2, 3]} for n in range(4)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_project_from_the_first_command_to_the_export(folder, capsys):
    assert main(["collect", "init", "p.yaml", "--task", "ranking", "--overlap", "2"]) == 0
    assert main(["collect", "import", "answers.jsonl"]) == 0
    assert "4 items with 12 answers, 4 judgements" in capsys.readouterr().out
    assert main(["collect", "import", "answers.jsonl"]) == 0
    assert "already there: 4" in capsys.readouterr().out
    assert main(["collect", "annotators", "add", "ann", "bob"]) == 0
    assert len(re.findall(r"/invite/[\w-]{32}", capsys.readouterr().out)) == 2
    assert main(["collect", "annotators", "revoke", "bob"]) == 0
    capsys.readouterr()
    assert main(["collect", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seats"] == 8
    assert main(["collect", "agreement", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judgements"] == 4
    for name in ("out.jsonl", "out.parquet"):
        assert main(["collect", "export", name]) == 0
    assert main(["collect", "export", "trl.jsonl", "--to", "trl"]) == 0
    assert len((folder / "trl.jsonl").read_text().splitlines()) == 12
    assert main(["collect", "backup", "copy.db"]) == 0
    assert main(["collect", "backup", "copy.db"]) == 1
    assert main(["collect", "upgrade"]) == 0


def test_outputs_of_several_models_are_joined_by_prompt(folder, capsys):
    for model in ("small", "large"):
        rows = [{"prompt": f"q{n}", "response": f"{model} says {n}"} for n in range(3)]
        (folder / f"{model}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "import", "small.jsonl", "large.jsonl"]) == 0
    assert "3 items with 6 answers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question: x\noverlpa: 2\n", "did you mean 'overlap'"),
        ("question: x\nstop: {agre: 2}\n", "did you mean 'agree'"),
        ("question: x\ntask: pear\n", "task"),
        ("question: x\noverlap: 0\n", "overlap"),
        ("questions: [{name: a, task: rating}]\n", "scales"),
        ("- 1\n", "mapping"),
        ("question: [\n", "YAML"),
    ],
)
def test_a_project_that_cannot_be_used_says_why_in_one_line(folder, capsys, text, message):
    (folder / "p.yaml").write_text(text)
    assert main(["collect", "init", "p.yaml"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "secret", "message"),
    [
        (["--host", "0.0.0.0"], None, "REWARDSMITH_COLLECT_SECRET"),
        (["--host", "0.0.0.0"], "s" * 40, "--plain-http"),
        (["--endpoint", "one=http://127.0.0.1:1"], None, "two or more"),
        (["--certificate", "c.pem"], None, "belong together"),
    ],
)
def test_serving_openly_asks_for_a_secret_and_for_https(folder, capsys, monkeypatch, flags, secret, message):
    if secret is not None:
        monkeypatch.setenv("REWARDSMITH_COLLECT_SECRET", secret)
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "serve", *flags]) == 1
    assert message in capsys.readouterr().err
