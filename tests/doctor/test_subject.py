"""Checks run one after the other, and none costs the others."""

from rewardsmith.doctor.subject import evenly, run_checks
from rewardsmith.findings import Finding
from rewardsmith.records import Comparison, PreferenceGroup


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


def test_groups_are_taken_evenly_and_without_judgement_not_at_all():
    groups = [PreferenceGroup(str(i), ("a", "b"), (Comparison(0, 1),) if i % 2 else ()) for i in range(40)]
    assert [group.prompt for group in evenly(groups, 4)] == ["1", "11", "21", "31"]
    assert len(evenly(groups, 100)) == 20
