"""One record says what checks, doctor and audit find."""

from rewardsmith.findings import Finding, by_level, worst

COUNTED = Finding("red", "identical sides", "they teach nothing", "remove them", 3, 4, "rows", ["a:row 1"])
SAID = Finding("yellow", "contract", "there is none")


def test_the_worst_level_is_that_of_the_list_and_green_without_findings():
    assert worst([SAID, COUNTED]) == "red"
    assert worst([]) == "green"


def test_findings_are_ordered_by_level_and_then_by_share():
    rare = Finding("red", "circle", "", "", 1, 100)
    assert by_level([SAID, rare, COUNTED]) == [COUNTED, rare, SAID]


def test_json_holds_numbers_only_where_something_was_counted():
    assert SAID.to_dict() == {"level": "yellow", "check": "contract", "message": "there is none", "remedy": ""}
    counted = COUNTED.to_dict()
    assert (counted["count"], counted["of"], counted["unit"], counted["rows"]) == (3, 4, "rows", ["a:row 1"])


def test_a_finding_is_one_line_of_text():
    assert str(COUNTED) == "red: identical sides: they teach nothing -> remove them"
