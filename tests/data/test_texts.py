"""Plain text of groups, names of rows, and conversations as dialogues."""

from types import SimpleNamespace

from rewardsmith.audit import AuditPlan, audit
from rewardsmith.audit.answers import find_answer, question
from rewardsmith.data.formats.cells import content_text, plain_text
from rewardsmith.data.texts import as_plain_turns, join_rows, name_row, needs_plain_turns, question_text
from rewardsmith.evaluation import FunctionScorer
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds


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


ASKED = (Message("system", "Be kind."), Message("user", "Why?"), Message("assistant", "So."), Message("user", "And?"))


def said(text):
    return (Message("assistant", text),)


def test_a_conversation_is_written_as_hh_rlhf_writes_it():
    [group], count = as_plain_turns([PreferenceGroup(ASKED, (said("Yes."), said("No.")))])
    assert count == 1
    assert group.prompt == "\n\nSystem: Be kind.\n\nHuman: Why?\n\nAssistant: So.\n\nHuman: And?\n\nAssistant:"
    assert group.completions == (" Yes.", " No.")
    assert question(group) == "And?"
    assert find_answer(group.completions[0]).text == "Yes."


def test_whole_conversations_without_a_prompt_and_mixed_forms_are_written():
    [whole], _ = as_plain_turns([PreferenceGroup("", ((*ASKED, *said("Yes.")),))])
    assert whole.completions[0].endswith("\n\nHuman: And?\n\nAssistant: Yes.")
    [mixed], _ = as_plain_turns([PreferenceGroup("Why?", (said("So."), "Because."))])
    assert (mixed.prompt, mixed.completions) == ("\n\nHuman: Why?\n\nAssistant:", (" So.", " Because."))


def test_text_token_ids_and_images_stay_as_they_are():
    image = (Message("user", [{"type": "image"}]),)
    groups = [
        PreferenceGroup("Why?", ("So.",)),
        PreferenceGroup("", (TokenIds((1, 2)),)),
        PreferenceGroup(image, (said("A cat."),)),
    ]
    written, count = as_plain_turns(groups)
    assert count == 0
    assert all(new is old for new, old in zip(written, groups, strict=True))


def test_only_a_tokenizer_without_a_template_asks_for_text():
    assert needs_plain_turns(SimpleNamespace(tokenizer=SimpleNamespace(chat_template=None)))
    assert not needs_plain_turns(SimpleNamespace(tokenizer=SimpleNamespace(chat_template="{{ x }}")))
    assert not needs_plain_turns(FunctionScorer(lambda prompt, answers: [0.0 for _ in answers]))


class WordTokenizer:
    """A token a word, and no template."""

    chat_template = None

    def __call__(self, text, **options):
        return {"input_ids": text.split()}


def test_an_audit_of_a_model_of_dialogues_in_text_reads_messages_and_says_so():
    scorer = FunctionScorer(lambda prompt, answers: [float(len(answer)) for answer in answers], "of text")
    scorer.tokenizer = WordTokenizer()
    groups = [PreferenceGroup(ASKED, (said("y" * (i + 5)), said("No.")), (Comparison(0, 1),)) for i in range(3)]
    found = audit(scorer, groups, AuditPlan(sample=4, probes=()), merge_prompts=False)
    assert any("3 groups of messages were read as text" in finding.text for finding in found.findings)
    assert found.lengths["characters"].estimates["weight"].value == 1.0
