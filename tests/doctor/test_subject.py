"""What the checks look at: groups spread over a file, and their ids."""

import tiny_models

from rewardsmith.doctor.subject import encode, evenly
from rewardsmith.models.rendering import Renderer
from rewardsmith.records import Comparison, Message, PreferenceGroup


def test_groups_are_taken_evenly_and_without_judgement_not_at_all():
    groups = [PreferenceGroup(str(i), ("a", "b"), (Comparison(0, 1),) if i % 2 else ()) for i in range(40)]
    assert [group.prompt for group in evenly(groups, 4)] == ["1", "11", "21", "31"]
    assert len(evenly(groups, 100)) == 20


def test_what_cannot_be_rendered_is_an_error_of_its_group_alone():
    _, tokenizer = tiny_models.qwen2()
    tokenizer.chat_template = "{{ raise_exception('only tools') }}"
    said = (Message("assistant", "good"),)
    encoded = encode(Renderer(tokenizer), [PreferenceGroup("q ", ("good",)), PreferenceGroup("q", (said,))])
    assert [one.texts for one in encoded.groups] == [["q good<|im_end|>"]]
    assert "only tools" in encoded.errors[0]
