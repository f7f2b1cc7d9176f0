"""Planted contamination is found, from both sides, and clean data are clean."""

import math

import pytest

from rewardsmith.data.checks.overlap import find_overlap
from rewardsmith.errors import ConfigError
from rewardsmith.records import Comparison, Message, PreferenceGroup

LONG = "Please explain in detail how the old stone bridge over the river Main was built in the year 1133"


def pair(prompt, chosen="yes it is", rejected="no it is not"):
    return PreferenceGroup(prompt, (chosen, rejected), (Comparison(0, 1),))


def unrelated(number):
    return pair(f"Question {number * 7919} concerns topic {number * 104729} only", f"good {number}", f"bad {number}")


def found(train, test, **options):
    overlap = find_overlap(train, test, **options)
    return {(hit.kind, hit.test_number, hit.train_number) for hit in overlap.hits}


def test_clean_data_share_nothing():
    overlap = find_overlap([unrelated(n) for n in range(20)], [unrelated(n) for n in range(50, 60)])
    assert overlap.hits == []
    assert overlap.share() == 0
    assert (overlap.num_train, overlap.num_test, overlap.num_short) == (20, 10, 10)


@pytest.mark.parametrize("index", ["train", "test"])
def test_every_planted_kind_is_found_from_both_sides(index):
    train = [
        unrelated(0),
        pair("what is the CAPITAL of France??", "It is Paris.", "It is Lyon."),  # other answers: the prompt alone
        pair("In which year was the first railway line of Bavaria opened to the public?"),
        pair("Tell me something.", f"Somebody once asked me: {LONG.lower()}, and I could not say."),
        pair("Is it so?", "No.", "Yes."),
    ]
    test = [
        unrelated(90),
        pair("What is the capital of France?", "Paris", "Lyon"),
        pair("In which year was the first railway line of Bavaria opened to the public??!"),
        pair(LONG),
        pair("Is it so", "Yes", "No"),
        pair("In which year was the first railway line of Bavaria opened to public?"),
    ]
    assert found(train, test, index=index) == {
        ("same prompt", 1, 1),
        ("same prompt", 2, 2),
        ("same pair", 2, 2),
        ("n-gram", 2, 2),
        ("n-gram", 3, 3),
        ("same prompt", 4, 4),
        ("same pair", 4, 4),
        ("near prompt", 5, 2),
    }


def test_both_ways_of_indexing_agree_on_random_mixtures():
    prompts = [unrelated(n).prompt for n in range(12)] + [LONG, LONG + " exactly", LONG[:60]]
    train = [pair(prompts[(n * 5) % 15], f"answer {n % 3}", prompts[(n * 7) % 15]) for n in range(40)]
    test = [pair(prompts[(n * 11) % 15], f"answer {n % 4}", "other") for n in range(25)]
    one, two = (find_overlap(train, test, ngram=6, index=side) for side in ("test", "train"))
    key = lambda overlap: [(h.kind, h.test_number, h.train_number) for h in overlap.hits]  # noqa: E731
    assert key(one) == key(two)
    assert one.train_hits == two.train_hits
    assert one.train_numbers == two.train_numbers
    assert one.to_dict() == two.to_dict()


@pytest.mark.parametrize("index", ["train", "test"])
def test_without_the_numbered_training_groups_nothing_is_shared(index):
    train = [unrelated(n) for n in range(8)] + [pair(LONG), pair("quoted", LONG), pair(LONG + " exactly"), pair(LONG)]
    test = [unrelated(n) for n in range(5, 20)] + [pair(LONG + "?")]
    hit = find_overlap(train, test, index=index).train_numbers
    assert hit == {5, 6, 7, 8, 9, 10, 11}
    assert find_overlap([group for n, group in enumerate(train) if n not in hit], test).hits == []


def test_the_same_dialogue_as_text_and_as_messages_is_one_prompt():
    text = PreferenceGroup("", ("\n\nHuman: Hi there?\n\nAssistant: Yes", "\n\nHuman: Hi there?\n\nAssistant: No"))
    system = Message("system", "You are helpful.")
    messages = PreferenceGroup((system, Message("user", "Hi there?")), ("a", "b"))
    assert found([text], [messages]) == {("same prompt", 0, 0)}


def test_a_shared_system_message_is_no_overlap():
    system = Message("system", LONG)
    groups = [PreferenceGroup((system, Message("user", f"{n * 977} apples?")), ("a", "b")) for n in range(2)]
    assert found(groups[:1], groups[1:]) == set()


def test_hits_name_the_rows_and_show_the_words():
    overlap = find_overlap([("train.jsonl:row 7", pair("x", LONG))], [("test.jsonl:row 2", pair(LONG))])
    (hit,) = overlap.hits
    assert (hit.kind, hit.test, hit.train) == ("n-gram", "test.jsonl:row 2", "train.jsonl:row 7")
    assert hit.excerpt == "please explain in detail how the old stone bridge over the river main"
    assert overlap.test_groups("n-gram") == {0}


def test_twelve_shared_words_are_too_few():
    words = LONG.split()
    assert found([pair(" ".join(["q", *words[:12], "z"]))], [pair(LONG)], near=0) == set()
    assert found([pair(" ".join(["q", *words[:13], "z"]))], [pair(LONG)], near=0) == {("n-gram", 0, 0)}


def test_a_prompt_that_stands_everywhere_counts_every_training_group_once():
    overlap = find_overlap([pair(LONG)] * 5, [pair(LONG)] * 3)
    assert overlap.train_hits == {"same pair": 5, "same prompt": 5, "n-gram": 5}
    assert len(overlap.test_groups()) == 3
    assert {hit.train_number for hit in overlap.hits} == {0}


def test_empty_sides_are_undefined_not_zero():
    overlap = find_overlap([], [])
    assert math.isnan(overlap.share())
    assert overlap.to_dict()["share"] is None
    assert find_overlap([pair("")], [pair("")]).num_test == 1


def test_a_wrong_setting_is_refused():
    with pytest.raises(ConfigError, match="ngram must be"):
        find_overlap([], [], ngram=0)
