"""Which sequences go together, worked by hand, then laws; a failing batch fails only its bad rows."""

import itertools
import math
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.packing import num_shared_tokens, sort_key
from rewardsmith.scoring.scorer import RewardParts
from rewardsmith.serving.batches import choose, score_rows
from rewardsmith.serving.refusals import Failure

SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=40), min_size=1, max_size=25)


@dataclass(eq=False)
class Row:
    key: bytes


def rows_of(*sequences):
    return [Row(sort_key(ids)) for ids in sequences]


def test_the_group_of_the_oldest_is_taken_before_a_younger_stranger():
    prompt = list(range(20))
    oldest, stranger, sibling = rows_of([*prompt, 1], list(range(100, 130)), [*prompt, 2])
    assert choose([oldest, stranger, sibling], budget=25) == [oldest, sibling]


def test_a_sequence_longer_than_the_budget_goes_alone():
    long, short = rows_of(list(range(50)), [1, 2])
    assert choose([long, short], budget=10) == [long]


@given(SEQUENCES, st.integers(1, 60))
def test_a_batch_holds_the_oldest_once_each_and_keeps_the_budget(sequences, budget):
    rows = rows_of(*sequences)
    batch = choose(rows, budget)
    assert batch[0] is rows[0]
    assert len(set(map(id, batch))) == len(batch)
    if len(batch) > 1:
        keys = sorted({row.key for row in batch})
        distinct = sum(len(k) // 4 for k in keys) - sum(num_shared_tokens(a, b) for a, b in itertools.pairwise(keys))
        assert distinct <= budget


class Counting:
    """Rewards are sums of ids; a row with the id 13 raises, one with 14 gives NaN."""

    def __init__(self):
        self.rows = 0
        self.calls = 0

    def score_encoded(self, groups):
        self.calls += 1
        self.rows += sum(map(len, groups))
        if any(13 in ids for group in groups for ids in group):
            raise RuntimeError("secret text")
        return [[math.nan if 14 in ids else float(sum(ids)) for ids in group] for group in groups]


def test_only_the_bad_rows_fail_and_their_reason_quotes_nothing():
    outcomes = score_rows(Counting(), [[1], [13, 2], [3], [14], [4, 4]])
    assert [outcomes[i].reward for i in (0, 2, 4)] == [1, 3, 8]
    assert outcomes[1] == Failure("the model raised RuntimeError")
    assert isinstance(outcomes[3], Failure)


def test_our_own_errors_are_passed_on():
    class Refusing:
        def score_encoded(self, groups):
            raise ScoringError("too long")

    assert score_rows(Refusing(), [[1]]) == [Failure("too long")]


def test_equal_rows_are_computed_once():
    scorer = Counting()
    assert score_rows(scorer, [[5, 6]] * 7 + [[1]]) == [RewardParts(11.0)] * 7 + [RewardParts(1.0)]
    assert scorer.rows == 2


def test_one_bad_row_among_many_costs_few_calls():
    scorer = Counting()
    outcomes = score_rows(scorer, [[i, 13] if i == 40 else [i] for i in range(100, 164)] + [[40, 13]])
    assert sum(isinstance(outcome, Failure) for outcome in outcomes) == 1
    assert scorer.calls <= 16


def test_a_wrong_number_of_rewards_is_a_failure_not_a_guess():
    class Short:
        def score_encoded(self, groups):
            return [[0.0] for _ in groups][:-1]

    assert all(isinstance(outcome, Failure) for outcome in score_rows(Short(), [[1], [2]]))


def test_rows_with_a_common_prefix_stand_in_one_group(reward_model):
    seen = []

    class Watching:
        def score_encoded(self, groups):
            seen.append([len(group) for group in groups])
            return reward_model.score_encoded(groups)

    prompt = list(range(10, 60))
    rows = [[*prompt, end, 2] for end in range(70, 78)] + [list(range(100, 140))]
    outcomes = score_rows(Watching(), rows)
    assert seen == [[8, 1]]
    alone = [reward_model.score_encoded([[row]])[0][0] for row in rows]
    assert max(abs(a.reward - b) for a, b in zip(outcomes, alone, strict=True)) < 1e-5


def test_a_scorer_that_knows_the_parts_gives_them():
    class Reading(Counting):
        def read_encoded(self, groups):
            return [[RewardParts(float(sum(ids)), steps=tuple(map(float, ids))) for ids in group] for group in groups]

    assert score_rows(Reading(), [[1, 2], [7]]) == [RewardParts(3.0, steps=(1.0, 2.0)), RewardParts(7.0, steps=(7.0,))]
