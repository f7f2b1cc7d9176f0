import json
from datetime import UTC, datetime

import pytest
from published_pairs import bot, user
from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.records import Comparison

ROW = ROWS["chatbot-arena"][0]


def test_a_vote_names_models_judge_and_time(read_published):
    (group,) = read_published("chatbot-arena", [ROW])
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
    twice = {**ROW, "conversation_a": [user("a"), user("b"), bot("c")]}
    found = read_dirty("chatbot-arena", [{**ROW, "winner": "both"}, twice, {**ROW, "conversation_b": []}, ROW])
    assert found.reasons == {"unknown label": 1, "turns do not alternate": 1, "empty list": 1}
    kaggle = ROWS["arena-55k"][0]
    bad = [{**kaggle, "winner_tie": 1}, {**kaggle, "response_a": '["4"]'}, {**kaggle, "response_b": '["4", null]'}]
    assert read_dirty("arena-55k", [*bad, kaggle]).reasons == {"unknown label": 1, "wrong length": 1, "null value": 1}


def test_times_of_a_table_become_text():
    row = {**ROWS["arena-140k"][0], "timestamp": datetime(2025, 6, 1, 10, tzinfo=UTC)}
    (group,) = load_preferences([row], reader="arena-140k")
    assert group.comparisons[0].time == "2025-06-01T10:00:00+00:00"
    json.dumps(dict(group.metadata))
