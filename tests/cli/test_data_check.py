"""`rewardsmith data check` from the outside: verdict, rows, exit code, JSON, and input that cannot be read."""

import json

import pytest

from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.loading import load_preferences

SIDES = [("a{0} is what I would say, {0}", "b{0} it may be"), ("c{0} it may be", "a{0} is what I would say, {0}")]
CLEAN = [
    {
        "prompt": f"Question {i} about item {i * 977}?",
        "chosen": SIDES[i % 2][0].format(i),
        "rejected": SIDES[i % 2][1].format(i),
    }
    for i in range(120)
]
SWAPPED = {**CLEAN[4], "chosen": CLEAN[4]["rejected"], "rejected": CLEAN[4]["chosen"]}


@pytest.fixture
def write(tmp_path):
    def write_rows(name, rows):
        lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
        (tmp_path / name).write_text("".join(line + "\n" for line in lines))
        return name

    return write_rows


def test_clean_data_pass(command, write):
    code, out, err = command("data", "check", write("pairs.jsonl", CLEAN), "--strict")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "120 rows, 120 comparisons"
    assert out.splitlines()[-1] == "0 errors, 0 warnings: nothing that makes training wrong"


def test_an_error_names_rows_and_remedy_and_exits_with_1(command, write):
    bad = [{**CLEAN[0], "chosen": None}, "{broken", {**CLEAN[1], "rejected": None}]
    code, out, _ = command("data", "check", write("pairs.jsonl", [*CLEAN, *bad]))
    assert code == 1
    assert "error    unreadable: null value  2 of 123 rows (1.6%)" in out
    assert "pairs.jsonl:row 121, 123" in out
    assert "-> repair or remove these rows" in out
    assert "column 'chosen'" in out
    assert out.splitlines()[-1] == "2 errors, 0 warnings: training on this would be wrong"


def test_empty_answers_are_read_counted_and_named(command, write):
    empty = [{**CLEAN[0], "prompt": "another", "rejected": ""}, {**CLEAN[1], "prompt": "a third", "chosen": " "}]
    code, out, _ = command("data", "check", write("pairs.jsonl", [*CLEAN, *empty]))
    assert code == 0
    assert "warning  empty completion  2 of 122 rows (1.6%)" in out
    assert "warning  empty answer preferred  1 of 122 comparisons (0.8%)" in out
    assert "pairs.jsonl:row 122" in out


def test_warnings_pass_unless_strict(command, write):
    name = write("pairs.jsonl", [*CLEAN, SWAPPED])
    code, out, _ = command("data", "check", name, "--rows", 1)
    assert code == 0
    assert "warning  judged both ways  1 of 121 preferences (0.8%)" in out
    assert "pairs.jsonl:row 5 and 1 more" in out
    assert command("data", "check", name, "--strict")[0] == 1


def test_json_holds_everything(command, write, tmp_path):
    name = write("pairs.jsonl", [*CLEAN, SWAPPED, "{"])
    code, out, _ = command("data", "check", name, "--json", "-")
    found = json.loads(out)
    assert code == found["exit_code"] == 1
    assert (found["verdict"], found["rows_read"], found["rows_left_out"]) == ("errors", 122, 1)
    assert {(f["kind"], f["level"], f["count"]) for f in found["findings"]} == {
        ("unreadable: broken JSON", "error", 1),
        ("judged both ways", "warning", 1),
    }
    assert next(f for f in found["findings"] if f["level"] == "error")["rows"] == ["pairs.jsonl:row 122"]
    code, out, err = command("data", "check", name, "--json", "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == found
    assert "unreadable: broken JSON" in out
    assert err == "wrote found.json\n"


def test_a_prompt_in_train_and_test_is_named_on_both_sides(command, write):
    again = {**CLEAN[2], "chosen": "quite another answer, of the same length"}
    names = write("a.jsonl", CLEAN), write("b.jsonl", [again])
    code, out, _ = command("data", "check", names[0], "--test", names[1])
    assert code == 1
    assert "error    prompt in train and test  1 of 120 prompts" in out
    assert "a.jsonl:row 3; b.jsonl:row 1" in out


def test_every_kind_of_file_gives_the_same_findings(command, write, tmp_path):
    rows = [*CLEAN, SWAPPED]
    write("pairs.jsonl", rows)
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    with open_groups(tmp_path / "pairs.parquet") as put:
        for group in load_preferences("pairs.jsonl", merge_prompts=False):
            put(group)
    findings = []
    for suffix in ("jsonl", "json", "parquet"):
        found = json.loads(command("data", "check", f"pairs.{suffix}", "--json", "-")[1])
        findings.append([(f["kind"], f["count"], [r.partition(":")[2] for r in f["rows"]]) for f in found["findings"]])
    assert findings[0] == findings[1] == findings[2] != []


def test_one_row_and_rows_without_a_preference(command, write):
    code, out, _ = command("data", "check", write("one.jsonl", CLEAN[:1]))
    assert code == 0
    assert "1 preference; what is learnt from so few is hardly better than chance" in out
    tie = {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 1]}
    code, out, _ = command("data", "check", write("ties.jsonl", [tie]))
    assert code == 1
    assert "ties alone: 1 of 1 comparisons" in out
    code, out, _ = command("data", "check", write("empty.jsonl", []))
    assert code == 1
    assert "no rows" in out


def test_a_file_that_cannot_be_read_is_the_only_finding(command, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"garbage")
    code, out, err = command("data", "check", "x.parquet")
    assert (code, err) == (1, "")
    assert out.splitlines()[-2:] == ["", "1 error, 0 warnings: training on this would be wrong"]
    assert "error    unreadable file" in out
    assert out.splitlines()[-3].strip() == "x.parquet"


def test_terminal_codes_and_markup_in_texts_stay_text(command, write):
    rows = [*CLEAN, {**CLEAN[0], "prompt": "[bold red]x[/]", "chosen": "\x1b[31mred", "margin": "[/oops]"}]
    code, out, _ = command("data", "check", write("[weird].jsonl", rows))
    assert code == 1
    assert "[weird].jsonl:row 121" in out
    assert "\x1b" not in out
    assert "[/oops]" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["none.jsonl"], "'none.jsonl': no such file"),
        (["pairs.jsonl", "--test", "none.jsonl"], "'none.jsonl': no such file"),
        (["pairs.jsonl", "--rows", "-1"], "--rows must be 0 or more"),
        (["pairs.jsonl", "--strct"], "did you mean --strict"),
        (["pairs.jsonl", "--reader", "nonsense"], "nonsense"),
        (["."], "."),
    ],
)
def test_wrong_use_is_one_line(command, write, arguments, expected):
    write("pairs.jsonl", CLEAN)
    if arguments == ["."]:
        write("test.jsonl", CLEAN)
        write("train.jsonl", CLEAN)
        expected = "name one as split"
    code, out, err = command("data", "check", *arguments)
    assert code in (1, 2)
    assert expected in err + out
    assert err.count("\n") <= 1
    assert "Traceback" not in err
