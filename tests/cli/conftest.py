"""A tiny model on disk and rows for the command line."""

import json
from pathlib import Path

import pytest

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
    from rewardsmith.models import fresh_model

    folder = tmp_path_factory.mktemp("tiny-model")
    texts = [value for row in PAIRS for value in row.values()]
    tokenizer = fresh_model.train_tokenizer(texts, 320)
    fresh_model.build_model("tiny", tokenizer, 0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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
