from published_ratings import votes
from published_rows import ROWS

from rewardsmith.records import Comparison


def test_votes_become_shares(read_published):
    (group,) = read_published("dices", ROWS["dices"])
    assert [(m.role, m.content) for m in group.prompt] == [
        ("user", "hello"),
        ("assistant", "hi"),
        ("user", "say it"),
    ]
    assert group.completions[0][0].content == "No."
    assert group.ratings == {"unsafe": (0.25,), "safe": (0.5,), "unsure": (0.25,)}
    assert (group.group_id, group.metadata["num_raters"]) == ("7", 4)
    assert group.comparisons == ()


def test_the_table_of_raters_gives_shares_by_group_too(read_published):
    (group,) = read_published("dices-raters", ROWS["dices-raters"])
    assert group.ratings == {"unsafe": (0.25,), "safe": (0.5,), "unsure": (0.25,)}
    assert group.metadata["unsafe_by_group"]["rater_gender=Woman"] == 0.5
    assert group.metadata["unsafe_by_group"]["rater_gender=Man"] == 0.0
    assert group.metadata["degree_of_harm"] == "Benign"


def test_every_vote_of_a_broken_dialogue_is_counted(read_dirty):
    broken = [{**votes(n, "Yes"), "item_id": 6, "context": "no marks"} for n in (1, 2, 3)]
    found = read_dirty("dices-raters", [*broken, {**votes(4, "Perhaps")}, votes(5, "No")])
    assert found.reasons == {"no dialogue": 3, "unknown label": 1}
    assert len(found.groups) == 1


def test_dialogues_with_an_empty_turn_are_counted(read_dirty):
    whole = ROWS["dices"][0]
    first = whole["instances"][0]
    silent = {**first, "instance": {**first["instance"], "user_prompt": "A: \\nB: hi\\nA: say it"}}
    flat = {**first, "annotations": {"safety": True}}
    odd = {**first, "annotations": {"safety": {"individual_human_scores": ["Yes", []]}}}
    found = read_dirty("dices", [{**whole, "instances": [first, silent, "x", flat, odd]}])
    assert found.reasons == {"empty turn": 1, "missing column": 1, "wrong type": 1, "unknown label": 1}


ROWS_ = ROWS["beavertails"]


def test_labels_of_one_answer_become_shares(read_published):
    (group,) = read_published("beavertails", ROWS_)
    assert [side[0].content for side in group.completions] == ["Pins hold the plug.", "Break in."]
    assert group.ratings["is_safe"] == (0.5, 0.0)
    assert group.ratings["harm/financial_crime,property_crime,theft"] == (0.5, 1.0)
    assert group.metadata["num_labels"] == [2, 1]
    assert group.comparisons == ()


def test_safe_answers_beat_harmful_ones_when_asked(read_published):
    (group,) = read_published("beavertails:pairs", ROWS_)
    assert group.comparisons == (Comparison(0, 1),)


def test_dirty_rows_are_counted_in_beavertails(read_dirty):
    found = read_dirty("beavertails", [{**ROWS_[0], "is_safe": "perhaps"}, {**ROWS_[0], "response": ""}, ROWS_[0]])
    assert found.reasons == {"wrong type": 1, "empty completion": 1}


ROW = ROWS["pku-saferlhf"][0]


def test_the_two_labels_are_read_apart_and_each_keeps_the_other(read_published):
    (better,) = read_published("pku-saferlhf", [ROW])
    (safer,) = read_published("pku-saferlhf:safer", [ROW])
    assert better.comparisons == (Comparison(1, 0),)
    assert safer.comparisons == (Comparison(0, 1),)
    assert better.metadata["safer"] == 0
    assert safer.metadata["better"] == 1
    assert (better.source, safer.source) == ("pku-saferlhf-better", "pku-saferlhf-safer")


def test_safety_is_a_rating_and_harms_are_named(read_published):
    (group,) = read_published("pku-saferlhf", [ROW])
    assert group.ratings == {"is_safe": (1.0, 0.0), "severity": (0.0, 2.0)}
    assert group.metadata["response_1_harms"] == ["Economic Crime"]
    assert "response_0_harms" not in group.metadata


def test_dirty_rows_are_counted_in_pku_saferlhf(read_dirty):
    found = read_dirty("pku-saferlhf", [{**ROW, "better_response_id": 2}, {**ROW, "response_0": None}, ROW])
    assert found.reasons == {"unknown label": 1, "null value": 1}
