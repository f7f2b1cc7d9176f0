"""Small sets made to test judges: which output follows, several annotators, planted biases, best of n."""

import json

from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.records import Comparison, Message

LLMBAR_ROW = ROWS["llmbar"][0]


def test_the_label_is_the_better_output_and_the_folder_the_subset(tmp_path):
    folder = tmp_path / "LLMBar" / "Adversarial" / "Neighbor"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps([LLMBAR_ROW, {**LLMBAR_ROW, "label": 1}]))
    data = load_preferences(tmp_path, merge_prompts=False)
    assert [group.comparisons for group in data] == [(Comparison(1, 0),), (Comparison(0, 1),)]
    assert data[0].metadata == {"subset": "LLMBar/Adversarial/Neighbor"}


def test_unknown_labels_are_counted(read_dirty):
    rows = [{**LLMBAR_ROW, "label": label} for label in (0, True, "1", 2)]
    assert read_dirty("llmbar", rows).reasons == {"unknown label": 3}


PANDALM_ROW = ROWS["pandalm"][0]


def test_three_annotators_give_three_comparisons(read_published):
    (group,) = read_published("pandalm", [PANDALM_ROW])
    assert group.prompt[0].content == "Correct it.\n\nHe go."
    assert [side[0].content for side in group.completions] == ["He goes.", ""]
    assert group.comparisons == (
        Comparison(0, 1, annotator="annotator1"),
        Comparison(0, 1, "tie", annotator="annotator2"),
        Comparison(0, 1, annotator="annotator3"),
    )
    assert group.models == ("opt-7b", "llama-7b")
    assert group.metadata["majority"] == 1


def test_booleans_are_no_answers_and_three_opinions_have_no_majority(read_dirty):
    split = {**PANDALM_ROW, "annotator1": 2, "annotator2": 0, "annotator3": 1}
    found = read_dirty("pandalm", [{**PANDALM_ROW, "response1": True}, {**PANDALM_ROW, "annotator2": 3}, split])
    assert found.reasons == {"boolean answer": 1, "unknown label": 1}
    assert found.groups[0].metadata["majority"] is None


WHOLE = ROWS["evalbiasbench"][0]


def test_the_object_of_biases_is_taken_apart(read_published):
    first, second = read_published("evalbiasbench", [WHOLE])
    assert (first.comparisons, second.comparisons) == ((Comparison(0, 1),), (Comparison(1, 0),))
    assert [group.metadata["subset"] for group in (first, second)] == ["length bias", "concreteness"]


def test_rows_in_memory_are_taken_apart_too():
    data = load_preferences([WHOLE])
    assert (data.report.rows, data.report.reader) == (2, "evalbiasbench")


def test_broken_pairs_are_counted(read_dirty):
    pair = WHOLE["length bias"][0]
    found = read_dirty("evalbiasbench", [{**WHOLE, "length bias": [pair, "x", {**pair, "label": 0}]}])
    assert found.reasons == {"missing column": 1, "unknown label": 1}
    assert len(found.groups) == 2


PAIR = ROWS["rmb"][0]
TURNS = [{"role": "user", "content": "Hi", "language": "English"}]
LIST = {
    "conversation_input": TURNS,
    "bon_best": {"llm_name": "alpha", "answer": "Hello!"},
    "loser_list": [{"llm_name": "beta", "answer": "Go."}, {"llm_name": "gamma", "answer": "No."}],
    "bon_uid": "7",
    "category_path": "BoN_set/Helpfulness/Chat/Casual",
}


def test_fields_in_text_form_and_as_objects_are_the_same(read_published):
    plain = {
        **PAIR,
        "conversation_input": TURNS,
        "chosen": {"llm_name": "alpha", "answer": "Hello!"},
        "reject": {"llm_name": "beta", "answer": "Go."},
    }
    (text,) = read_published("rmb", [PAIR])
    (objects,) = read_published("rmb", [plain])
    assert text.completions == objects.completions
    assert [side[0].content for side in text.completions] == ["Hello!", "Go."]
    assert text.prompt[0].content == objects.prompt[0].content == "Hi"
    assert text.models == ("alpha", "beta")
    assert text.metadata["category"] == PAIR["category_path"]


def test_the_best_of_a_list_beats_every_loser(read_published):
    (group,) = read_published("rmb", [LIST], chosen=True)
    assert group.prompt == (Message("user", "Hi"),)
    assert group.comparisons == (Comparison(0, 1), Comparison(0, 2))


def test_dirty_rows_are_counted(read_dirty):
    found = read_dirty("rmb", [{**PAIR, "chosen": "{'answer': "}, {**PAIR, "conversation_input": "[]"}, PAIR])
    assert found.reasons == {"broken field": 1, "empty list": 1}
