"""`doctor` can be called; its result prints short and shows what is not green first."""

import json

import healthy_runs
import pytest

import rewardsmith
from rewardsmith import check, doctor
from rewardsmith.errors import ConfigError

ROWS = healthy_runs.judged_rows(60, 2, conversational=False)
SAME = [{**row, "rejected": row["chosen"]} for row in ROWS[:20]]


def test_the_name_is_a_package_and_a_function():
    assert doctor(data=ROWS).level == "green"
    import rewardsmith.doctor

    assert rewardsmith.doctor(data=ROWS).level == "green"
    assert rewardsmith.doctor.examine(None, ROWS)
    with pytest.raises(ConfigError, match="give a model"):
        doctor()


def test_a_diagnosis_is_short_in_a_session_and_whole_in_json():
    found = doctor(data=[*ROWS, *SAME])
    assert repr(found) == f"<doctor: {found.verdict}>"
    assert "mend what is red" in found.verdict
    plain = json.loads(json.dumps(found.to_dict()))
    assert (plain["schema"], plain["level"], plain["data"]) == ("rewardsmith.doctor", "red", "rows in memory")
    assert len(plain["findings"]) == len(found) == len(list(found))


def test_a_notebook_shows_what_is_not_green_first_and_folds_the_rest():
    html = doctor(data=[*ROWS, *SAME])._repr_html_()
    assert html.index("identical pairs") < html.index("checks found nothing") < html.index("empty answers")


def test_check_is_short_and_shows_its_findings():
    found = check([*ROWS, *SAME])
    assert repr(found).startswith("<check: 1 error, ")
    assert next(iter(found)).check == "identical sides"
    assert "identical sides (20 of 80 comparisons)" in found._repr_html_()
    assert "prompt in train and test" in {finding.check for finding in check(ROWS[:30], test=ROWS[:2])}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError):
        rewardsmith.doctor.nothing  # noqa: B018
