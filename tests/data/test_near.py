"""Near-duplicates: found by the bands, decided exactly, and quick among thousands of texts of one template."""

import random
import time
import tracemalloc

import pytest

from rewardsmith.data.near import NearDuplicates, jaccards, normalise, shingles, signature

TEXT = "Please explain to a curious child how the moon pulls at the water of the sea and why there are two tides a day"


def test_jaccard_by_hand_and_its_estimate():
    left, right = shingles("abcdefg"), shingles("abcdefgh")
    assert (len(left), len(right)) == (3, 4)
    assert jaccards(left, [right, left, shingles("xyz")]).tolist() == [3 / 4, 1, 0]
    other = TEXT.replace("curious", "clever")
    (exact,) = jaccards(shingles(TEXT), [shingles(other)])
    estimate = (signature(shingles(TEXT)) == signature(shingles(other))).mean()
    assert abs(exact - estimate) < 0.15
    assert (signature(shingles(TEXT)) == signature(shingles("quite another text" * 5))).mean() < 0.1


def test_the_index_finds_near_duplicates_and_nothing_else():
    index = NearDuplicates()
    for text in (TEXT, "Name three rivers of France.", "Name three lakes of Finland in winter."):
        index.add(normalise(text))
    assert index.find(normalise(TEXT + "!")) == [0]
    assert index.find(normalise(TEXT.replace("child", "kid"))) == [0]
    assert index.find(normalise("Name seven mountains of Peru.")) == []


@pytest.mark.parametrize("words", [2, 6])
def test_a_look_up_gives_what_comparing_every_pair_gives(words):
    generator = random.Random(words)
    vocabulary = ["".join(generator.choices("abcdefgh", k=6)) for _ in range(40)]
    texts = [f"{TEXT} {' '.join(generator.choices(vocabulary, k=words))}" for _ in range(120)]
    texts = list(dict.fromkeys(texts))
    index = NearDuplicates(0.85)
    missed = 0
    for place, text in enumerate(texts):
        similar = jaccards(shingles(text), [shingles(other) for other in texts[:place]]) if place else []
        near = [p for p, value in enumerate(similar) if value >= 0.85]
        found = index.find(text)
        assert set(found) <= set(near)
        missed += len(near) - len(found)
        assert index.labels(text) == {f"side {p % 2}" for p in found}
        index.add(text, f"side {place % 2}")
    # The bands alone miss 4 pairs of 10,000 at .85, and more of them the nearer to it.
    assert missed <= 2


def test_an_index_of_unlike_texts_holds_as_much_as_its_page_says():
    generator = random.Random(0)
    texts = ["".join(generator.choices("abcdefgh ", k=80)) for _ in range(600)]
    index = NearDuplicates()
    index.labels(texts[0])
    tracemalloc.start()
    for text in texts:
        index.add(text, "train")
    held = tracemalloc.get_traced_memory()[0] / len(texts)
    tracemalloc.stop()
    assert held < 4500


def test_thousands_of_texts_of_one_template_take_no_quadratic_time():
    index, start = NearDuplicates(), time.process_time()
    for number in range(3000):
        text = f"please write a short story about the number {number} and a dog"
        index.labels(text)
        index.add(text, "train")
    # Comparing every pair takes minutes.
    assert time.process_time() - start < 10


def test_a_text_that_is_entered_exactly_is_found_exactly_alone():
    index = NearDuplicates(1)
    index.add("some text", exactly=True)
    assert index.exact["some text"] == 0
    assert index.find("some text") == []
