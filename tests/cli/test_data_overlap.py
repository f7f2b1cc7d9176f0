"""`rewardsmith data overlap` from the outside: counts, rows, exit code, cleaned training data."""

import json

import pytest

from rewardsmith.data import load_preferences

LONG = "Please explain in detail how the old stone bridge over the river Main was built in the year 1133"


def pair(prompt, chosen="yes it is", rejected="no it is not"):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


CLEAN = [pair(f"Question {n * 7919} concerns topic {n * 104729} only", f"good {n}") for n in range(20)]
TRAIN = [*CLEAN[:10], pair(LONG, "one"), pair("Once upon a time.", f"He said: {LONG.lower()}. Then he left.")]
TEST = [*CLEAN[10:], pair("PLEASE " + LONG[7:] + "!", "two"), CLEAN[3]]


@pytest.fixture
def sides(tmp_path):
    for name, rows in (("train", TRAIN), ("test", TEST)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "train.jsonl", "test.jsonl"


def test_planted_rows_are_named_counted_and_taken_out(command, sides, tmp_path):
    code, out, _ = command("data", "overlap", *sides, "--out", "hits.jsonl", "--clean", "clean.jsonl")
    assert code == 0
    assert "same prompt: test.jsonl:row 11 and train.jsonl:row 11" in out
    assert "wrote 9 of 12 training groups to clean.jsonl" in out
    hits = [json.loads(line) for line in (tmp_path / "hits.jsonl").read_text().splitlines()]
    assert {(hit["kind"], hit["test"], hit["train"]) for hit in hits} == {
        ("same prompt", "test.jsonl:row 11", "train.jsonl:row 11"),
        ("n-gram", "test.jsonl:row 11", "train.jsonl:row 11"),
        ("same pair", "test.jsonl:row 12", "train.jsonl:row 4"),
        ("same prompt", "test.jsonl:row 12", "train.jsonl:row 4"),
    }
    assert len(load_preferences("clean.jsonl")) == 9
    assert command("data", "overlap", "clean.jsonl", "test.jsonl", "--fail-above", 0)[0] == 0


def test_the_exit_code_follows_the_share(command, sides):
    assert command("data", "overlap", *sides, "--fail-above", 0.2)[0] == 0
    assert command("data", "overlap", *sides, "--fail-above", 0.1)[0] == 1


def test_json_on_stdout_is_all_of_it(command, sides):
    code, out, _ = command("data", "overlap", *sides, "--json", "-", "--index", "train")
    found = json.loads(out)
    assert code == 0
    assert (found["test_groups"], found["test_groups_hit"], found["train_groups_hit"]) == (12, 2, 3)
    assert found["share"] == pytest.approx(1 / 6)
    assert found["kinds"]["n-gram"] == {"test_groups": 1, "train_groups": 2}
    assert found["train"] == {"source": "train.jsonl", "rows": 12, "left_out": {}}


def test_a_benchmark_of_prompts_alone_is_read_by_its_column(command, sides, tmp_path):
    rows = [{"question": LONG}, {"question": "short"}, {"other": 1}, {"question": 7}]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    arguments = ("data", "overlap", "train.jsonl", "prompts.jsonl", "--test-column", "question", "--json", "-")
    found = json.loads(command(*arguments)[1])
    assert (found["test_groups"], found["test_groups_hit"], found["test"]["rows"]) == (2, 1, 5)
    assert sum(found["test"]["left_out"].values()) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train.jsonl", "none.jsonl"), "'none.jsonl': no such file"),
        (("train.jsonl", "empty.jsonl"), "empty.jsonl: nothing to compare: it holds no rows"),
        (("train.jsonl", "empty.jsonl", "--fail-above", "7"), "a share in [0, 1]"),
        (("train.jsonl", "test.jsonl", "--ngram", "0"), "ngram must be >= 1"),
        (("train.jsonl", "test.jsonl", "--nearr", "0"), "did you mean --near"),
    ],
)
def test_failures_are_one_line(command, sides, tmp_path, arguments, expected):
    (tmp_path / "empty.jsonl").write_text("")
    code, _, error = command("data", "overlap", *arguments)
    assert code in (1, 2)
    assert expected in error
    assert error.count("\n") == 1


def test_either_side_may_have_columns_of_its_own_names(command, sides, tmp_path):
    rows = [{"Frage": row["prompt"], "gut": row["chosen"], "schlecht": row["rejected"]} for row in TRAIN]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = ("--train-columns", "Frage=prompt", "gut=chosen", "schlecht=rejected")
    odd = json.loads(command("data", "overlap", "odd.jsonl", sides[1], *named, "--json", "-")[1])
    plain = json.loads(command("data", "overlap", *sides, "--json", "-")[1])
    assert odd["train"].pop("source") != plain["train"].pop("source")
    assert odd == plain
