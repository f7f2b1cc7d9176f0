"""What the checks look at: groups spread over a file, and their ids."""

import subprocess
import sys

import tiny_models

from rewardsmith.doctor.subject import encode, evenly, run_checks
from rewardsmith.findings import Finding
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


def check_well(subject):
    return Finding("green", "well", subject)


def check_out_of_range(subject):
    yield Finding("green", "before", subject)
    raise IndexError("index out of range in self")


def check_not_meant(subject):
    return None


def test_a_check_that_fails_is_a_finding_and_keeps_what_it_and_the_others_found():
    found = list(run_checks((check_out_of_range, check_not_meant, check_well), "x"))
    assert [(finding.level, finding.check) for finding in found] == [
        ("green", "before"),
        ("yellow", "out of range"),
        ("green", "well"),
    ]
    assert "IndexError: index out of range" in found[1].message


def test_data_alone_is_examined_without_torch():
    code = (
        "import sys; from rewardsmith import doctor; doctor(data=[{'prompt': 'p', 'chosen': 'a', 'rejected': 'b'}]);"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "False"]
