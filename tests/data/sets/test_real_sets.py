"""Every set of real data: read by its columns and by name, its counts are those of the published set."""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from rewardsmith.cli.main import main
from rewardsmith.data import load_preferences
from rewardsmith.errors import DataError

pytestmark = pytest.mark.data


@dataclass(frozen=True)
class Set:
    """What one set holds: rows, comparisons and ties in them, prompts after merging, and rows left out by reason."""

    path: str
    reader: str
    rows: int
    comparisons: int
    ties: int
    prompts: int
    dropped: dict = field(default_factory=dict)
    groups: int | None = None
    is_named: bool = False


HH = "hh-rlhf/helpful-{}-test.jsonl.gz"
SETS = [
    Set(HH.format("base"), "hh-rlhf", 2354, 2335, 2, 2335, {"turns do not alternate": 15, "empty turn": 4}, None, True),
    Set(HH.format("rejection-sampled"), "hh-rlhf", 2749, 2746, 32, 2745, {"turns do not alternate": 3}, None, True),
    Set("ukp-convarg1", "ukp-convarg1", 11650, 11650, 0, 32),
    Set("wmt19-darr/kk-en.jsonl", "wmt-darr", 9728, 9728, 0, 964),
    Set("wmt19-darr/gu-en.jsonl", "wmt-darr", 20110, 20110, 0, 1016),
    Set("rmb/Pairwise_set", "rmb", 4774, 4774, 2, 1077),
    Set("rmb/BoN_set", "rmb", 1306, 3056, 0, 924),
    Set("finegrained-rlhf", "finegrained-rlhf", 500, 3000, 384, 500),
    Set("dsp/webgpt.test.json", "webgpt-dsp", 901, 901, 245, 901),
    Set("dsp/domain_specific_preference.test.json", "dsp", 661, 0, 0, 661),
    Set("pandalm", "pandalm", 999, 2979, 322, 170, {"boolean answer": 6}),
    Set("llmbar/LLMBar/Natural", "llmbar", 100, 100, 0, 100),
    Set("llmbar/Processed", "llmbar", 466, 466, 1, 339),
    Set("evalbiasbench", "evalbiasbench", 80, 80, 0, 79),
    Set("summeval", "summeval", 100, 12000, 716, 100),
    Set("unieval", "topical-chat", 360, 900, 66, 60, groups=60),
    Set("llm-summarization", "llm-summarization", 599, 599, 117, 76),
    Set("dices", "dices", 990, 0, 0, 984, {"empty turn": 4}),
    Set("gsm8k-solutions", "gsm8k-solutions", 1319, 2429, 0, 1319),
    Set("big-bench-mistake", "big-bench-mistake", 2186, 0, 0, 2186),
    Set("reasoneval", "reasoneval", 459, 0, 0, 286),
]
names = pytest.mark.parametrize("real", SETS, ids=lambda real: real.path)


@names
def test_the_counts_are_those_of_the_published_set(real, real_data):
    path = real_data / real.path
    data = load_preferences(path, reader=real.reader if real.is_named else None, merge_prompts=False)
    assert len(data) == (real.groups or real.rows - sum(real.dropped.values()))
    assert sum(len(group.comparisons) for group in data) == real.comparisons
    assert sum(group.num_ties for group in data) == real.ties
    assert set(data.report.examples) == set(real.dropped)
    merged = load_preferences(path, reader=real.reader)
    assert len(merged) == real.prompts
    assert sum(len(group.comparisons) for group in merged) == real.comparisons
    for report in (data.report, merged.report):
        assert report.reader == real.reader
        assert (report.rows, dict(report.dropped)) == (real.rows, real.dropped)


def test_dialogues_of_hh_rlhf_become_messages_and_without_the_reader_a_note_says_so(real_data):
    path = real_data / HH.format("base")
    data = load_preferences(path, reader="hh-rlhf")
    assert {group.prompt[0].role for group in data} == {"user"}
    assert {message.role for group in data for message in group.prompt} == {"user", "assistant"}
    assert all(side[-1].role == "assistant" for group in data for side in group.completions)
    assert data[0].metadata["subset"] == "helpful-base"
    (note,) = load_preferences(path).report.notes
    assert "--reader hh-rlhf" in note


def test_inspect_prints_the_note_on_the_choice_of_the_reader(real_data, capsys):
    assert main(["data", "inspect", str(real_data / HH.format("base")), "--limit", "20"]) == 0
    assert "note: the texts are dialogues in the layout of HH-RLHF" in capsys.readouterr().err


def test_a_folder_of_two_data_sets_asks_which(real_data):
    with pytest.raises(DataError, match=r"webgpt-dsp \(webgpt.test.json\); name one with --reader, or give one file"):
        load_preferences(real_data / "dsp")
    assert len(load_preferences(real_data / "dsp", reader="dsp")) == 661


def test_a_file_without_judgements_is_refused(real_data):
    with pytest.raises(DataError, match=r"dev.json:row 1: the columns .* fit no format"):
        load_preferences(real_data / "finegrained-rlhf" / "dev.json")


def test_ties_by_majority_of_pandalm_are_those_of_its_table(real_data):
    data = load_preferences(real_data / "pandalm", merge_prompts=False)
    assert Counter(group.metadata["majority"] for group in data) == {0: 105, 1: 418, 2: 470}


def test_rows_of_several_raters_name_them(real_data):
    data = load_preferences(real_data / "llm-summarization")
    raters = {c.annotator for group in data for c in group.comparisons}
    assert len(raters) > 3
    assert None not in raters


def test_rater_shares_of_dices_sum_to_one(real_data):
    for group in load_preferences(real_data / "dices"):
        shares = [group.ratings[name] for name in ("unsafe", "safe", "unsure")]
        assert all(abs(sum(column) - 1) < 1e-9 for column in zip(*shares, strict=True))


@pytest.mark.parametrize("path", ["pandalm", "dices", "big-bench-mistake", "unieval"])
def test_every_set_converts_without_loss_from_the_command_line(path, real_data, tmp_path, capsys):
    out = tmp_path / "all.jsonl"
    assert main(["data", "convert", str(real_data / path), "--to", "jsonl", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    before = load_preferences(real_data / path, merge_prompts=False)
    assert "lost: nothing" in said
    for reason, count in before.report.dropped.items():
        assert f"dropped {count} ({reason})" in said
    assert list(load_preferences(out, merge_prompts=False)) == list(before)
