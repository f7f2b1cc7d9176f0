"""Rows that are scored together do not hurt each other."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from letter_scorer import Letters

from rewardsmith.capabilities import Capabilities
from rewardsmith.errors import ConfigError, DataError, ScoringError, TooLongError
from rewardsmith.scoring.bulk.job import BulkJob, score_file
from rewardsmith.scoring.bulk.rows import HubInput, find_source, hash_source, read_request, read_source, score_entries
from rewardsmith.scoring.scorer import RewardParts, fit_completions
from rewardsmith.scoring.truncation import truncated


class RefusingLetters:
    """Rewards a text by its letters; refuses groups with the letter Z, as a model does that gives NaN."""

    max_length = 40
    capabilities = Capabilities(scores_ids=True, max_length=max_length)
    truncation = "error"

    def __init__(self):
        self.groups = []

    def encode(self, request):
        return [[ord(letter) for letter in request.prompt + text] for text in request.completions]

    def fit(self, request, truncation=None, limit=None):
        cuts = self.truncation != "error"
        return fit_completions(
            lambda p, c: list(map(ord, p + c)), request, self.max_length, truncated if cuts else None
        )

    def score_encoded(self, groups):
        self.groups.append([len(group) for group in groups])
        if any(ord("Z") in sequence for group in groups for sequence in group):
            raise ScoringError("a reward is not finite")
        return [[sum(sequence) / 7 for sequence in group] for group in groups]


class Comparer(RefusingLetters):
    """Rewards an answer by its place among the others of its row."""

    capabilities = Capabilities(gives_parts=True, compares=True)

    def score_parts(self, requests):
        return [list(map(RewardParts, row)) for row in self.score_requests(requests)]

    def score_requests(self, requests):
        if any(len(request.completions) < 2 for request in requests):
            raise ScoringError("one answer cannot be compared")
        return [[float(sorted(r.completions).index(c)) for c in r.completions] for r in requests]

    def encode(self, request):
        raise AssertionError("one answer alone has no reward")


class Cutter(RefusingLetters):
    """Keeps the end of a prompt that is too long."""

    truncation = "truncate_prompt"

    def fit(self, request, truncation=None, limit=None):
        if any(len(text) > self.max_length for text in request.completions):
            raise TooLongError("the answer alone is too long", "41")
        return super().fit(request, truncation, limit)


def named(rows):
    return [(f"row {i}", row) for i, row in enumerate(rows, 1)]


def test_rows_of_one_prompt_are_one_group_and_keep_their_places():
    model = RefusingLetters()
    rows = [{"prompt": p, "completion": c} for p, c in (("q", "a"), ("r", "b"), ("q", "c"))]
    assert [v.rewards for v in score_entries(model, named(rows))] == [
        (pytest.approx((ord(r["prompt"]) + ord(r["completion"])) / 7),) for r in rows
    ]
    assert model.groups == [[2, 1]]


def test_the_row_that_fails_is_found_among_the_others():
    rows = [{"text": "Z" if i == 5 else f"t{i}"} for i in range(9)]
    verdicts = score_entries(RefusingLetters(), named(rows))
    assert [i for i, v in enumerate(verdicts) if v.reason] == [5]
    assert verdicts[5].message == "row 6: a reward is not finite"


def test_a_comparer_sees_row_after_row():
    rows = [{"prompt": "q", "completions": ["b", "a"]}, {"prompt": "q", "completion": "a"}]
    first, second = score_entries(Comparer(), named(rows))
    assert first.rewards == (1.0, 0.0)
    assert second.reason == "cannot be scored"


def test_a_long_row_is_an_error_with_its_reason_unless_cutting_is_asked_for():
    rows = named([{"prompt": "p" * 50, "completion": "a"}, {"prompt": "p", "completion": "a"}])
    long, short = score_entries(RefusingLetters(), rows)
    assert (long.reason, long.rewards, short.reason) == ("too long", (), None)
    assert (
        long.message == "row 1: 51 tokens, the model reads 40; shorten the text, or cut prompts with --truncate-prompt"
    )
    cut, whole = score_entries(Cutter(), rows)
    assert cut.rewards == (pytest.approx((39 * ord("p") + ord("a")) / 7),)
    assert (cut.cut, whole.cut, whole.rewards) == (1, 0, short.rewards)


def test_an_answer_that_is_too_long_stays_an_error_when_prompts_are_cut():
    rows = [{"prompt": "p", "completions": ["a", "b" * 41]}, {"prompt": "p", "completion": "a"}]
    long, short = score_entries(Cutter(), named(rows))
    assert (long.reason, long.message) == ("too long", "row 1: the answer alone is too long")
    assert short.reason is None


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
