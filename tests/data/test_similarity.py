"""Words, runs of words, and who holds them."""

import numpy as np

from rewardsmith.data.similarity import NgramIndex, ngram_hashes, words_of


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
