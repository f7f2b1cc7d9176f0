"""`rewardsmith collect order`: which items come first, by ratings that came along."""

import json

import pytest
from collecting_people import annotator, answer

from rewardsmith.cli.main import main
from rewardsmith.collecting import open_collection

GAPS = {"q0": 0.1, "q1": 3.0, "q2": 1.0}


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": q, "completions": ["a", "b"], "scores": [gap, 0.0]} for q, gap in GAPS.items()]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "import", "rows.jsonl"]) == 0
    capsys.readouterr()
    return tmp_path


@pytest.mark.parametrize(("order", "expected"), [("gap", ["q1", "q2", "q0"]), ("uncertainty", ["q0", "q2", "q1"])])
def test_items_come_by_their_rating_and_judgements_record_the_order(folder, capsys, order, expected):
    assert main(["collect", "order", order, "--rating", "score"]) == 0
    assert f"3 items in order {order}" in capsys.readouterr().out
    collection = open_collection(folder / "p.yaml")
    person = annotator(collection)
    assert [answer(collection, person)[0].prompt for _ in range(3)] == expected
    collection.close()


def test_the_random_order_comes_back(folder, capsys):
    assert main(["collect", "order", "gap", "--rating", "score"]) == 0
    assert main(["collect", "order", "random"]) == 0
    collection = open_collection(folder / "p.yaml")
    person = annotator(collection)
    assert {answer(collection, person)[0].prompt for _ in range(3)} == set(GAPS)
    collection.close()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["gap"], "give either --model or --rating"),
        (["gap", "--rating", "score", "--model", "m"], "give either --model or --rating"),
        (["gap", "--rating", "helpfulness"], "no complete rating 'helpfulness'; it has: score"),
    ],
)
def test_an_order_without_predictions_says_what_it_needs(folder, capsys, flags, message):
    assert main(["collect", "order", *flags]) == 1
    assert message in capsys.readouterr().err
