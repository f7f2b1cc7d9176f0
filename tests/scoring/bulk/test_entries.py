"""Rows that are scored together do not hurt each other, nor do the answers of one row."""

import json

import pytest

from rewardsmith.capabilities import Capabilities
from rewardsmith.errors import ScoringError, TemplateError, TooLongError
from rewardsmith.scoring.bulk.entries import Wanted, score_entries
from rewardsmith.scoring.scorer import RewardParts, fit_completions
from rewardsmith.scoring.truncation import truncated


class RefusingLetters:
    """Rewards a text by its letters; refuses groups with the letter Z, as a model does that gives NaN."""

    max_length = 40
    capabilities = Capabilities(scores_ids=True, max_length=max_length)
    truncation = "error"

    def __init__(self):
        self.groups = []

    def encode(self, request):
        return [[ord(letter) for letter in request.prompt + text] for text in request.completions]

    def fit(self, request, truncation=None, limit=None):
        cuts = self.truncation != "error"
        return fit_completions(
            lambda p, c: list(map(ord, p + c)), request, self.max_length, truncated if cuts else None
        )

    def score_encoded(self, groups):
        self.groups.append([len(group) for group in groups])
        if any(ord("Z") in sequence for group in groups for sequence in group):
            raise ScoringError("a reward is not finite")
        return [[sum(sequence) / 7 for sequence in group] for group in groups]


class Comparer(RefusingLetters):
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


class Cutter(RefusingLetters):
    """Keeps the end of a prompt that is too long."""

    truncation = "truncate_prompt"

    def fit(self, request, truncation=None, limit=None):
        if any(len(text) > self.max_length for text in request.completions):
            raise TooLongError("the answer alone is too long", "41")
        return super().fit(request, truncation, limit)


def named(rows):
    return [(f"row {i}", row) for i, row in enumerate(rows, 1)]


def test_rows_of_one_prompt_are_one_group_and_keep_their_places():
    model = RefusingLetters()
    rows = [{"prompt": p, "completion": c} for p, c in (("q", "a"), ("r", "b"), ("q", "c"))]
    assert [v.rewards for v in score_entries(model, named(rows))] == [
        (pytest.approx((ord(r["prompt"]) + ord(r["completion"])) / 7),) for r in rows
    ]
    assert model.groups == [[2, 1]]


def test_the_row_that_fails_is_found_among_the_others():
    rows = [{"text": "Z" if i == 5 else f"t{i}"} for i in range(9)]
    verdicts = score_entries(RefusingLetters(), named(rows))
    assert [i for i, v in enumerate(verdicts) if v.reason] == [5]
    assert verdicts[5].message == "row 6: a reward is not finite"


def test_a_comparer_sees_row_after_row():
    rows = [{"prompt": "q", "completions": ["b", "a"]}, {"prompt": "q", "completion": "a"}]
    first, second = score_entries(Comparer(), named(rows))
    assert first.rewards == (1.0, 0.0)
    assert second.reason == "cannot be scored"


def test_a_long_row_is_an_error_with_its_reason_unless_cutting_is_asked_for():
    rows = named([{"prompt": "p" * 50, "completion": "a"}, {"prompt": "p", "completion": "a"}])
    long, short = score_entries(RefusingLetters(), rows)
    assert (long.reason, long.rewards, short.reason) == ("too long", (), None)
    assert (
        long.message == "row 1: 51 tokens, the model reads 40; shorten the text, or cut prompts with --truncate-prompt"
    )
    cut, whole = score_entries(Cutter(), rows)
    assert cut.rewards == (pytest.approx((39 * ord("p") + ord("a")) / 7),)
    assert (cut.cut, whole.cut, whole.rewards) == (1, 0, short.rewards)


def test_an_answer_that_is_too_long_stays_an_error_when_prompts_are_cut():
    rows = [{"prompt": "p", "completions": ["a", "b" * 41]}, {"prompt": "p", "completion": "b" * 41}]
    one, alone = score_entries(Cutter(), named(rows))
    assert one.rewards == (pytest.approx((ord("p") + ord("a")) / 7), None)
    assert one.lost_answers() == [["completions[1]", "too long", "row 1: the answer alone is too long"]]
    assert (alone.reason, alone.message) == ("too long", "row 2: the answer alone is too long")


class Strict(RefusingLetters):
    """Has a template that refuses an R."""

    def fit(self, request, truncation=None, limit=None):
        if any("R" in text for text in request.completions):
            raise TemplateError("the chat template refused a conversation")
        return super().fit(request, truncation, limit)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (None, "null value"),
        (7, "wrong type"),
        ([1, 2], "wrong type"),
        ({"text": "x"}, "wrong type"),
        ("x" * 41, "too long"),
        ("R", "refused by the chat template"),
        ("Z", "cannot be scored"),
    ],
)
def test_an_answer_without_a_reward_costs_itself_alone(bad, reason):
    model, others = Strict(), ["good", "", "fine"]
    (whole,) = score_entries(model, named([{"prompt": "q", "completions": others}]))
    row = {"prompt": "q", "completions": [others[0], bad, *others[1:]]}
    (found,) = score_entries(model, named([row]))
    assert found.rewards == (whole.rewards[0], None, *whole.rewards[1:])
    ((name, why, message),) = found.lost_answers()
    assert (name, why, message.startswith("row 1: ")) == ("completions[1]", reason, True)
    (pair,) = score_entries(model, named([{"prompt": "q", "chosen": "good", "rejected": bad}]))
    assert pair.rewards == (whole.rewards[0], None)
    (none,) = score_entries(model, named([{"prompt": "q", "completions": [bad, bad]}]))
    assert (none.rewards, none.reason is None, none.lost) == ((), False, None)


def test_a_comparer_compares_the_answers_that_are_left():
    (found,) = score_entries(Comparer(), named([{"prompt": "q", "completions": ["b", None, "a"]}]), Wanted(parts=True))
    assert found.rewards == (1.0, None, 0.0)
    assert json.loads(found.parts)[1] is None
