import pytest
from published_pairs import bot, user
from published_rows import ROWS

from rewardsmith.records import Comparison, Message


@pytest.mark.parametrize("name", ["skywork-reward-preference", "skywork-reward-preference-v0.1"])
def test_whole_conversations_share_their_prompt(name, read_published):
    (group,) = read_published(name, ROWS[name])
    assert group.prompt == (Message("user", "Name a river."),)
    assert group.completions == ((Message("assistant", "Loire."),), (Message("assistant", "Paris."),))
    assert group.comparisons == (Comparison(0, 1),)
    assert group.metadata == {"subset": "magpie"}


def test_ratings_give_order_and_ties(read_published):
    (tulu,) = read_published("tulu-3-preference", ROWS["tulu-3-preference"])
    assert (tulu.comparisons, tulu.models) == ((Comparison(0, 1),), ("a", "b"))
    row = ROWS["capybara-dpo"][0]
    apart, tie = read_published("capybara-dpo", [row, {**row, "rating_rejected": 5}])
    assert apart.comparisons == (Comparison(0, 1),)
    assert tie.comparisons == (Comparison(0, 1, "tie"),)


def test_orca_pairs_have_system_turns_and_statuses(read_published):
    with_system, without = read_published("orca-dpo-pairs", ROWS["orca-dpo-pairs"])
    assert [m.role for m in with_system.prompt] == ["system", "user"]
    assert [m.role for m in without.prompt] == ["user"]
    row = ROWS["orca-dpo-pairs-rated"][0]
    rated, tie = read_published("orca-dpo-pairs-rated", [row, {**row, "status": "tie"}])
    assert rated.comparisons == (Comparison(0, 1),)
    assert tie.comparisons == (Comparison(0, 1, "tie"),)


def test_faults_of_the_turns_are_counted(read_dirty):
    row = ROWS["skywork-reward-preference"][0]
    twice = {**row, "chosen": [user("a"), user("b"), bot("c")]}
    open_end = {**row, "rejected": [user("a")]}
    silent = {**row, "rejected": [user("a"), bot(" ")]}
    found = read_dirty("skywork-reward-preference", [twice, open_end, silent, row])
    assert found.reasons == {
        "turns do not alternate": 1,
        "last turn is not the assistant's": 1,
        "empty completion": 1,
    }
