"""Words, runs of words, and who holds them."""

import numpy as np

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.merging import NgramIndex, merge_groups, ngram_hashes, words_of
from rewardsmith.records import Comparison, PreferenceGroup


def test_words_fold_case_width_and_punctuation():
    assert words_of("What's the ＣＡＰＩＴＡＬ -- of_it?\n") == ["what", "s", "the", "capital", "of", "it"]


def test_scripts_without_blanks_count_every_character_as_a_word():
    assert words_of("中国的首都 Paris") == ["中", "国", "的", "首", "都", "paris"]


def test_a_text_of_l_words_has_l_minus_n_plus_1_runs_and_equal_runs_are_equal():
    words = ["a", "b", "c", "d", "a", "b", "c"]
    hashes = ngram_hashes(words, 3)
    assert len(hashes) == 5
    assert hashes[0] == hashes[4]
    assert len(set(hashes.tolist())) == 4
    assert len(ngram_hashes(words[:2], 3)) == 0


def test_order_inside_a_run_counts():
    assert ngram_hashes(["a", "b"], 2)[0] != ngram_hashes(["b", "a"], 2)[0]
    assert ngram_hashes(["a", "a", "b"], 3)[0] != ngram_hashes(["a", "b", "b"], 3)[0]


def test_the_index_names_the_lowest_owner_and_gives_each_number_once():
    index = NgramIndex()
    for number, text in enumerate(["a b c", "x b c", "q r s"]):
        index.add(number, ngram_hashes(text.split(), 2))
    first = index.match(ngram_hashes(["y", "b", "c"], 2))
    assert (first.first, first.place) == (0, 1)
    assert sorted(number for number, _ in first.fresh) == [0, 1]
    again = index.match(ngram_hashes(["b", "c"], 2))
    assert again.first == 0
    assert again.fresh == []
    assert index.match(ngram_hashes(["c", "q"], 2)).first is None


def test_an_empty_index_and_an_empty_text_match_nothing():
    assert NgramIndex().match(np.zeros(0, dtype=np.uint64)).first is None
    index = NgramIndex()
    index.add(0, np.zeros(0, dtype=np.uint64))
    assert index.match(ngram_hashes(["a"], 1)).first is None


def pair(prompt, chosen, rejected, **more):
    return parse_row({"prompt": prompt, "chosen": chosen, "rejected": rejected, **more})


def test_pairs_of_one_prompt_share_their_completions():
    groups = merge_groups([pair("p", "a", "b"), pair("q", "x", "y"), pair("p", "c", "a", margin=2)])
    assert [group.prompt for group in groups] == ["p", "q"]
    assert groups[0].completions == ("a", "b", "c")
    assert groups[0].comparisons == (Comparison(0, 1), Comparison(2, 0, margin=2.0))


def test_empty_prompts_never_merge():
    assert len(merge_groups([pair("", "a", "b"), pair("", "a", "b")])) == 2


def test_other_tools_or_template_arguments_are_another_prompt():
    rows = [pair("p", "a", "b"), pair("p", "a", "b", tools=[{"name": "f"}]), pair("p", "a", "b", tools=[{"name": "g"}])]
    assert len(merge_groups(rows)) == 3
    assert len(merge_groups([*rows, pair("p", "a", "c", tools=[{"name": "f"}])])) == 3


def test_ratings_and_models_follow_their_completion():
    rows = [
        pair("p", "a", "b", chosen_ratings={"help": 3}, chosen_model="m"),
        pair("p", "c", "b", rejected_ratings={"help": 1}, chosen_ratings={"style": 2}, rejected_model="n"),
    ]
    (group,) = merge_groups(rows)
    assert group.ratings == {"help": (3.0, 1.0, None), "style": (None, None, 2.0)}
    assert group.models == ("m", "n", None)


def test_a_second_differing_rating_is_kept_apart():
    rows = [pair("p", "a", "b", chosen_ratings={"help": 3}), pair("p", "a", "c", chosen_ratings={"help": 5})]
    (group,) = merge_groups(rows)
    assert group.ratings["help"][0] == 3.0
    assert group.metadata["other_ratings"] == [["help", 0, 5.0]]


def test_metadata_that_differs_is_kept_group_by_group():
    rows = [pair("p", "a", "b", lang="de", id=1, source="x"), pair("p", "a", "c", lang="de", id=2, source="y")]
    (group,) = merge_groups(rows)
    assert group.metadata == {"lang": "de", "merged": [{"id": 1}, {"id": 2}]}
    assert group.source == "x+y"


def test_a_group_alone_in_its_prompt_is_unchanged():
    group = PreferenceGroup("p", ("a", "b", "unused"), (Comparison(0, 1),))
    assert merge_groups([group]) == [group]


def test_a_comparison_keeps_all_that_it_says_when_its_completions_move():
    said = {"annotator": "ann", "time": 3.0, "rationale": "the second names its source", "margin": 1.5, "weight": 2.0}
    groups = [PreferenceGroup("p", ("a", "b"), (Comparison(0, 1),))]
    (group,) = merge_groups([*groups, PreferenceGroup("p", ("c", "a"), (Comparison(0, 1, **said),))])
    assert group.comparisons[1] == Comparison(2, 0, **said)
