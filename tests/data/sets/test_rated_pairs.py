import pytest
from published_pairs import bot, user
from published_rows import ROWS

from rewardsmith.data.sets.rated_pairs import repair_overall
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


ROW = ROWS["ultrafeedback"][0]


def test_answers_are_compared_by_the_mean_of_their_aspects(read_published):
    (group,) = read_published("ultrafeedback", [ROW])
    assert group.ratings["helpfulness"] == (5.0, 1.0)
    assert group.ratings["honesty"] == (4.0, None)
    assert group.ratings["fine-grained_score"] == (4.5, 4 / 3)
    assert group.comparisons == (Comparison(0, 1),)
    assert group.models == ("a", "b")
    assert group.metadata["subset"] == "sharegpt"


def test_a_ten_beside_poor_aspects_is_repaired_and_named(read_published):
    (group,) = read_published("ultrafeedback:overall", [ROW])
    assert group.ratings["overall_score"] == (8.5, 1.0)
    assert group.comparisons == (Comparison(0, 1),)
    assert group.metadata["overall_score_repaired"] == ["b"]
    assert [repair_overall(*pair) for pair in ((10.0, 1.5), (10.0, 3.0), (10.0, 4.5), (9.0, 1.0))] == [1, None, 10, 9]


def test_binarized_pairs_carry_scores_and_equal_scores_tie(read_published):
    row = ROWS["ultrafeedback-binarized"][0]
    tie, better = read_published("ultrafeedback-binarized", [row, {**row, "score_rejected": 6.0}])
    assert tie.comparisons == (Comparison(0, 1, "tie"),)
    assert better.comparisons == (Comparison(0, 1),)
    assert better.ratings == {"score": (8.5, 6.0)}
    assert better.prompt[0].content == "Name a river."


def test_cleaned_pairs_name_their_models(read_published):
    (group,) = read_published("ultrafeedback-cleaned", ROWS["ultrafeedback-cleaned"])
    assert (group.models, group.comparisons) == (("a", "b"), (Comparison(0, 1),))


def test_dirty_rows_are_counted(read_dirty):
    few = {**ROW, "completions": ROW["completions"][:1]}
    mute = {**ROW, "completions": [{**ROW["completions"][0], "response": ""}, ROW["completions"][1]]}
    assert read_dirty("ultrafeedback", [few, mute, ROW]).reasons == {"too few completions": 1, "empty completion": 1}
    row = ROWS["ultrafeedback-binarized"][0]
    swapped = {**row, "score_chosen": 1.0}
    unended = {**row, "chosen": row["chosen"][:1]}
    found = read_dirty("ultrafeedback-binarized", [swapped, unended])
    assert found.reasons == {"contradictory scores": 1, "last turn is not the assistant's": 1}
