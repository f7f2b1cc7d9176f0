"""`inspect` finds what was planted, and on real data what their authors say."""

import gzip
import json

import pytest

from rewardsmith.data.checks.inspection import inspect_groups
from rewardsmith.data.detecting import parse_row
from rewardsmith.data.loading import LoadReport
from rewardsmith.data.texts import locate
from rewardsmith.records import Comparison, PreferenceGroup

CLEAN = [{"prompt": f"question {i}", "chosen": f"good answer {i}", "rejected": f"bad {i}"} for i in range(20)]


def inspect(rows, reader=None):
    return inspect_groups(locate(rows, LoadReport(), reader=reader))


def test_clean_rows_show_nothing():
    found = inspect(CLEAN)
    assert (found.tally.rows, found.prompts, found.comparisons, found.ties) == (20, 20, 20, 0)
    assert (found.identical, found.duplicates.count, found.contradictions.pairs, found.cycles.prompts) == (0, 0, 0, 0)
    assert found.sizes == {2: 20}


def test_everything_planted_is_found():
    planted = [
        {"prompt": "question 3", "chosen": "good answer 3", "rejected": "bad 3"},  # row 20: again
        {"prompt": "question 4", "chosen": "bad 4", "rejected": "good answer 4"},  # row 21: turned
        {"prompt": "question 5", "chosen": "bad 5", "rejected": "worst"},  # row 22
        {"prompt": "question 5", "chosen": "worst", "rejected": "good answer 5"},  # row 23: closes a circle
        {"prompt": "question 90", "chosen": "same", "rejected": "same"},  # row 24: identical sides
        {"prompt": "question 91", "completions": ["x", "y"], "ranks": [1, 1]},  # row 25: a tie
    ]
    found = inspect(CLEAN + planted).to_dict()
    assert found["duplicates"] == {"count": 1, "examples": [["row 3", "row 20"]]}
    assert found["contradictions"]["examples"] == [["row 4", "row 21"]]
    assert found["cycles"] == {"prompts": 1, "comparisons": 3, "examples": [["row 5", "row 22", "row 23"]]}
    assert found["identical_sides"] == {"count": 1, "rows": ["row 24"]}
    assert found["ties"] == 2
    assert found["prompts_in_several_rows"] == 3
    assert found["completions_per_prompt"] == {"1": 1, "2": 20, "3": 1}
    assert json.dumps(found, allow_nan=False)


def test_planted_leaks_are_found():
    long = "The tide follows the moon, because its pull is stronger on the near side."
    rows = [
        {"prompt": "Why are there tides?", "chosen": f"{long} So it is.", "rejected": long},  # row 1
        {"prompt": "Why?", "chosen": "[chosen] because", "rejected": "[rejected] just so"},  # row 2
        {"prompt": f"Repeat after me: {long}", "chosen": long, "rejected": "I will not."},  # row 3
        {"prompt": "Name a river of France, please.", "chosen": "Name a river of France, please. Loire.",
         "rejected": "Name a river of France, please. Rhine?"},  # row 4
    ]  # fmt: skip
    items = [(f"train.jsonl:row {n}", parse_row(row)) for n, row in enumerate(rows, 1)]
    items.append(("test.jsonl:row 1", parse_row({"prompt": "WHY?", "chosen": "a", "rejected": "b"})))
    leaks = inspect_groups(items).to_dict()["leaks"]
    assert leaks["prompts_in_several_splits"]["count"] == leaks["prompts_in_several_files"] == 1
    assert set(leaks["prompts_in_several_splits"]["examples"][0]) == {"train.jsonl:row 2", "test.jsonl:row 1"}
    for number, fault in enumerate(
        ("one side holds the other", "answer names its label", "answer stands in the prompt",
         "prompt repeated in the answers"), 1
    ):  # fmt: skip
        assert leaks[fault] == {"count": 1, "rows": [f"train.jsonl:row {number}"]}


def test_a_word_that_tells_the_label_is_named():
    marked = [{**row, "chosen": f"{row['chosen']} [ok]"} for row in CLEAN * 2]
    words = inspect(marked).to_dict()["leaks"]["telling_words"]
    assert {"place": "ends with", "word": "[ok]", "preferences": 40, "preferred": 1.0} in words


def test_faults_of_conversations_and_texts_are_named_by_row():
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    sides = {side: [{"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    found = inspect([{"prompt": turns, **sides}, {"prompt": "p", "chosen": "itâ€™s", "rejected": "no"}]).to_dict()
    assert found["conversation_faults"] == {"turns do not alternate": {"count": 1, "rows": ["row 0"]}}
    assert found["text_faults"] == {"broken characters": {"count": 1, "rows": ["row 1"]}}


def test_empty_answers_are_found_in_groups_that_a_reader_let_through():
    found = inspect([PreferenceGroup("p", ("a", " "), (Comparison(0, 1),), group_id="g")])
    assert found.to_dict()["rows_with_empty_completions"] == {"count": 1, "rows": ["row 0"]}


def test_whole_dialogues_as_text_are_compared_across_rows_but_count_apart():
    one, two = "\n\nHuman: hi\n\nAssistant: yes", "\n\nHuman: hi\n\nAssistant: no"
    found = inspect([{"chosen": one, "rejected": two}, {"chosen": two, "rejected": one}])
    assert found.contradictions.pairs == 1
    assert found.prompts == 2


def test_weights_models_ratings_and_annotators_are_counted():
    group = PreferenceGroup(
        "p",
        ("a", "b"),
        (Comparison(0, 1, annotator="x"), Comparison(0, 1, weight=0.0), Comparison(1, 0, probability=0.3)),
        ratings={"help": (1.0, None)},
        models=("m", "n"),
        source="s",
    )
    found = inspect([group]).to_dict()
    assert (found["comparisons"], found["weight_zero"], found["soft_labels"]) == (2, 1, 1)
    assert found["models"] == {"m": {"comparisons": 2, "wins": 2}, "n": {"comparisons": 2, "wins": 0}}
    assert (found["annotators"], found["comparisons_without_annotator"]) == ({"x": 1}, 1)
    assert found["ratings"] == {"help": 1}
    assert found["sources"][0]["name"] == "s"


def test_the_share_of_first_places_among_the_winners_is_given():
    edges = (Comparison(0, 1), Comparison(2, 1), Comparison(2, 0), Comparison(1, 2, "tie"))
    found = inspect([PreferenceGroup("p", ("a", "b", "c"), edges)])
    assert (found.first_wins.value, found.first_wins.n) == (pytest.approx(1 / 3), 3)


def test_no_rows_are_zeros_and_nulls():
    found = inspect([]).to_dict()
    assert found["rows"] == found["comparisons"] == 0
    assert found["longer_wins"]["value"] is None
    assert found["prompt_sharing"]["factor"] is None


def test_fine_grained_rlhf_has_384_ties_and_no_circle(real_data):
    found = inspect(real_data / "finegrained-rlhf" / "dev_feedback.json", "finegrained-rlhf")
    assert (found.tally.rows, found.comparisons, found.ties) == (500, 3000, 384)
    assert found.cycles.prompts == 0
    assert found.sizes == {4: 500}
    assert round(found.bias.longer_wins.value, 2) == 0.51


@pytest.mark.parametrize(("subset", "longer_wins"), [("base", 0.60), ("rejection-sampled", 0.57)])
def test_identical_sides_and_length_bias_of_hh_are_found(real_data, subset, longer_wins):
    path = real_data / "hh-rlhf" / f"helpful-{subset}-test.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    same = sum(row["chosen"] == row["rejected"] for row in rows)
    found = inspect(path, "hh-rlhf")
    assert found.identical == same > 0
    assert round(found.bias.longer_wins.value, 2) == longer_wins
