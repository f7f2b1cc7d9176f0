"""Rows of training tools in their documented forms."""

import json

import pytest

from rewardsmith.data import load_preferences, parse_row
from rewardsmith.data.formats import FORMATS, llamafactory
from rewardsmith.errors import DataError
from rewardsmith.records import Comparison, Message, PreferenceGroup

ALPACA = {"instruction": "Add", "input": "1+1", "system": "be brief", "chosen": "2", "rejected": "3"}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "hi"},
        {"from": "gpt", "value": "yes?"},
        {"from": "human", "value": "q"},
    ],
    "chosen": {"from": "gpt", "value": "good"},
    "rejected": {"from": "gpt", "value": "bad"},
}


def said(*turns):
    return tuple(Message(role, text) for role, text in turns)


def test_alpaca_rows_join_instruction_input_and_history():
    group = parse_row({**ALPACA, "history": [["before", "answer"]]})
    assert group.prompt == said(
        ("system", "be brief"), ("user", "before"), ("assistant", "answer"), ("user", "Add\n1+1")
    )
    assert group.completions == (said(("assistant", "2")), said(("assistant", "3")))


def test_sharegpt_rows_turn_tags_into_roles():
    group = parse_row(SHAREGPT)
    assert group.prompt == said(("user", "hi"), ("assistant", "yes?"), ("user", "q"))
    assert group.comparisons == (Comparison(0, 1),)
    with pytest.raises(DataError, match=r"conversations\[0\] is from 'robot'"):
        parse_row({**SHAREGPT, "conversations": [{"from": "robot", "value": "x"}]})


def test_llamafactory_refuses_what_it_would_leave_out():
    sides = (said(("assistant", "a")), said(("assistant", "b")))
    for prompt in ("", said(("user", "1"), ("user", "2")), said(("user", "1"), ("assistant", "2"))):
        with pytest.raises(DataError, match="in turn"):
            llamafactory.write_rows(PreferenceGroup(prompt, sides, (Comparison(0, 1),)))


def test_a_registry_renames_columns_and_tags(tmp_path):
    info = {
        "mine": {"file_name": "mine.json", "ranking": True, "columns": {"prompt": "ask", "chosen": "win"}},
        "chat": {
            "file_name": "chat.jsonl",
            "ranking": True,
            "formatting": "sharegpt",
            "columns": {"messages": "turns"},
            "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "u", "assistant_tag": "a"},
        },
        "sft": {"file_name": "sft.json"},
    }
    turn = [{"who": "u", "says": "q"}]
    chat = {"turns": turn, "chosen": {"who": "a", "says": "good"}, "rejected": {"who": "a", "says": "bad"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "mine.json").write_text(json.dumps([{"ask": "q", "win": "good", "rejected": "bad"}]))
    (tmp_path / "chat.jsonl").write_text(json.dumps(chat) + "\n")
    for name in ("mine", "chat"):
        (group,) = load_preferences(tmp_path, split=name)
        assert group.prompt == said(("user", "q"))
        assert group.completions == (said(("assistant", "good")), said(("assistant", "bad")))
    with pytest.raises(DataError, match="mine, chat; name one"):
        load_preferences(tmp_path)


def test_rows_of_openrlhf_and_open_instruct_are_pairs_of_conversations():
    sides = {
        "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}],
        "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bad"}],
    }
    for name in ("openrlhf", "open-instruct", "trl", None):
        group = parse_row({**sides, "margin": 1.5}, format=name)
        assert group.prompt == said(("user", "q"))
        assert group.comparisons == (Comparison(0, 1, margin=1.5),)


def test_the_page_of_the_docs_names_every_format(repository):
    page = (repository / "docs" / "data.md").read_text()
    assert [name for name in FORMATS if f"`{name}`" not in page] == ["trl", "openrlhf", "open-instruct"]


def test_a_list_of_turns_is_several_answers():
    turns = {"conversations": [{"from": "human", "value": "p"}], "chosen": {"from": "gpt", "value": "a"}}
    group = parse_row({**turns, "rejected": [{"from": "gpt", "value": "b"}, {"from": "gpt", "value": "c"}]})
    assert [c[0].content for c in group.completions] == ["a", "b", "c"]
    assert len(group.comparisons) == 2
