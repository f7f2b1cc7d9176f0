"""Marks that name a label, answers inside answers, words that decide, prompts on two sides: by hand."""

import pytest

from rewardsmith.data.checks.leaks import PromptPlaces, Tell, Tells, holds_whole, label_in, split_of


@pytest.mark.parametrize(
    "text",
    [
        "[CHOSEN] Paris is the capital.",
        "Rejected: Lyon is the capital.",
        "### Chosen response: Paris.",
        "<preferred>Paris.</preferred>",
        "Paris is the capital, and has been so since the year 508, with a few interruptions. (label: chosen)",
        "label=1 Paris.",
        "Paris. {rejected}",
    ],
)
def test_a_mark_at_either_end_is_found(text):
    assert label_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "I have chosen Paris.",
        "The rejected candidate (chosen by nobody) went home. " * 3,
        "Please read the label [1]",
        "Good: the loser takes nothing, and that is all there is to say about this matter, I think.",
        "",
    ],
)
def test_words_inside_an_answer_are_none(text):
    assert label_in(text) is None


def test_short_and_equal_answers_hold_nothing():
    long = "The tide follows the moon because of gravity, mostly."
    assert holds_whole(f"{long} It also follows the sun.", long)
    assert not holds_whole(long, long)
    assert not holds_whole("Yes, it is.", "Yes")


def test_a_word_that_only_preferred_sides_begin_with_tells_and_others_do_not():
    tells = Tells()
    for number in range(100):
        start = "Certainly!" if number % 2 else f"word{number}"
        tells.add(f"{start} a{number}", f"other{number} b{number}")
    assert tells.find() == [Tell("begins with", "Certainly!", 50, 1.0)]
    assert tells.find(share=0.6) == []


def test_a_word_on_both_sides_or_both_ways_tells_nothing():
    tells = Tells()
    for number in range(100):
        sides = (f"Well, {number}", f"Well, other {number}")
        tells.add(*sides)
        marked = (f"{number} so [end]", f"{number} no")
        tells.add(*(marked if number % 2 else marked[::-1]))
    assert [tell.mark for tell in tells.find()] == []


def test_marks_seen_once_are_forgotten_before_memory_grows():
    tells = Tells()
    tells.MOST_MARKS = 50
    for number in range(400):
        tells.add(f"Sure {number}", f"{number}x {number}y")
    assert len(tells._counts) <= 54
    assert [(tell.mark, tell.count) for tell in tells.find()] == [("Sure", 400)]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.jsonl", "train"),
        ("data/test/part-1.parquet", "test"),
        ("train-set/dev.jsonl", "validation"),
        ("contest.jsonl", None),
        ("", None),
    ],
)
def test_the_name_of_a_file_tells_its_split_before_its_folders(path, split):
    assert split_of(path) == split


def test_prompts_in_several_files_and_splits_are_named_by_rows():
    places = PromptPlaces()
    rows = [
        ("train.jsonl:row 1", "What is it?"),
        ("train.jsonl:row 2", "And that?"),
        ("train.jsonl:row 3", "what IS it"),
        ("train-2.jsonl:row 1", "And that?"),
        ("test.jsonl:row 1", "What is it!"),
        ("other.jsonl:row 1", "And that?"),
        ("test.jsonl:row 2", "?!"),
    ]
    for number, (where, question) in enumerate(rows):
        places.add(number, where, question)
    assert places.in_several_files().count == 2
    shared = places.in_several_splits()
    assert (shared.count, shared.rows) == (1, [0, 2, 4])
    assert [set(pair) for pair in shared.examples] in ([{0, 4}], [{2, 4}])
    assert PromptPlaces().in_several_splits().count == 0
