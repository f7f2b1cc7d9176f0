from published_rows import ROWS

from rewardsmith.records import Comparison, Message

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
