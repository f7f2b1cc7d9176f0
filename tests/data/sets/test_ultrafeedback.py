from published_rows import ROWS

from rewardsmith.data.sets.ultrafeedback import repair_overall
from rewardsmith.records import Comparison

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
