"""Checks run one after the other, none costs the others, and data alone needs no torch."""

import subprocess
import sys

from rewardsmith.doctor.running import run_checks
from rewardsmith.findings import Finding


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
