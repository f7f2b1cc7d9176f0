"""Dialogues in one text with marked turns, compared in pairs or ranked."""

import json
from datetime import UTC, datetime

import pytest
from published_pairs import bot, user
from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.data.sets.entry import subset_of
from rewardsmith.records import Comparison, Message

HH = ROWS["hh-rlhf"][0]


def test_the_turns_that_both_begin_with_are_the_prompt(read_published):
    (group,) = read_published("hh-rlhf", [HH])
    assert [(m.role, m.content) for m in group.prompt] == [
        ("user", "Name a river."),
        ("assistant", "Which land?"),
        ("user", "France."),
    ]
    assert group.completions == ((Message("assistant", "The Loire."),), (Message("assistant", "Paris."),))
    assert (group.comparisons[0].better, group.comparisons[0].worse) == (0, 1)


def test_identical_sides_are_a_tie_and_faulty_turns_are_counted(read_dirty):
    same = {"chosen": HH["chosen"], "rejected": HH["chosen"]}
    twice = {**HH, "chosen": "\n\nHuman: a\n\nHuman: b\n\nAssistant: c"}
    silent = {**HH, "rejected": "\n\nHuman: a\n\nAssistant:"}
    open_end = {**HH, "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c"}
    headless = {**HH, "chosen": "\n\nAssistant: a"}
    found = read_dirty("hh-rlhf", [same, twice, silent, open_end, headless, {**HH, "chosen": "no marks"}])
    assert [group.num_ties for group in found.groups] == [1]
    assert found.reasons == {
        "turns do not alternate": 1,
        "empty turn": 1,
        "last turn is not the assistant's": 1,
        "first turn is not the user's": 1,
        "no dialogue": 1,
    }
    assert found.errors[0].startswith("row 2: chosen: turns do not alternate")


def test_all_subsets_of_the_published_folders_are_read(tmp_path):
    subsets = ("helpful-base", "helpful-rejection-sampled", "helpful-online", "harmless-base")
    for name in subsets:
        folder = tmp_path / name
        folder.mkdir()
        for split in ("train", "test"):
            (folder / f"{split}.jsonl").write_text(f'{{"chosen": {_text(name)}, "rejected": {_text(split)}}}\n')
    (tmp_path / "red-team-attempts").mkdir()
    (tmp_path / "red-team-attempts" / "red_team_attempts.jsonl").write_text('{"transcript": "x"}\n')
    data = load_preferences(tmp_path, reader="hh-rlhf", split="train", merge_prompts=False)
    assert sorted(group.metadata["subset"] for group in data) == sorted(subsets)
    (one,) = load_preferences(tmp_path / "harmless-base", reader="hh-rlhf", split="test")
    assert one.completions[0][0].content == "harmless-base"


def test_a_place_names_its_subset():
    assert subset_of("helpful-base/train.jsonl.gz:row 3") == "helpful-base"
    assert subset_of("helpful-base-test.jsonl.gz:row 3") == "helpful-base"
    assert subset_of("Anthropic/hh-rlhf/helpful-base:row 0") == "helpful-base"
    assert subset_of("train-00000-of-00001.parquet:row 1") == ""
    assert subset_of("row 0") == ""


def _text(answer):
    return f'"\\n\\nHuman: q\\n\\nAssistant: {answer}"'


ROW = ROWS["nectar"][0]


def test_seven_ranked_answers_give_every_pair(read_published):
    (group,) = read_published("nectar", [ROW])
    assert [(m.role, m.content) for m in group.prompt] == [
        ("user", "Hi."),
        ("assistant", "Hello."),
        ("user", "Name a river."),
    ]
    assert len(group) == 7
    assert len(group.comparisons) == 21
    assert all(c.better < c.worse and c.margin is None for c in group.comparisons)
    assert group.models[0] == "m1"


def test_equal_ranks_tie_and_faults_are_counted(read_dirty):
    even = {**ROW, "answers": [{**answer, "rank": 1.0} for answer in ROW["answers"][:2]]}
    alone = {**ROW, "answers": ROW["answers"][:1]}
    mute = {**ROW, "answers": [{**ROW["answers"][0], "answer": ""}, *ROW["answers"][1:]]}
    found = read_dirty("nectar", [even, alone, mute, {**ROW, "prompt": "\n\nAssistant: "}])
    assert found.groups[0].comparisons == (Comparison(0, 1, "tie"),)
    assert found.reasons["too few completions"] == found.reasons["empty completion"] == 1
    assert sum(found.reasons.values()) == 3


VOTE = ROWS["chatbot-arena"][0]


def test_a_vote_names_models_judge_and_time(read_published):
    (group,) = read_published("chatbot-arena", [VOTE])
    assert [m.content for m in group.prompt] == ["2+2?"]
    assert [side[0].content for side in group.completions] == ["4", "5"]
    (vote,) = group.comparisons
    assert (vote.better, vote.worse, vote.annotator) == (1, 0, "arena_user_1")
    assert vote.time.startswith("2023-04-24T15:53:11")
    assert group.models == ("alpha", "beta")


@pytest.mark.parametrize("winner", ["tie", "tie (bothbad)"])
def test_ties_are_kept_and_both_bad_is_marked(winner, read_published):
    (group,) = read_published("arena-100k", [{**ROWS["arena-100k"][0], "winner": winner}])
    assert group.comparisons[0].outcome == "tie"
    assert group.metadata["winner"] == winner


def test_content_in_parts_becomes_text(read_published):
    (group,) = read_published("arena-140k", ROWS["arena-140k"])
    assert [side[0].content for side in group.completions] == ["3", "5"]
    assert group.metadata["winner"] == "both_bad"
    assert group.comparisons[0].time == "2025-06-01T10:00:00"


def test_turns_of_kaggle_are_interleaved(read_published):
    (group,) = read_published("arena-55k", ROWS["arena-55k"])
    assert [m.content for m in group.prompt] == ["2+2?", "4", "and 3+3?"]
    assert [side[0].content for side in group.completions] == ["6", "7"]
    assert group.comparisons == (Comparison(0, 1),)


def test_an_mt_bench_vote_on_the_first_turn_is_cut_after_it(read_published):
    row = ROWS["mt-bench-human"][0]
    first, whole = read_published("mt-bench-human", [row, {**row, "turn": 2}])
    assert [side[-1].content for side in first.completions] == ["4", "5"]
    assert [side[-1].content for side in whole.completions] == ["6", "6"]
    assert [len(side) for side in whole.completions] == [3, 3]


def test_dirty_rows_are_counted(read_dirty):
    twice = {**VOTE, "conversation_a": [user("a"), user("b"), bot("c")]}
    found = read_dirty("chatbot-arena", [{**VOTE, "winner": "both"}, twice, {**VOTE, "conversation_b": []}, VOTE])
    assert found.reasons == {"unknown label": 1, "turns do not alternate": 1, "empty list": 1}
    kaggle = ROWS["arena-55k"][0]
    bad = [{**kaggle, "winner_tie": 1}, {**kaggle, "response_a": '["4"]'}, {**kaggle, "response_b": '["4", null]'}]
    assert read_dirty("arena-55k", [*bad, kaggle]).reasons == {"unknown label": 1, "wrong length": 1, "null value": 1}


def test_times_of_a_table_become_text():
    row = {**ROWS["arena-140k"][0], "timestamp": datetime(2025, 6, 1, 10, tzinfo=UTC)}
    (group,) = load_preferences([row], reader="arena-140k")
    assert group.comparisons[0].time == "2025-06-01T10:00:00+00:00"
    json.dumps(dict(group.metadata))
