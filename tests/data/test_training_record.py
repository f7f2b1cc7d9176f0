import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from rewardsmith.data import training_record
from rewardsmith.data.training_record import ALL, HashSample, Sampler, TrainingRecord, read_training_record
from rewardsmith.errors import CheckpointError
from rewardsmith.records import Message, PreferenceGroup, TokenIds

WORDS = [f"word{i}" for i in range(15)]


def group(prompt, answers=("yes", "no")):
    return PreferenceGroup(prompt, tuple(answers))


def test_a_prompt_is_found_whatever_its_case_punctuation_and_form():
    record = TrainingRecord.of_groups([group("What is the Capital of France?")])
    assert record.has_prompt(group("what is  the capital of france")) is True
    assert (
        record.has_prompt(group((Message("system", "Be brief."), Message("user", "What is the capital of France"))))
        is True
    )
    assert record.has_prompt(group("What is the capital of Spain?")) is False


def test_runs_of_thirteen_words_are_found_in_prompts_and_in_answers():
    record = TrainingRecord.of_groups([group("Tell me.", ("no", "I say " + " ".join(WORDS)))])
    # Fifteen words have three runs of thirteen, all of them in the answer.
    assert record.shared_runs(group(" ".join(WORDS).upper())) == (3, 3)
    assert record.shared_runs(group("Name: " + " ".join(WORDS[:13]))) == (1, 2)
    assert record.shared_runs(group(" ".join(WORDS[:12]))) == (0, 0)


def test_a_group_without_prompt_or_without_text_is_counted_and_never_found():
    record = TrainingRecord.of_groups([group(""), PreferenceGroup("", (TokenIds((1, 2)), TokenIds((1, 3))))])
    assert (record.groups, record.without_text) == (1, 1)
    assert record.has_prompt(PreferenceGroup("", ("alpha", "beta"))) is not True


def test_of_more_hashes_than_fit_the_lowest_stay_and_the_limit_tells_the_share():
    sampler = Sampler(100)
    generator = np.random.default_rng(0)
    values = generator.integers(0, ALL, size=50_000, dtype=np.uint64)
    for part in np.split(values, 50):
        sampler.add(part)
    sample = sampler.sample()
    np.testing.assert_array_equal(sample.hashes, np.sort(values)[:100])
    assert sample.limit == np.sort(values)[100]
    assert sample.share == pytest.approx(100 / 50_000, rel=0.3)
    assert sample.count(sample.tells(values)) == 100


def test_the_share_of_seen_prompts_is_unbiased_when_the_record_is_a_sample(monkeypatch):
    monkeypatch.setattr(training_record, "MAX_PROMPTS", 500)
    record = TrainingRecord.of_groups(group(f"question number {i}") for i in range(4000))
    assert record.prompts.share == pytest.approx(0.125, rel=0.25)
    # Half of these were trained on.
    told = [record.has_prompt(group(f"question number {i}")) for i in range(2000, 6000)]
    decided = [found for found in told if found is not None]
    assert abs(len(decided) / 4000 - record.prompts.share) < 0.02
    assert abs(np.mean(decided) - 0.5) < 4 * np.sqrt(0.25 / len(decided))


def test_a_saved_record_reads_back_in_another_process(tmp_path):
    record = TrainingRecord.of_groups([group(f"How do I mend a {thing}?", (" ".join(WORDS), "no")) for thing in WORDS])
    path = record.save(tmp_path)
    again = read_training_record(tmp_path)
    assert again is not None
    np.testing.assert_array_equal(again.prompts.hashes, record.prompts.hashes)
    assert (again.groups, again.ngrams.limit) == (15, ALL)
    code = (
        "import sys; from rewardsmith.data.training_record import read_training_record as r;"
        "from rewardsmith.records import PreferenceGroup as G;"
        "print(r(sys.argv[1]).has_prompt(G('how do I mend a WORD9', ('a', 'b'))),"
        f"r(sys.argv[1]).shared_runs(G({' '.join(WORDS)!r}, ('a', 'b'))))"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True (3, 3)"
    # No text is in the file.
    assert "mend" not in path.read_text()


def test_the_file_stays_small_whatever_the_data(tmp_path):
    few_runs = (group(f"question number {i}") for i in range(34_000))
    many_runs = (group("and", (" ".join(map(str, range(i, i + 60))), "no")) for i in range(0, 30_000, 60))
    record = TrainingRecord.of_groups([*few_runs, *many_runs])
    assert record.prompts.share < 1
    assert record.ngrams.share < 1
    assert record.save(tmp_path).stat().st_size < 400_000


def test_no_record_is_none_and_a_broken_one_is_an_error(tmp_path):
    assert read_training_record(tmp_path) is None
    (tmp_path / "training_data.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"training_data\.json cannot be read"):
        read_training_record(tmp_path)
    TrainingRecord.of_groups([group("a b c")]).save(tmp_path)
    values = json.loads((tmp_path / "training_data.json").read_text())
    values["format_version"] = 99
    (tmp_path / "training_data.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="newer"):
        read_training_record(tmp_path)


def test_an_empty_sample_holds_nothing():
    empty = HashSample(np.zeros(0, dtype=np.uint64))
    assert empty.count(np.array([1], dtype=np.uint64)) == 0
    again = HashSample.from_dict(empty.to_dict())
    assert len(again.hashes) == 0


def test_a_record_after_another_tells_of_the_data_of_both():
    first = TrainingRecord.of_groups([group("What is the capital of France?")])
    both = TrainingRecord.of_groups([group("What is the capital of Spain?")]).after(first)
    assert both.groups == 2
    assert both.has_prompt(group("what is the capital of France")) is True
    assert both.has_prompt(group("what is the capital of Spain")) is True
    assert both.has_prompt(group("what is the capital of Peru")) is False
    # Of what a sample left out, the joined one does not tell either.
    few = replace(first, prompts=HashSample(first.prompts.hashes[:0], 1))
    assert both.after(few).has_prompt(group("what is the capital of Spain")) is None
