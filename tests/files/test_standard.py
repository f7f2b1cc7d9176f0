"""`-` is standard input or output, whatever the rows are packed in."""

import gzip
import io
import json
import sys

import pytest

from rewardsmith.cli.main import main
from rewardsmith.errors import UsageError
from rewardsmith.files.reading import read_rows
from rewardsmith.files.standard import standard_streams

ROW = {"prompt": "what?", "chosen": "a, thing", "rejected": "no"}
LINES = (json.dumps(ROW) + "\n").encode() * 2
TEXTS = {
    "jsonl": LINES,
    "long lines": json.dumps(ROW | {"chosen": "x" * 200_000}).encode() + b"\n" + LINES,
    "array": json.dumps([ROW, ROW], indent=2).encode(),
    "object over lines": b'\xef\xbb\xbf{"data": [\n' + json.dumps(ROW).encode() + b"]}",
    "csv": b'prompt,chosen,rejected\nwhat?,"a, thing",no\n',
    "tsv": b"prompt\tchosen\trejected\nwhat?\ta, thing\tno\n",
    "gz": gzip.compress(LINES),
}


@pytest.fixture
def stdin(monkeypatch):
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.mark.parametrize("kind", TEXTS)
def test_the_kind_of_standard_input_is_told_by_what_it_holds(kind, stdin):
    stdin(TEXTS[kind])
    given = {"input": ["-"], "to": "trl"}
    with standard_streams("data convert", given):
        *_, (where, row) = read_rows(given["input"][0])
    assert {name: row[name] for name in ROW} == ROW
    assert where.startswith("stdin")


def test_rows_go_to_standard_output_and_what_is_said_to_standard_error(stdin, capsys):
    stdin(LINES)
    assert main(["data", "convert", "-", "--to", "trl", "--out", "-"]) == 0
    out, err = capsys.readouterr()
    assert [{name: row[name] for name in ROW} for row in map(json.loads, out.splitlines())] == [ROW, ROW]
    assert "wrote 2 rows of 2 groups to stdout (trl)" in err


@pytest.mark.parametrize(
    ("content", "command", "code", "said"),
    [
        (b" \n", "data check -", 1, "standard input is empty"),
        (b"\x00\x01", "data check -", 1, "standard input is of no known kind"),
        (LINES, "data merge - - --out m.jsonl", 2, "can be read once"),
        (LINES, "data split - --out -", 2, "data split writes a folder"),
        (LINES, "data convert - --to parquet --out -", 2, "a table of Parquet"),
        (LINES, "train --model_name_or_path M --dataset_name D --output_dir -", 2, "train writes a folder"),
    ],
)
def test_what_cannot_go_through_a_pipe_is_one_line(content, command, code, said, stdin, capsys):
    stdin(content)
    assert main(command.split()) == code
    assert said in capsys.readouterr().err


def test_a_name_that_is_no_data_stays_what_it_is():
    given = {"json": "-", "answer": ["-"], "input": ["a.jsonl"]}
    with standard_streams("data check", dict(given)):
        pass
    with pytest.raises(UsageError, match="export writes"), standard_streams("export", {"out": "-"}):
        pass
