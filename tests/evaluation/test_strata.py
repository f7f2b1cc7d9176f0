"""Where groups belong, and in what order their strata stand."""

from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.strata import AXES, split_by, stratum
from rewardsmith.records import Comparison, Message, PreferenceGroup


def scored(prompt="p", completions=("a", "b"), **fields):
    group = PreferenceGroup(prompt, completions, (Comparison(0, 1),), **fields)
    return ScoredGroup(group, tuple(0.0 for _ in completions))


def test_source_subset_and_language_come_from_the_group():
    item = scored(source="hh", metadata={"subset": "chat", "language": "de"})
    assert [stratum(item.group, axis) for axis in AXES[:3]] == ["hh", "chat", "de"]
    assert stratum(scored().group, "language") is None


def test_lengths_stand_in_order_of_length():
    items = [scored(completions=("x" * size, "x" * size)) for size in (5000, 20, 3000, 500)]
    assert list(split_by(items, "length")) == [
        "0-199 characters",
        "200-999 characters",
        "1000-3999 characters",
        "4000+ characters",
    ]


def test_turns_are_what_people_said_in_messages_and_in_dialogues():
    turns = [Message("user", "q"), Message("assistant", "a")] * 2 + [Message("user", "q")]
    assert stratum(scored(tuple(turns)).group, "turns") == "2-3 turns"
    dialogue = "\n\nHuman: q\n\nAssistant: a" * 4
    assert stratum(scored("", (dialogue + " x", dialogue + " y")).group, "turns") == "4+ turns"
    assert stratum(scored().group, "turns") == "1 turn"


def test_groups_without_the_axis_are_left_out():
    assert split_by([scored(), scored(source="a")], "source").keys() == {"a"}
