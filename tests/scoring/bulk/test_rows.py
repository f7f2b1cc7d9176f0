"""Rows that are scored together do not hurt each other."""

import pytest

from rewardsmith.capabilities import Capabilities
from rewardsmith.errors import ScoringError
from rewardsmith.scoring.bulk.rows import read_request, score_entries
from rewardsmith.scoring.scorer import RewardParts


class Letters:
    """Rewards a text by its letters; refuses groups with the letter Z, as a model does that gives NaN."""

    max_length = 40
    capabilities = Capabilities(scores_ids=True, max_length=max_length)
    truncation = "error"

    def __init__(self):
        self.groups = []

    def encode(self, request):
        return [[ord(letter) for letter in request.prompt + text] for text in request.completions]

    def score_encoded(self, groups):
        self.groups.append([len(group) for group in groups])
        if any(ord("Z") in sequence for group in groups for sequence in group):
            raise ScoringError("a reward is not finite")
        return [[sum(sequence) / 7 for sequence in group] for group in groups]


class Comparer(Letters):
    """Rewards an answer by its place among the others of its row."""

    capabilities = Capabilities(gives_parts=True, compares=True)

    def score_parts(self, requests):
        return [list(map(RewardParts, row)) for row in self.score_requests(requests)]

    def score_requests(self, requests):
        if any(len(request.completions) < 2 for request in requests):
            raise ScoringError("one answer cannot be compared")
        return [[float(sorted(r.completions).index(c)) for c in r.completions] for r in requests]

    def encode(self, request):
        raise AssertionError("one answer alone has no reward")


class Cutter(Letters):
    """Keeps the end of a prompt that is too long."""

    truncation = "truncate_prompt"

    def cut_prompts(self, request, sequences):
        if any(len(text) > self.max_length for text in request.completions):
            raise ScoringError("the answer alone is too long")
        return [ids[-self.max_length :] for ids in sequences]


def named(rows):
    return [(f"row {i}", row) for i, row in enumerate(rows, 1)]


def test_rows_of_one_prompt_are_one_group_and_keep_their_places():
    model = Letters()
    rows = [{"prompt": p, "completion": c} for p, c in (("q", "a"), ("r", "b"), ("q", "c"))]
    assert [v.rewards for v in score_entries(model, named(rows))] == [
        (pytest.approx((ord(r["prompt"]) + ord(r["completion"])) / 7),) for r in rows
    ]
    assert model.groups == [[2, 1]]


def test_the_row_that_fails_is_found_among_the_others():
    rows = [{"text": "Z" if i == 5 else f"t{i}"} for i in range(9)]
    verdicts = score_entries(Letters(), named(rows))
    assert [i for i, v in enumerate(verdicts) if v.reason] == [5]
    assert verdicts[5].message == "row 6: a reward is not finite"


def test_a_comparer_sees_row_after_row():
    rows = [{"prompt": "q", "completions": ["b", "a"]}, {"prompt": "q", "completion": "a"}]
    first, second = score_entries(Comparer(), named(rows))
    assert first.rewards == (1.0, 0.0)
    assert second.reason == "cannot be scored"


def test_a_long_row_is_an_error_with_its_reason_unless_cutting_is_asked_for():
    rows = named([{"prompt": "p" * 50, "completion": "a"}, {"prompt": "p", "completion": "a"}])
    long, short = score_entries(Letters(), rows)
    assert (long.reason, long.rewards, short.reason) == ("too long", (), None)
    assert (
        long.message == "row 1: 51 tokens, the model reads 40; shorten the text, or cut prompts with --truncate-prompt"
    )
    cut, whole = score_entries(Cutter(), rows)
    assert cut.rewards == (pytest.approx((39 * ord("p") + ord("a")) / 7),)
    assert (cut.cut, whole.cut, whole.rewards) == (1, 0, short.rewards)


def test_an_answer_that_is_too_long_stays_an_error_when_prompts_are_cut():
    rows = [{"prompt": "p", "completions": ["a", "b" * 41]}, {"prompt": "p", "completion": "a"}]
    long, short = score_entries(Cutter(), named(rows))
    assert (long.reason, long.message) == ("too long", "row 1: the answer alone is too long")
    assert short.reason is None


@pytest.mark.parametrize("column", ["question", "query", "promt", "User Prompt"])
def test_what_was_asked_is_read_under_other_names(column, caplog):
    from rewardsmith.scoring.bulk import rows

    rows._say_prompt.cache_clear()
    assert read_request({column: "2+2?", "completion": "4", "prompt": None}, "row 1").prompt == "2+2?"
    assert read_request({column: "2+2?", "completions": ["4", "5"]}, "row 2").prompt == "2+2?"
    assert caplog.messages == [f"column {column!r} is read as the prompt"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "Yes"},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]},
        {"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}], "rejected": "No"},
    ],
)
def test_a_system_column_comes_before_what_was_asked(row):
    if isinstance(row.get("chosen"), list):
        row = {**row, "rejected": [row["chosen"][0], {"role": "assistant", "content": "No"}]}
    request = read_request({**row, "system": "Be brief."}, "row 1")
    assert [(turn.role, turn.content) for turn in request.prompt] == [("system", "Be brief."), ("user", "Hi")]
    assert request.completions[0][0].content == "Yes"
