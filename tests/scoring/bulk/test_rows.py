"""Sources, their hashes, and what a row asks to be scored."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from letter_scorer import Letters

from rewardsmith.errors import ConfigError, DataError, RowError
from rewardsmith.scoring.answers import is_missing
from rewardsmith.scoring.bulk.job import BulkJob, score_file
from rewardsmith.scoring.bulk.rows import HubInput, find_source, hash_source, read_answers, read_request, read_source


@pytest.mark.parametrize("column", ["question", "query", "promt", "User Prompt"])
def test_what_was_asked_is_read_under_other_names(column, caplog):
    from rewardsmith.scoring.bulk import rows

    rows._say_prompt.cache_clear()
    assert read_request({column: "2+2?", "completion": "4", "prompt": None}, "row 1").prompt == "2+2?"
    assert read_request({column: "2+2?", "completions": ["4", "5"]}, "row 2").prompt == "2+2?"
    assert caplog.messages == [f"column {column!r} is read as the prompt"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "Yes"},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]},
        {"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}], "rejected": "No"},
    ],
)
def test_a_system_column_comes_before_what_was_asked(row):
    if isinstance(row.get("chosen"), list):
        row = {**row, "rejected": [row["chosen"][0], {"role": "assistant", "content": "No"}]}
    request = read_request({**row, "system": "Be brief."}, "row 1")
    assert [(turn.role, turn.content) for turn in request.prompt] == [("system", "Be brief."), ("user", "Hi")]
    assert request.completions[0][0].content == "Yes"


ROWS = [{"prompt": f"question {i} ", "completion": f"answer {i}"} for i in range(7)]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder in the layout of a hub repository, whose id names it from the current folder, and an empty cache."""
    import datasets.config

    root = tmp_path / "someone" / "answers"
    for split, rows in (("train", ROWS), ("test", ROWS[:2])):
        (root / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), root / "data" / f"{split}-00000-of-00001.parquet")
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
        "  - split: test\n    path: data/test-*\n---\nAnswers.\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return "someone/answers"


def test_a_folder_of_mixed_files_is_one_input(tmp_path):
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines(ROWS[:2])))
    (folder / "b.jsonl.zst").write_bytes(zstandard.compress(lines(ROWS[2:4])))
    (folder / "c.csv").write_text(
        "prompt,completion\n" + "".join(f"{r['prompt']},{r['completion']}\n" for r in ROWS[4:5])
    )
    pq.write_table(pa.Table.from_pylist(ROWS[5:6]), folder / "d.parquet")
    (folder / "more" / "e.jsonl").write_bytes(lines(ROWS[6:]))
    job = BulkJob(find_source(str(folder)), tmp_path / "out.jsonl", rows_per_part=3)
    assert score_file(Letters(), job, {"model": "m"}).scored == 7
    found = [json.loads(line) for line in job.out.read_text().splitlines()]
    assert found == [{**r, "reward": sum(map(ord, r["prompt"] + r["completion"])) / 7} for r in ROWS]


def test_a_hub_data_set_is_scored_by_its_split(hub, tmp_path):
    source = HubInput(hub, "train")
    job = BulkJob(source, tmp_path / "out.jsonl", rows_per_part=3)
    assert score_file(Letters(), job, {"model": "m"}).scored == 7
    found = [json.loads(line) for line in job.out.read_text().splitlines()]
    assert [{k: row[k] for k in ROWS[0]} for row in found] == ROWS
    assert [where for where, _ in read_source(source, None)][-1] == "someone/answers:row 7"
    assert score_file(Letters(), job, {"model": "m"}).reused == 7
    assert hash_source(source) == hash_source(HubInput(hub, "train")) != hash_source(HubInput(hub, "test"))


def test_a_hub_data_set_that_cannot_be_had_names_what_there_is(hub):
    with pytest.raises(DataError, match=r"splits train, test; name one with --split"):
        list(read_source(HubInput(hub), None))
    with pytest.raises(DataError, match=r"no split 'dev'; it holds train, test"):
        list(read_source(HubInput(hub, "dev"), None))
    with pytest.raises(DataError, match="the hub cannot give it"):
        list(read_source(HubInput("someone/nothing-of-this-name"), None))


def test_a_name_is_a_path_first_and_then_a_hub_id(hub, tmp_path):
    assert find_source(hub) == tmp_path / "someone" / "answers"
    assert find_source("someone/else", "train") == HubInput("someone/else", "train")
    for name in ("nothing.jsonl", "./someone/else", "someone/else.jsonl"):
        with pytest.raises(ConfigError, match="no such file or folder"):
            find_source(name)


@pytest.mark.parametrize("column", ["System", "system_prompt", "system message"])
def test_a_system_message_under_another_name_is_asked_as_that_of_system(column):
    row = {"prompt": "q", "completion": "a"}
    assert read_request({column: "Be brief.", **row}, "row 0") == read_request({"system": "Be brief.", **row}, "row 0")


def test_an_answer_that_cannot_be_read_keeps_its_place_and_its_reason():
    row = {"prompt": "q", "completions": ["a", None, 5, [1, 2], [{"role": "user", "content": "x"}], ""]}
    asked = read_answers(row, "row 3")
    assert [is_missing(answer) for answer in asked.request.completions] == [False, True, True, True, True, False]
    assert {place: error.reason for place, error in asked.lost.items()} == {
        1: "null value",
        2: "wrong type",
        3: "wrong type",
        4: "wrong last role",
    }
    assert asked.names[1] == "completions[1]"
    with pytest.raises(DataError, match=r"row 3: column 'completions\[1\]' is null"):
        read_request(row, "row 3")
    with pytest.raises(DataError, match="row 4"):
        read_answers({"prompt": "q", "completions": [None, 5]}, "row 4")


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"prompt": "q", "completion": None}, "completion"),
        ({"prompt": "q", "completions": [None, None]}, "completions[0]"),
        ({"prompt": "q", "completions": None}, "completions"),
        ({"prompt": "q", "chosen": None, "rejected": None}, "chosen"),
        ({"chosen_ids": None, "rejected_ids": None}, "chosen_ids"),
        ({"text": None}, "text"),
        ({"messages": None}, "messages"),
    ],
)
def test_a_row_of_nulls_alone_is_named_so(row, column):
    with pytest.raises(RowError, match="is null") as caught:
        read_answers(row, "row 5")
    assert (caught.value.reason, f"'{column}'" in str(caught.value)) == ("null value", True)


def test_judged_steps_are_not_scored_as_answers():
    row = {"prompt": "2+2+2?", "completions": ["2+2 is 4.", "4+2 is 7."], "labels": [True, False]}
    with pytest.raises(RowError, match="are the steps of one solution, and would be scored as answers"):
        read_answers(row, "row 1")
