import math
import random

import pytest

from rewardsmith.rl.tournament import draw_pairs, rate_answers


def test_a_sampled_tournament_connects_all_answers():
    for size, matches in ((8, 2), (8, 3), (9, 4), (5, 4), (4, 9)):
        pairs = draw_pairs(size, matches, random.Random(size))
        reached, before = {0}, 0
        while len(reached) > before:
            before = len(reached)
            reached |= {node for pair in pairs if reached & set(pair) for node in pair}
        assert reached == set(range(size))
        assert len(pairs) == min(size * math.ceil(matches / 2), size * (size - 1) // 2)


def test_two_parts_that_no_verdict_connects_are_not_held_against_each_other():
    assert rate_answers(5, [(0, 1, 1.0), (2, 3, 1.0), (3, 4, 1.0)])[:2] == [None, None]
    rated = rate_answers(5, [(0, 1, 1.0), (2, 3, 1.0), (3, 4, 1.0)])[2:]
    assert rated[0] > rated[1] > rated[2]
    assert sum(rated) == pytest.approx(0)
    assert rate_answers(3, []) == [None] * 3
    assert rate_answers(1, []) == [None]
