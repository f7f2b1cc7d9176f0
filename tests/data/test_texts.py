"""Plain text of groups, and names of rows."""

from rewardsmith.data.texts import content_text, join_rows, name_row, plain_text, question_text
from rewardsmith.records import Message, PreferenceGroup, TokenIds


def test_plain_text_joins_the_contents_of_messages_and_writes_ids_as_numbers():
    assert plain_text("a") == "a"
    assert plain_text((Message("user", "a"), Message("assistant", "b"))) == "a\nb"
    assert plain_text(TokenIds([4, 7])) == "4 7"
    assert content_text([{"type": "text", "text": "a"}, {"type": "image"}]) == "a\n"
    assert content_text(None) == ""


def test_a_question_has_no_system_message_and_no_marks_of_speakers():
    turns = (Message("system", "be brief"), Message("user", "why?"))
    assert question_text(PreferenceGroup(turns, ((Message("assistant", "a"),), (Message("assistant", "b"),)))) == "why?"
    marked = PreferenceGroup("\n\nHuman: why?\n\nAssistant:", (" a", " b"))
    assert "Human" not in question_text(marked)


def test_rows_are_named_file_by_file_and_by_the_path_of_their_source():
    assert join_rows(["a.jsonl:row 3", "a.jsonl:row 17", "b.jsonl:row 1"]) == "a.jsonl:row 3, 17; b.jsonl:row 1"
    assert name_row("old/pairs.jsonl", "pairs.jsonl:row 3") == "old/pairs.jsonl:row 3"
    assert name_row("folder", "pairs.jsonl:row 3") == "folder/pairs.jsonl:row 3"
