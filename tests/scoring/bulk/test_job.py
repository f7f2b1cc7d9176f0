"""A scoring job gives every row once, in order, whatever happens to it on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rewardsmith.capabilities import Capabilities
from rewardsmith.errors import CheckpointError, ConfigError, DataError, ScoringError
from rewardsmith.files.reading import read_rows
from rewardsmith.scoring.bulk.entries import score_entries
from rewardsmith.scoring.bulk.job import BulkJob, score_file
from rewardsmith.scoring.bulk.ledger import Ledger, Shard, Verdict
from rewardsmith.scoring.bulk.rows import hash_files
from rewardsmith.scoring.scorer import fit_completions

PRINTS = {"model": "m", "template": "t", "dtype": "float32"}


class LetterModel:
    """Rewards a text by its letters; refuses groups that hold the letter Z, as a model does with NaN."""

    capabilities = Capabilities(scores_ids=True, max_length=40)
    truncation = "error"

    def __init__(self):
        self.calls = 0

    def encode(self, request):
        return [[ord(letter) for letter in request.prompt + text] for text in request.completions]

    def fit(self, request, truncation=None, limit=None):
        return fit_completions(lambda p, c: list(map(ord, p + c)), request, 40)

    def score_encoded(self, groups):
        self.calls += 1
        if any(ord("Z") in sequence for group in groups for sequence in group):
            raise ScoringError("a reward is not finite")
        return [[sum(sequence) / 7 for sequence in group] for group in groups]


def reward(text):
    return sum(map(ord, text)) / 7


def write(path, rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


ROWS = [{"id": i, "prompt": f"q{i % 3} ", "completion": f"answer {i}"} for i in range(23)]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def source(tmp_path):
    rows = [*ROWS[:5], "{broken\n", {"prompt": "q", "completion": "Z"}, {"prompt": "q", "completion": "x" * 50}]
    return write(tmp_path / "in.jsonl", [*rows, {"question": "q"}, *ROWS[5:]])


def test_every_form_of_row_gets_its_columns():
    rows = [
        {"prompt": "ab", "completion": "c"},
        {"prompt": "ab", "completions": ["c", "d"]},
        {"prompt": "ab", "chosen": "c", "rejected": "d"},
        {"chosen": "abc", "rejected": "abd"},
        {"text": "abc"},
    ]
    verdicts = score_entries(LetterModel(), [(f"row {i}", row) for i, row in enumerate(rows)])
    c, d = reward("abc"), reward("abd")
    assert [v.rewards for v in verdicts] == [(c,), (c, d), (c, d), (c, d), (c,)]


def test_rows_that_cannot_be_scored_are_kept_with_their_reason(source, tmp_path):
    out = tmp_path / "out.jsonl"
    report = score_file(LetterModel(), BulkJob(source, out, rows_per_part=4), PRINTS)
    assert (report.rows, report.scored) == (27, 23)
    assert report.failed == {"broken JSON": 1, "cannot be scored": 1, "too long": 1, "unknown columns": 1}
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows == [{**row, "reward": reward(row["prompt"] + row["completion"])} for row in ROWS]
    errors = [json.loads(line) for line in (tmp_path / "out.jsonl.errors.jsonl").read_text().splitlines()]
    assert [error["where"] for error in errors] == [f"in.jsonl:row {n}" for n in (6, 7, 8, 9)]
    assert errors[1]["row"] == {"prompt": "q", "completion": "Z"}


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.jsonl.zst", "out.json", "out.csv", "out.parquet"])
def test_every_output_holds_the_same_rewards(tmp_path, name):
    rows = [{"prompt": "q, ", "completions": ["a", f'b{i}\n"x"'], "extra": i} for i in range(300)]
    score_file(LetterModel(), BulkJob(write(tmp_path / "in.jsonl", rows), tmp_path / name), PRINTS)
    found = [row for _, row in read_rows(tmp_path / name)]
    rewards = [json.loads(r["rewards"]) if isinstance(r["rewards"], str) else r["rewards"] for r in found]
    assert rewards == [[reward("q, a"), reward("q, " + row["completions"][1])] for row in rows]
    assert [row["completions"] for row in found] == [row["completions"] for row in rows]


class Killed(BaseException):
    """Ends the job where it stands."""


def test_a_job_that_dies_at_any_sync_or_rename_ends_as_if_it_had_not(source, tmp_path, monkeypatch):
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    score_file(LetterModel(), BulkJob(source, whole / "out.jsonl", rows_per_part=4), PRINTS)
    job = BulkJob(source, pieces / "out.jsonl", rows_per_part=4)
    real = {name: getattr(os, name) for name in ("fsync", "replace")}
    calls = {"left": 0}

    def dying(name):
        def call(*arguments):
            calls["left"] -= 1
            if calls["left"] < 0:
                raise Killed
            return real[name](*arguments)

        return call

    for name in real:
        monkeypatch.setattr(os, name, dying(name))
    deaths = 0
    while True:
        # Each life is one step longer, so that the deaths fall on different steps.
        calls["left"] = 1 + deaths
        try:
            report = score_file(LetterModel(), job, PRINTS)
            break
        except Killed:
            deaths += 1
            assert deaths < 100
    assert deaths > 5
    assert contents(pieces) == contents(whole)
    assert report.scored == 23


def test_finished_parts_are_not_scored_again_and_damaged_ones_are(source, tmp_path):
    job = BulkJob(source, tmp_path / "out.jsonl", rows_per_part=20)
    score_file(LetterModel(), job, PRINTS)
    before = contents(tmp_path)
    again = LetterModel()
    assert score_file(again, job, PRINTS).reused == 27
    assert again.calls == 0
    part = job.ledger_folder / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:-30])
    assert score_file(again, job, PRINTS).reused == 20
    assert again.calls == 1
    assert contents(tmp_path) == before


def test_what_killed_processes_left_in_the_ledger_is_gone_at_the_end(source, tmp_path):
    job = BulkJob(source, tmp_path / "out.jsonl", rows_per_part=20)
    (job.ledger_folder / ".attempts-x").mkdir(parents=True)
    (job.ledger_folder / ".attempts-x" / "0").write_bytes(b".")
    (job.ledger_folder / ".part-000000-x.part").write_bytes(b"half")
    score_file(LetterModel(), job, PRINTS)
    names = sorted(path.name for path in job.ledger_folder.iterdir())
    assert names == ["manifest.json", "part-000000.parquet", "part-000001.parquet"]


def test_shards_in_any_order_give_the_output_of_one_process(source, tmp_path):
    score_file(LetterModel(), BulkJob(source, tmp_path / "one" / "out.jsonl", rows_per_part=4), PRINTS)
    waiting = []
    for text in ("2/3", "0/3", "1/3"):
        job = BulkJob(source, tmp_path / "three" / "out.jsonl", rows_per_part=4, shard=Shard.parse(text))
        waiting.append(score_file(LetterModel(), job, PRINTS).waiting)
        assert not job.out.exists()
    assert waiting == [5, 2, 0]
    last = LetterModel()
    score_file(last, BulkJob(source, tmp_path / "three" / "out.jsonl", rows_per_part=4), PRINTS)
    assert last.calls == 0
    assert contents(tmp_path / "three") == contents(tmp_path / "one")


@pytest.mark.parametrize("text", ["3/3", "1", "a/b", "-1/2", "0/0"])
def test_a_wrong_shard_is_refused(text):
    with pytest.raises(ConfigError, match="i/n"):
        Shard.parse(text)


@pytest.mark.parametrize("name", ["model", "template", "dtype"])
def test_another_model_is_refused(source, tmp_path, name):
    job = BulkJob(source, tmp_path / "out.jsonl")
    score_file(LetterModel(), job, PRINTS)
    with pytest.raises(CheckpointError, match=f"another {name}.*--overwrite"):
        score_file(LetterModel(), job, {**PRINTS, name: "changed"})


def test_another_input_or_option_is_refused_unless_overwritten(source, tmp_path):
    out = tmp_path / "out.jsonl"
    score_file(LetterModel(), BulkJob(source, out), PRINTS)
    with pytest.raises(ConfigError, match="another options"):
        score_file(LetterModel(), BulkJob(source, out, column="r"), PRINTS)
    write(source, ROWS[:2])
    with pytest.raises(ConfigError, match="another input"):
        score_file(LetterModel(), BulkJob(source, out), PRINTS)
    score_file(LetterModel(), BulkJob(source, out, overwrite=True), PRINTS)
    assert len(out.read_text().splitlines()) == 2
    assert not (tmp_path / "out.jsonl.errors.jsonl").exists()


def test_files_that_are_there_are_never_lost(source, tmp_path):
    out = write(tmp_path / "out.jsonl", ["mine\n"])
    with pytest.raises(ConfigError, match="exists already"):
        score_file(LetterModel(), BulkJob(source, out), PRINTS)
    assert out.read_text() == "mine\n"
    with pytest.raises(ConfigError, match="change the input"):
        BulkJob(source, source)
    with pytest.raises(ConfigError, match="unknown kind of output"):
        BulkJob(source, tmp_path / "out.txt")
    taken = write(tmp_path / "taken.jsonl", [{"text": "a", "reward": 1}])
    with pytest.raises(ConfigError, match="--column"):
        score_file(LetterModel(), BulkJob(taken, tmp_path / "new.jsonl"), PRINTS)


def test_a_ledger_reads_only_its_own_whole_parts(tmp_path):
    ledger = Ledger.open(tmp_path / "a", PRINTS, 3, 2)
    assert [ledger.size_of(part) for part in range(ledger.num_parts)] == [2, 1]
    verdicts = [Verdict("r 1", (0.1, float("inf"))), Verdict("r 2", (), "too long", "r 2: too long")]
    ledger.write(0, verdicts)
    assert ledger.read(0) == verdicts
    assert ledger.missing() == [1]
    with pytest.raises(CheckpointError, match="missing or damaged"):
        list(ledger.verdicts())
    other = Ledger.open(tmp_path / "b", {**PRINTS, "model": "other"}, 3, 2)
    ledger.path_of(0).rename(other.path_of(0))
    assert pq.read_table(other.path_of(0)).num_rows == 2
    assert other.read(0) is None


def test_the_hash_of_a_folder_sees_names_and_contents(tmp_path):
    write(tmp_path / "a", ["1"])
    first = hash_files(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_files(tmp_path) != first
    with pytest.raises(ConfigError, match="no such"):
        hash_files(tmp_path / "none")


SCRIPT = """
import sys, time
from pathlib import Path
from rewardsmith.capabilities import Capabilities
from rewardsmith.scoring.bulk.job import BulkJob, score_file
from rewardsmith.scoring.scorer import Fitted

class Slow:
    capabilities = Capabilities(scores_ids=True)
    truncation = "error"
    def encode(self, request):
        return [[ord(c) for c in request.prompt + text] for text in request.completions]
    def fit(self, request, truncation=None, limit=None):
        return Fitted(self.encode(request), [False] * len(request.completions))
    def score_encoded(self, groups):
        time.sleep(0.02)
        return [[sum(s) / 7 for s in group] for group in groups]

print("ready", flush=True)
job = BulkJob(Path(sys.argv[1]), Path(sys.argv[2]), rows_per_part=5)
score_file(Slow(), job, {"model": "m"})
"""


@pytest.mark.slow
def test_sigkill_at_any_moment_loses_no_row_and_doubles_none(tmp_path):
    rows = [{"id": i, "prompt": f"q{i % 9} ", "completion": f"answer {i}"} for i in range(200)]
    source, out = write(tmp_path / "in.jsonl", rows), tmp_path / "run" / "out.jsonl"
    rng, kills = random.Random(0), 0
    while True:
        command = [sys.executable, "-c", SCRIPT, str(source), str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        if kills < 5:
            time.sleep(rng.uniform(0.05, 0.5))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        process.communicate(timeout=120)
        assert process.returncode == 0
        break
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert found == [{**row, "reward": reward(row["prompt"] + row["completion"])} for row in rows]


def test_an_input_rewritten_during_the_run_gives_no_output(tmp_path):
    source, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    other = [{**row, "completion": f"reply  {row['id']}"} for row in ROWS]

    class Rewriting(LetterModel):
        def score_encoded(self, groups):
            if self.calls == 1:
                write(source, other)
            return super().score_encoded(groups)

    with pytest.raises(DataError, match=r"changed while it was scored, at .*; run again with --overwrite"):
        score_file(Rewriting(), BulkJob(source, out, rows_per_part=5), PRINTS)
    assert not out.exists()
    report = score_file(LetterModel(), BulkJob(source, out, rows_per_part=5, overwrite=True), PRINTS)
    assert report.scored == len(ROWS)
    assert [row["reward"] for _, row in read_rows(out)] == [reward(row["prompt"] + row["completion"]) for row in other]


def test_a_second_job_on_one_output_is_told_that_one_is_at_work(tmp_path):
    source, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    said = []

    class Meanwhile(LetterModel):
        def score_encoded(self, groups):
            if not said:
                with pytest.raises(ConfigError, match="another process is scoring into it") as error:
                    score_file(LetterModel(), BulkJob(source, out), PRINTS)
                said.append(str(error.value))
            return super().score_encoded(groups)

    assert score_file(Meanwhile(), BulkJob(source, out), PRINTS).scored == len(ROWS)
    assert "name another output" in said[0]


def test_shards_of_one_job_work_side_by_side(tmp_path):
    source, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    first, second = (BulkJob(source, out, rows_per_part=5, shard=Shard(i, 2)) for i in range(2))

    class Meanwhile(LetterModel):
        def score_encoded(self, groups):
            if self.calls == 0:
                score_file(LetterModel(), second, PRINTS)
            return super().score_encoded(groups)

    assert score_file(Meanwhile(), first, PRINTS).waiting == 0


def test_a_job_that_cannot_begin_leaves_no_folder(tmp_path):
    out = write(tmp_path / "out.jsonl", [{"a": 1}])
    with pytest.raises(ConfigError, match="exists already"):
        score_file(LetterModel(), BulkJob(write(tmp_path / "in.jsonl", ROWS), out), PRINTS)
    assert not (tmp_path / "out.jsonl.ledger").exists()


def test_a_limit_reads_only_the_first_rows(tmp_path):
    source, out = write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    report = score_file(LetterModel(), BulkJob(source, out, limit=7), PRINTS)
    assert (report.rows, report.scored) == (7, 7)
    with pytest.raises(ConfigError, match="begun with another options"):
        score_file(LetterModel(), BulkJob(source, out), PRINTS)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_an_answer_without_a_reward_is_null_in_every_output_and_counted(tmp_path, name):
    rows = [{"prompt": "q", "completions": [None, "b"]}, {"prompt": "q", "completions": ["x" * 50, "c"]}] * 3
    rows += [{"prompt": "q", "completions": [None, None]}]
    source, out = write(tmp_path / "in.jsonl", rows), tmp_path / name
    report = score_file(LetterModel(), BulkJob(source, out, rows_per_part=2), PRINTS)
    assert (report.rows, report.scored, report.answers_lost) == (7, 6, {"null value": 3, "too long": 3})
    assert sum(report.failed.values()) == 1
    found = [row["rewards"] for _, row in read_rows(out)]
    found = [json.loads(cell) if isinstance(cell, str) else cell for cell in found]
    assert found == [[None, reward("qb")], [None, reward("qc")]] * 3
    errors = [json.loads(line) for line in Path(f"{out}.errors.jsonl").read_text().splitlines()]
    assert [error.get("answer") for error in errors] == ["completions[0]"] * 6 + [None]
    assert errors[1]["message"].startswith("in.jsonl:row 2: 51 tokens, the model reads 40")
    shown = report.lines(Path(f"{out}.errors.jsonl"))
    assert any("3 single answers (null value), their rewards are null" in line for line in shown)


@pytest.mark.parametrize("first", [0, 1])
def test_a_pair_without_one_side_has_a_null_of_a_number_in_parquet(tmp_path, first):
    rows = [{"prompt": "q", "chosen": "a", "rejected": None}] * 300 + [{"prompt": "q", "chosen": "a", "rejected": "b"}]
    source, out = write(tmp_path / "in.jsonl", rows[::-1] if first else rows), tmp_path / "out.parquet"
    score_file(LetterModel(), BulkJob(source, out), PRINTS)
    table = pq.read_table(out)
    assert str(table.schema.field("rejected_reward").type) == "double"
    assert table["rejected_reward"].null_count == 300
    assert table["chosen_reward"].null_count == 0


def test_lost_answers_survive_a_resume_and_shards(tmp_path):
    rows = [{"prompt": "q", "completions": [f"a{i}", None if i % 2 else "b"]} for i in range(10)]
    source = write(tmp_path / "in.jsonl", rows)
    whole = score_file(LetterModel(), BulkJob(source, tmp_path / "whole.jsonl", rows_per_part=3), PRINTS)
    for index in range(2):
        job = BulkJob(source, tmp_path / "parts.jsonl", rows_per_part=3, shard=Shard(index, 2))
        score_file(LetterModel(), job, PRINTS)
    parts = score_file(LetterModel(), BulkJob(source, tmp_path / "parts.jsonl", rows_per_part=3), PRINTS)
    assert (parts.reused, parts.answers_lost) == (10, whole.answers_lost)
    for suffix in ("", ".errors.jsonl"):
        found = [(tmp_path / f"{name}.jsonl{suffix}").read_text() for name in ("whole", "parts")]
        assert found[0] == found[1] != ""
