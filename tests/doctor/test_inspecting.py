"""`inspect` counts words without torch, and tokens as they are scored."""

import subprocess
import sys

import healthy_runs
import tiny_models

from rewardsmith import inspect

ROWS = healthy_runs.judged_rows(12, 3)


def test_a_tokenizer_gives_lengths_in_tokens_that_are_scored():
    _, tokenizer = tiny_models.qwen2()
    found = inspect(ROWS, tokenizer=tokenizer).found
    assert (found.unit, found.saving.is_exact) == ("tokens", True)
    assert inspect(ROWS).found.unit == "words"


def test_words_are_counted_without_torch():
    code = (
        "import sys; from rewardsmith import check, inspect; rows = [{'prompt': 'p', 'chosen': 'a', 'rejected': 'b'}];"
        "inspect(rows); check(rows); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "False"]
