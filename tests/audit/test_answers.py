from rewardsmith.audit.answers import find_answer, is_english, question, sentences
from rewardsmith.records import Message, PreferenceGroup, TokenIds

DIALOGUE = "\n\nHuman: Hi?\n\nAssistant: Yes.\n\nHuman: More?\n\nAssistant: No more. \n"


def test_a_plain_text_is_the_answer_and_keeps_the_space_around_it():
    found = find_answer("  Hello you. ")
    assert (found.text, found.rewrite("X")) == ("Hello you.", "  X ")


def test_only_the_last_turn_of_a_dialogue_in_text_is_edited():
    found = find_answer(DIALOGUE)
    assert found.text == "No more."
    assert found.rewrite("X") == DIALOGUE.replace("No more.", "X")


def test_only_the_last_message_of_the_assistant_is_edited():
    messages = (Message("assistant", "first"), Message("user", "and?"), Message("assistant", "second", {"name": "n"}))
    edited = find_answer(messages).rewrite("X")
    assert edited[:2] == messages[:2]
    assert edited[2] == Message("assistant", "X", {"name": "n"})


def test_what_has_no_text_to_edit_has_no_answer():
    parts = (Message("assistant", [{"type": "text", "text": "hi"}]),)
    for completion in (TokenIds((1, 2)), "", "  ", parts, (Message("user", "hi"),)):
        assert find_answer(completion) is None


def test_the_question_is_the_last_thing_that_was_asked():
    assert question(PreferenceGroup("Why?", ("a",))) == "Why?"
    told = (Message("user", "One?"), Message("assistant", "1"), Message("user", "Two? "))
    assert question(PreferenceGroup(told, ("a",))) == "Two?"
    whole = PreferenceGroup("", (DIALOGUE, DIALOGUE.replace("No more.", "Much more.")))
    assert question(whole) == "More?"
    assert question(PreferenceGroup("", ("a", "b"))) == ""


def test_english_phrases_stay_out_of_other_languages():
    assert is_english("The cat is on the mat and it does not want to go out.")
    assert not is_english("Das Wetter wird morgen sicher wieder besser, sagt unser Nachbar jeden Abend.")
    assert not is_english("猫はマットの上にいます。")
    assert not is_english("12 + 30 = 42")


def test_sentences_end_where_space_follows():
    assert sentences("It is 3.5 now. Really? Yes!") == ["It is 3.5 now.", "Really?", "Yes!"]
