from published_rows import ROWS

from rewardsmith.records import Comparison

ROW = ROWS["nectar"][0]


def test_seven_ranked_answers_give_every_pair(read_published):
    (group,) = read_published("nectar", [ROW])
    assert [(m.role, m.content) for m in group.prompt] == [
        ("user", "Hi."),
        ("assistant", "Hello."),
        ("user", "Name a river."),
    ]
    assert len(group) == 7
    assert len(group.comparisons) == 21
    assert all(c.better < c.worse and c.margin is None for c in group.comparisons)
    assert group.models[0] == "m1"


def test_equal_ranks_tie_and_faults_are_counted(read_dirty):
    even = {**ROW, "answers": [{**answer, "rank": 1.0} for answer in ROW["answers"][:2]]}
    alone = {**ROW, "answers": ROW["answers"][:1]}
    mute = {**ROW, "answers": [{**ROW["answers"][0], "answer": ""}, *ROW["answers"][1:]]}
    found = read_dirty("nectar", [even, alone, mute, {**ROW, "prompt": "\n\nAssistant: "}])
    assert found.groups[0].comparisons == (Comparison(0, 1, "tie"),)
    assert found.reasons["too few completions"] == found.reasons["empty completion"] == 1
    assert sum(found.reasons.values()) == 3
