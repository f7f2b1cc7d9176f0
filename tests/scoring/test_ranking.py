"""Best-of-n, top k and pairs, worked out by hand."""

import math

import pytest

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.scoring.ranking import Candidates, Choice, RankReport, choose, kl_of_best_of_n, read_candidates

GROUP = Candidates("q", (("a", 1.0), ("b", 3.0), ("c", 2.0), ("d", 3.0), ("e", -1.0)))


def taken(choice, *groups):
    report = RankReport()
    return list(choose(groups or (GROUP,), choice, report)), report


def test_kl_of_best_of_n_has_its_known_values():
    assert kl_of_best_of_n(1) == 0
    assert kl_of_best_of_n(2) == pytest.approx(math.log(2) - 0.5)
    assert kl_of_best_of_n(16) == pytest.approx(1.8350887)
    with pytest.raises(ConfigError):
        kl_of_best_of_n(0)


def test_kl_of_best_of_n_is_the_divergence_of_the_best_of_many_distinct_answers():
    # Of M equally likely answers the i-th worst is the best of n with probability (i/M)^n - ((i-1)/M)^n.
    M, n = 20_000, 4
    best = [(i / M) ** n - ((i - 1) / M) ** n for i in range(1, M + 1)]
    assert sum(p * math.log(p * M) for p in best if p) == pytest.approx(kl_of_best_of_n(n), abs=1e-3)


def test_best_takes_the_first_of_equal_rewards():
    rows, report = taken(Choice())
    assert rows == [{"prompt": "q", "completion": "b", "reward": 3.0, "rank": 1, "n": 5}]
    assert report.mean_kl == pytest.approx(kl_of_best_of_n(5))


def test_top_takes_k_answers_above_the_limit():
    assert [row["completion"] for row in taken(Choice("top", 4))[0]] == ["b", "d", "c", "a"]
    assert [row["completion"] for row in taken(Choice("top", 4, min_reward=2.0))[0]] == ["b", "d", "c"]


def test_pairs_set_the_best_against_the_worst_and_use_no_answer_twice():
    rows, _ = taken(Choice("pairs", 9))
    assert [(row["chosen"], row["rejected"], row["margin"]) for row in rows] == [("b", "e", 4.0), ("d", "a", 2.0)]
    assert len(taken(Choice("pairs", 9, min_margin=2.0))[0]) == 1


def test_prompts_without_a_pair_are_counted():
    rows, report = taken(Choice("pairs"), Candidates("q", (("a", 1.0),)), Candidates("r", (("a", 1.0), ("b", 1.0))))
    assert rows == []
    assert (report.prompts, report.answers, report.without_rows) == (2, 3, 2)


def test_rows_with_one_completion_are_joined_by_prompt():
    rows = [{"prompt": p, "completion": c, "reward": r} for p, c, r in (("q", "a", 1), ("q", "b", 2), ("r", "a", 3))]
    named = [(f"row {i}", row) for i, row in enumerate(rows, 1)]
    assert list(read_candidates(named)) == [
        Candidates("q", (("a", 1.0), ("b", 2.0))),
        Candidates("r", (("a", 3.0),)),
    ]
    with pytest.raises(DataError, match=r"row 4.*sort the file"):
        list(read_candidates([*named, ("row 4", rows[0])]))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completions": ["a", "b"], "rewards": [1.0]},
        {"prompt": "q", "completions": ["a"], "rewards": [math.nan]},
        {"prompt": "q", "completions": ["a"]},
        {"prompt": "q", "completion": "a"},
    ],
)
def test_rows_without_their_rewards_are_refused_by_name(row):
    with pytest.raises(DataError, match="row 7"):
        list(read_candidates([("row 7", row)]))


@pytest.mark.parametrize("fields", [{"take": "worst"}, {"k": 0}, {"take": "best", "k": 2}, {"min_margin": -1.0}])
def test_choices_that_make_no_sense_are_refused(fields):
    with pytest.raises(ConfigError):
        Choice(**fields)


def test_prompts_under_another_name_are_kept_apart():
    rows = [
        {"question": q, "completion": a, "reward": r} for q, a, r in (("1", "a", 1.0), ("1", "b", 2.0), ("2", "c", 0.0))
    ]
    found = list(read_candidates([(f"row {i}", row) for i, row in enumerate(rows)]))
    assert [(group.prompt, len(group.answers)) for group in found] == [("1", 2), ("2", 1)]


def test_the_two_answers_of_a_scored_pair_are_ranked_whatever_their_label():
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "chosen_reward": 1, "rejected_reward": 2}
    assert list(read_candidates([("row 1", row)])) == [Candidates("q", (("a", 1.0), ("b", 2.0)))]
    with pytest.raises(DataError, match="rejected_reward"):
        list(read_candidates([("row 1", {name: row[name] for name in row if name != "rejected_reward"})]))


def test_answers_without_a_reward_are_passed_by_and_counted():
    rows = [
        {"prompt": "q", "completions": ["a", None, "c"], "rewards": [1.0, None, 2.0]},
        {"prompt": "r", "chosen": "a", "rejected": "b", "chosen_reward": "", "rejected_reward": 1.0},
        {"prompt": "s", "completion": "a", "reward": None},
        {"prompt": "s", "completion": "b", "reward": 3.0},
        {"prompt": "t", "completion": "a", "reward": None},
    ]
    report = RankReport()
    groups = read_candidates([(f"row {i}", row) for i, row in enumerate(rows)])
    found = [row["completion"] for row in choose(groups, Choice(), report)]
    assert found == ["c", "b", "b"]
    assert (report.prompts, report.answers, report.without_reward, report.without_rows) == (4, 8, 4, 1)
    assert report.mean_kl == pytest.approx(kl_of_best_of_n(2) / 3)
