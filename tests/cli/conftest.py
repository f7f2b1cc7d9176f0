"""A tiny model on disk and rows for the command line."""

import json
from pathlib import Path

import pytest
import tiny_models

from rewardsmith.cli.main import main

PAIRS = [
    {"prompt": f"Question {i} about a thing?\n", "chosen": f"good answer {i % 7}", "rejected": f"bad reply {i % 5} no"}
    for i in range(40)
]


def write_jsonl(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("data") / "pairs.jsonl", PAIRS)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A decoder with random weights and its tokenizer, in a folder."""
    texts = [value for row in PAIRS for value in row.values()]
    return tiny_models.save_fresh(tmp_path_factory.mktemp("tiny-model"), texts)


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder; give exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
