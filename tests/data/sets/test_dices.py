from published_ratings import votes
from published_rows import ROWS


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
