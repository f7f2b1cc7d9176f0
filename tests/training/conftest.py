"""The local hub of the tests, and a file of pairs."""

import json

import pytest
from local_hub import hub

__all__ = ["hub"]

PAIRS = [
    {"prompt": f"Question {i} about a thing?\n", "chosen": f"good answer {i % 7}", "rejected": f"bad reply {i % 5} no"}
    for i in range(40)
]


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    return path
