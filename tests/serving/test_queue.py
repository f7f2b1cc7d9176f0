"""The queue: bounded, fair, honest about deadlines, and never stuck."""

import asyncio
import itertools
import math
import threading
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardsmith.errors import ScoringError
from rewardsmith.models.shared_prefix.store import num_shared_tokens, sort_key
from rewardsmith.scoring.scorer import RewardParts
from rewardsmith.serving.limits import EngineLimits, Failure, Refusal
from rewardsmith.serving.metrics import Metrics
from rewardsmith.serving.queue import Engine, choose, score_rows


class Gate:
    """A model that waits until it is let go; a row of [666] kills its thread."""

    def __init__(self):
        self.open = threading.Event()
        self.batches = []

    def score_encoded(self, groups):
        rows = [list(ids) for group in groups for ids in group]
        self.batches.append(rows)
        if [666] in rows:
            raise SystemExit(1)
        assert self.open.wait(10)
        return [[float(sum(ids)) for ids in group] for group in groups]


def engine_of(scorer, **limits):
    return Engine(scorer, EngineLimits(**{"gather_seconds": 0.0, **limits}), Metrics())


async def ask(engine, rows):
    with engine.admit() as admission:
        outcomes = await admission.score(rows)
    return [outcome if isinstance(outcome, Failure) else outcome.reward for outcome in outcomes]


def run(scenario):
    return asyncio.run(asyncio.wait_for(scenario, 20))


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_what_arrives_while_the_model_works_becomes_one_batch():
    async def scenario():
        gate = Gate()
        engine = engine_of(gate)
        tasks = [asyncio.create_task(ask(engine, [[1]]))]
        await until(lambda: gate.batches)
        tasks += [asyncio.create_task(ask(engine, [[number]])) for number in range(2, 12)]
        await until(lambda: engine.num_requests == 11)
        await asyncio.sleep(0.01)
        gate.open.set()
        assert await asyncio.gather(*tasks) == [[float(number)] for number in range(1, 12)]
        assert [len(batch) for batch in gate.batches] == [1, 10]
        engine.stop()

    run(scenario())


def test_too_many_requests_or_tokens_are_refused_with_a_time_to_come_back():
    async def scenario():
        gate = Gate()
        engine = engine_of(gate, max_queued_requests=2, max_queued_tokens=10)
        first = asyncio.create_task(ask(engine, [[1] * 6]))
        await until(lambda: gate.batches)
        with pytest.raises(Refusal) as tokens:
            await ask(engine, [[1] * 6])
        with pytest.raises(Refusal) as never:
            await ask(engine, [[1] * 11])
        second = asyncio.create_task(ask(engine, [[1]]))
        await until(lambda: engine.num_requests == 2)
        with pytest.raises(Refusal) as requests:
            await ask(engine, [[1]])
        gate.open.set()
        assert await first == [6.0]
        assert await second == [1.0]
        assert (tokens.value.status, requests.value.status, never.value.status) == (429, 429, 413)
        assert int(requests.value.headers["Retry-After"]) >= 1
        assert await ask(engine, [[2]]) == [2.0]
        engine.stop()

    run(scenario())


def test_a_cancelled_request_leaves_the_queue_and_is_never_computed():
    async def scenario():
        gate = Gate()
        engine = engine_of(gate)
        first = asyncio.create_task(ask(engine, [[1]]))
        await until(lambda: gate.batches)
        gone = asyncio.create_task(ask(engine, [[77]]))
        await until(lambda: engine.num_requests == 2)
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert engine.num_requests == 1
        gate.open.set()
        assert await first == [1.0]
        assert await ask(engine, [[3]]) == [3.0]
        assert [[77]] not in gate.batches
        engine.stop()

    run(scenario())


def test_a_deadline_is_kept_and_its_rows_are_dropped():
    async def scenario():
        gate = Gate()
        engine = engine_of(gate, deadline_seconds=0.05)
        with pytest.raises(Refusal) as error:
            await ask(engine, [[1]])
        assert error.value.status == 504
        assert engine.num_requests == 0
        gate.open.set()
        engine.stop()

    run(scenario())


def test_a_model_that_hangs_past_the_deadline_refuses_new_work_until_it_comes_back():
    async def scenario():
        gate = Gate()
        engine = engine_of(gate, deadline_seconds=0.05)
        with pytest.raises(Refusal) as late:
            await ask(engine, [[1]])
        await until(lambda: engine.is_hung)
        assert engine.busy_seconds > 0.05
        with pytest.raises(Refusal) as hung:
            await ask(engine, [[2]])
        assert (late.value.status, hung.value.status) == (504, 503)
        assert "another replica" in str(hung.value)
        gate.open.set()
        await until(lambda: engine.busy_seconds == 0)
        assert not engine.is_hung
        assert await ask(engine, [[3]]) == [3.0]
        engine.stop()

    run(scenario())


def test_work_before_the_queue_keeps_the_deadline_too():
    async def scenario():
        engine = engine_of(Gate(), deadline_seconds=0.05)
        with engine.admit() as admission, pytest.raises(Refusal) as late:
            await admission.in_time(asyncio.sleep(5))
        assert late.value.status == 504
        assert engine.num_requests == 0

    run(scenario())


def test_a_killed_model_thread_fails_its_batch_and_is_replaced():
    async def scenario():
        gate = Gate()
        gate.open.set()
        engine = engine_of(gate)
        outcome = (await ask(engine, [[666]]))[0]
        assert isinstance(outcome, Failure)
        assert "SystemExit" in outcome.reason
        assert await ask(engine, [[5]]) == [5.0]
        assert engine.is_alive()
        engine.stop()

    run(scenario())


def test_draining_finishes_what_was_accepted_and_refuses_the_rest():
    async def scenario():
        gate = Gate()
        engine = engine_of(gate)
        first = asyncio.create_task(ask(engine, [[1], [2]]))
        await until(lambda: gate.batches)
        engine.drain()
        with pytest.raises(Refusal) as error:
            await ask(engine, [[3]])
        assert error.value.status == 503
        gate.open.set()
        await engine.idle()
        assert await first == [1.0, 2.0]
        engine.stop()

    run(scenario())


def test_a_stopped_engine_leaves_nobody_waiting():
    async def scenario():
        gate = Gate()
        engine = engine_of(gate)
        first = asyncio.create_task(ask(engine, [[1]]))
        await until(lambda: gate.batches)
        second = asyncio.create_task(ask(engine, [[2]]))
        await until(lambda: engine.num_requests == 2)
        await asyncio.sleep(0.01)
        threading.Timer(0.05, gate.open.set).start()
        await asyncio.to_thread(engine.stop)
        assert await first == [1.0]
        assert isinstance((await second)[0], Failure)

    run(scenario())


def test_many_clients_in_random_order_all_get_their_own_reward():
    class Slow:
        def score_encoded(self, groups):
            time.sleep(0.001)
            return [[float(sum(ids)) for ids in group] for group in groups]

    async def scenario():
        engine = engine_of(Slow(), tokens_per_batch=64)
        answers = await asyncio.gather(*(ask(engine, [[n, k] for k in range(4)]) for n in range(200)))
        assert answers == [[float(n + k) for k in range(4)] for n in range(200)]
        engine.stop()

    run(scenario())


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


def test_what_the_model_keeps_of_earlier_requests_costs_little():
    prompt, stranger = list(range(200)), list(range(300, 330))
    rows = rows_of([*prompt, 1], stranger, [*prompt, 2])
    assert choose(rows, budget=50) == [rows[0]]
    assert choose(rows, 50, lambda key: 200 if len(key) == 4 * 201 else 0) == [rows[0], rows[2], rows[1]]


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
