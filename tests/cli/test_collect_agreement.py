"""`rewardsmith collect agreement`: the numbers on the terminal and as JSON."""

import json

import pytest

from rewardsmith.cli.main import main

ROWS = [
    {"prompt": f"q{n}", "chosen": "a", "rejected": "b", "annotator": who} for n in range(6) for who in ("x", "y", "z")
]


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for row in ROWS[::4]:
        row["chosen"], row["rejected"] = "b", "a"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "import", "rows.jsonl"]) == 0
    capsys.readouterr()
    return tmp_path


def test_every_figure_has_its_interval_or_says_why_not(folder, capsys):
    assert main(["collect", "agreement"]) == 0
    text = capsys.readouterr().out
    assert "18 judgements of 6 items" in text
    assert "Krippendorff's alpha (ordinal)" in text
    assert "right on gold" in text
    assert "not yet" in text
    assert "divides people: item" in text


def test_the_json_holds_the_same_and_names_nobody(folder, capsys):
    assert main(["collect", "agreement", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["items"], found["judgements"], len(found["annotators"])) == (6, 18, 3)
    assert all(one["annotator"].startswith("imported-") for one in found["annotators"])
    assert found["alpha"]["low"] < found["alpha"]["value"] < found["alpha"]["high"]


def test_a_question_that_is_not_asked_names_those_that_are(folder, capsys):
    assert main(["collect", "agreement", "--question", "safety"]) == 1
    assert "there are: overall" in capsys.readouterr().err
