"""The level of a finding follows from its share, and docs/data-check.md names every kind with its limit."""

import pytest

from rewardsmith.data.checks import faults as f
from rewardsmith.data.checks import row_checks
from rewardsmith.data.checks.faults import KINDS, make_finding


@pytest.mark.parametrize(
    ("kind", "count", "total", "level"),
    [
        (row_checks.IDENTICAL, 4, 100, "warning"),
        (row_checks.IDENTICAL, 5, 100, "error"),
        (row_checks.AGAINST_SCORES, 24, 100, "warning"),
        (row_checks.AGAINST_SCORES, 25, 100, "error"),
        (f.ON_BOTH_SIDES, 1, 10**6, "error"),
        (f.CIRCLE, 100, 100, "warning"),
    ],
)
def test_the_level_follows_from_the_share(kind, count, total, level):
    finding = make_finding(kind, count, total, rows=["a:row 1", "a:row 2"])
    assert finding.level == level
    assert finding.to_dict(1) == {
        "kind": kind,
        "level": level,
        "count": count,
        "of": total,
        "unit": "rows",
        "meaning": KINDS[kind].meaning,
        "remedy": KINDS[kind].remedy,
        "rows": ["a:row 1"],
    }


def test_the_page_names_every_kind_with_its_limit(repository):
    page = (repository / "docs" / "data-check.md").read_text()
    for name, kind in KINDS.items():
        if kind.error_from == 0:
            assert f"`{name}`" in page
            continue
        limit = "-" if kind.error_from is None else f"{kind.error_from:.0%}"
        assert f"| `{name}`: {kind.meaning} | {limit} |" in page
